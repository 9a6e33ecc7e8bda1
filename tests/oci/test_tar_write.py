"""Layer bytes: deterministic, and read back as they were meant by the tools that people have."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from stackbuild.core.changes import Changes
from stackbuild.core.digest import digest_of
from stackbuild.core.errors import StepError
from stackbuild.oci.compression import PIECE, compress, decompressed
from stackbuild.oci.tar_write import END, Entry, LayerWriter, Written, header, padding, write_changes

LONG = b"d/" + b"n" * 120
ODD = b"d/caf\xe9"  # Latin-1: not UTF-8
LONG_ODD = b"d/" + b"\xff" * 130


def layer(entries: list[tuple[Entry, bytes]], compression: str = "gzip") -> tuple[bytes, Written]:
    out = io.BytesIO()
    with LayerWriter(out, compression) as writer:
        for entry, content in entries:
            writer.add(entry, content)
        written = writer.close()
    return out.getvalue(), written


SAMPLE: list[tuple[Entry, bytes]] = [
    (Entry(b"d", "dir", 0o1755), b""),
    (Entry(b"d/a", "file", 0o4755, 3_000_000, 70000, size=5), b"hello"),
    (Entry(b"d/b", "hardlink", 0o4755, target=b"d/a"), b""),
    (Entry(b"d/l", "symlink", 0o777, target=b"../" + b"t" * 150), b""),
    (Entry(b"d/null", "char", 0o666, major=1, minor=3), b""),
    (Entry(b"d/old", "file", 0o644, mtime=-5), b""),
    (Entry(b"d/p", "fifo", 0o600), b""),
    (Entry(b"d/x", "file", 0o600, xattrs={b"user.k": b"v\0\n=\xff", b"user.a": b""}), b""),
    (Entry(LONG, "file", 0o644, size=2), b"ok"),
    (Entry(ODD, "file", 0o644, size=1), b"1"),
    (Entry(LONG_ODD, "file", 0o644, size=1), b"2"),
]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_digests_are_those_of_the_bytes(compression: str) -> None:
    stored, written = layer(SAMPLE, compression)
    tar = decompressed(io.BytesIO(stored), "layer").read()
    assert (written.digest, written.size) == (digest_of(stored), len(stored))
    assert written.diff_id == digest_of(tar)
    assert layer(SAMPLE, compression)[0] == stored


def test_python_reads_every_kind_of_entry_back() -> None:
    stored, _ = layer(SAMPLE)
    with tarfile.open(fileobj=io.BytesIO(stored)) as archive:
        found = {os.fsencode(member.name): member for member in archive}
        assert [*found] == [entry.path for entry, _ in SAMPLE]
        for entry, content in SAMPLE:
            member = found[entry.path]
            assert (member.mode, member.uid, member.gid, int(member.mtime)) == (
                entry.mode, entry.uid, entry.gid, entry.mtime,
            )  # fmt: skip
            assert os.fsencode(member.linkname) == entry.target
            if entry.kind == "file":
                file = archive.extractfile(member)
                assert file is not None and file.read() == content
    assert (found[b"d/null"].devmajor, found[b"d/null"].devminor) == (1, 3)


@pytest.mark.root
def test_gnu_tar_unpacks_every_kind_of_entry(tmp_path: Path) -> None:
    (tmp_path / "layer.tgz").write_bytes(layer(SAMPLE)[0])
    (tmp_path / "out").mkdir()
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "-xpzf", "../layer.tgz"],
        cwd=tmp_path / "out", check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}, timeout=30,
    )  # fmt: skip
    root = os.fsencode(tmp_path / "out")
    names = sorted(os.path.join(b"d", name) for name in os.listdir(root + b"/d"))
    assert names == sorted(entry.path for entry, _ in SAMPLE if entry.path != b"d")
    assert os.stat(root + b"/d/a").st_uid == 3_000_000
    assert os.stat(root + b"/d/a").st_nlink == 2
    assert os.readlink(root + b"/d/l") == b"../" + b"t" * 150
    assert os.getxattr(root + b"/d/x", "user.k") == b"v\0\n=\xff"


def test_the_gzip_header_says_nothing_of_time_or_machine() -> None:
    assert compress(b"x", "gzip")[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"


def test_big_content_becomes_members_of_a_fixed_size() -> None:
    data = os.urandom(1000) * (3 * PIECE // 1000)
    stored, written = layer([(Entry(b"f", "file", 0o644, size=len(data)), data)])
    tar = gzip.decompress(stored)
    assert digest_of(tar) == written.diff_id
    assert stored == compress(tar, "gzip"), "threads must not change a byte"
    again = io.BytesIO()
    with LayerWriter(again) as writer:
        writer.add(Entry(b"f", "file", 0o644, size=len(data)), io.BytesIO(data))
        assert writer.close() == written


def test_ready_fragments_are_joined_as_they_are() -> None:
    tar = header(Entry(b"a", "file", 0o644, size=3)) + b"abc" + padding(3)
    member = compress(tar, "gzip")
    out = io.BytesIO()
    with LayerWriter(out) as writer:
        writer.member(tar, member)
        writer.add(Entry(b"b", "dir", 0o755))
        writer.member(tar, member)
        written = writer.close()
    assert out.getvalue().startswith(member)
    assert written.diff_id == digest_of(tar + header(Entry(b"b", "dir", 0o755)) + tar + END)
    assert gzip.decompress(out.getvalue()).endswith(END)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(b"/etc", "dir", 0o755), "plain relative path"),
        (Entry(b"a/../b", "file", 0o644), "`..`"),
        (Entry(b"a", "symlink", 0o777), "needs a target"),
        (Entry(b"a", "socket", 0o644), "unknown kind"),
        (Entry(b"a", "file", 0o644, xattrs={b"user.a=b": b""}), "extended attribute"),
    ],
)
def test_what_no_reader_could_read_is_refused(entry: Entry, words: str) -> None:
    with pytest.raises(StepError, match=words):
        header(entry)


@pytest.mark.parametrize("content", [b"abc", b"abcde"])
def test_content_of_another_size_is_refused(content: bytes) -> None:
    with LayerWriter(io.BytesIO()) as writer, pytest.raises(StepError, match=r"^f changed while it was read"):
        writer.add(Entry(b"f", "file", 0o644, size=4), io.BytesIO(content))


def members(stored: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(stored)) as archive:
        return {member.name: member for member in archive}


def test_changes_become_entries_ancestors_and_whiteouts(tmp_path: Path) -> None:
    (tmp_path / "etc/sub").mkdir(parents=True, mode=0o750)
    (tmp_path / "etc/a").write_text("one")
    os.link(tmp_path / "etc/a", tmp_path / "etc/sub/b")
    (tmp_path / "etc/l").symlink_to("/etc/passwd")
    (tmp_path / "untouched").write_text("no")
    out = io.BytesIO()
    changes = Changes(tmp_path, (b"etc/a", b"etc/l", b"etc/sub/b"), (b"etc/gone", b"usr-gone"))
    written = write_changes(changes, out, epoch=77, compression="gzip")
    found = members(out.getvalue())
    assert [*found] == [".wh.usr-gone", "etc", "etc/.wh.gone", "etc/a", "etc/l", "etc/sub", "etc/sub/b"]
    assert {member.mtime for member in found.values()} == {77}
    assert found["etc/sub/b"].islnk() and found["etc/sub/b"].linkname == "etc/a"
    assert found["etc/sub"].mode == (tmp_path / "etc/sub").stat().st_mode & 0o7777
    assert written.entries == 7


def test_a_name_that_means_a_deletion_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.x").write_text("")
    with pytest.raises(StepError, match="deletion"):
        write_changes(Changes(tmp_path, (b".wh.x",), ()), io.BytesIO(), epoch=0, compression="gzip")


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/secret").write_text("x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/d").symlink_to("../out")
    with pytest.raises(OSError):
        write_changes(Changes(tmp_path / "root", (b"d/secret",), ()), io.BytesIO(), epoch=0, compression="gzip")
