"""Archives of every form that people write come out as GNU tar would unpack them; whiteouts do what the spec says."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from stackbuild.core.changes import Changes
from stackbuild.core.digest import digest_of
from stackbuild.core.errors import NetworkError
from stackbuild.oci.tar_extract import Whiteouts, extract
from stackbuild.oci.tar_write import Entry, LayerWriter, write_changes
from stackbuild.oci.tree_first import lay_out, pack
from stackbuild.oci.tree_read import TreeReader, walk
from tests.oci.samples import Entries

pytestmark = pytest.mark.root


def layer(*entries: tuple[Entry, bytes] | Entry) -> io.BytesIO:
    out = io.BytesIO()
    with LayerWriter(out) as writer:
        for item in entries:
            entry, content = item if isinstance(item, tuple) else (item, b"")
            writer.add(entry, content)
        writer.close()
    return io.BytesIO(out.getvalue())


def unpack(into: Path, *layers: io.BytesIO, whiteouts: Whiteouts = "apply") -> None:
    into.mkdir(exist_ok=True)
    for stream in layers:
        extract(stream, into, whiteouts=whiteouts, name="the layer")


def listing(root: Path) -> list[tuple[object, ...]]:
    """Every entry with all that a layer carries."""
    found: list[tuple[object, ...]] = []
    with TreeReader(root) as tree:
        for path in walk(tree):
            with tree.open(path) as node:
                seen = node.stat
                content = node.read(1 << 22) if seen.kind == "file" and seen.size else b""
                mtime = os.lstat(os.path.join(os.fsencode(root), path)).st_mtime_ns // 10**9
                found.append((path, seen.kind, seen.mode, seen.uid, seen.gid, seen.size, seen.target, seen.links,
                              dict(seen.xattrs), content, mtime))  # fmt: skip
    return found


def difficult(root: Path) -> None:
    """A tree that holds what is hard to carry."""
    name = os.fsencode(root)
    os.makedirs(name + b"/d/" + b"x" * 90 + b"/" + b"y" * 90)
    for path, content in ((b"/d/a", b"hello"), (b"/d/caf\xe9", b"1"), (b"/d/" + b"n" * 200, b"2"), (b"/d/empty", b"")):
        with open(name + path, "wb") as file:
            file.write(content)
    os.link(name + b"/d/a", name + b"/d/b")
    os.symlink(b"../" * 40 + b"etc/passwd", name + b"/d/link")
    os.symlink(b"gone", name + b"/d/dangling")
    os.mkfifo(name + b"/d/pipe")
    os.chown(name + b"/d/caf\xe9", 3_000_000, 70_000)
    os.chmod(name + b"/d/a", 0o6755)
    os.chmod(name + b"/d", 0o1777)
    os.setxattr(name + b"/d/a", "user.note", b"a=b\n\0c")
    os.setxattr(name + b"/d/a", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    with open(name + b"/d/sparse", "wb") as file:
        for at in (1 << 20, 3 << 20):
            file.seek(at)
            file.write(b"data" * 3)
        file.truncate(4_000_000)
    for folder, folders, files in os.walk(name, topdown=False):
        for item in [*folders, *files]:
            os.utime(os.path.join(folder, item), (1_700_000_000, 1_700_000_000), follow_symlinks=False)


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=posix", "--xattrs", "--xattrs-include=*"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
    ],
    ids=lambda options: " ".join(options),
)
def test_what_gnu_tar_packs_comes_out_again(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "in").mkdir()
    difficult(tmp_path / "in")
    packed = subprocess.run(
        ["tar", "-C", tmp_path / "in", *options, "-cf", "-", "."], check=True, capture_output=True, timeout=60
    ).stdout
    unpack(tmp_path / "out", io.BytesIO(packed))
    want, got = listing(tmp_path / "in"), listing(tmp_path / "out")
    if "--xattrs" not in options:
        want = [(*row[:8], {}, *row[9:]) for row in want]
    assert got == want


@pytest.mark.parametrize("form", ["ustar", "v7"])
def test_old_forms_are_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "in" / ("p" * 60) / ("q" * 30)).mkdir(parents=True)
    (tmp_path / "in" / ("p" * 60) / ("q" * 30) / "f").write_text("x")
    (tmp_path / "in" / ("p" * 60) / "l").symlink_to("f")
    packed = subprocess.run(
        ["tar", "-C", tmp_path / "in", f"--format={form}", "-cf", "-", "."], check=True, capture_output=True, timeout=60
    ).stdout
    unpack(tmp_path / "out", io.BytesIO(packed))
    assert [row[:7] for row in listing(tmp_path / "out")] == [row[:7] for row in listing(tmp_path / "in")]


def test_our_own_layers_come_out_as_the_tree_they_were_made_of(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    difficult(tmp_path / "in")
    with TreeReader(tmp_path / "in") as tree:
        changes = Changes(tmp_path / "in", tuple(sorted(walk(tree))), ())
    for compression in ("gzip", "zstd"):
        out = io.BytesIO()
        write_changes(changes, out, epoch=1_700_000_000, compression=compression)
        unpack(tmp_path / compression, io.BytesIO(out.getvalue()))
        assert listing(tmp_path / compression) == listing(tmp_path / "in")


@pytest.mark.parametrize("whiteouts", ["device", "file"])
def test_the_folder_beside_a_layer_is_what_unpacking_it_gives(
    tmp_path: Path, whiteouts: Literal["device", "file"]
) -> None:
    (tmp_path / "in").mkdir()
    difficult(tmp_path / "in")
    with TreeReader(tmp_path / "in") as tree:
        changes = Changes(tmp_path / "in", tuple(sorted(walk(tree))), (b"d/gone", b"other/gone"))
    (tmp_path / "in/other").mkdir()
    entries, diff_id = lay_out(changes, tmp_path / "beside", epoch=1_600_000_000, whiteouts=whiteouts)
    plain = io.BytesIO()
    assert write_changes(changes, plain, epoch=1_600_000_000).diff_id == diff_id
    root = os.open(tmp_path / "beside", os.O_RDONLY)
    assert pack(entries, root, tmp_path / "layer", "gzip").diff_id == diff_id
    os.close(root)
    out = io.BytesIO((tmp_path / "layer").read_bytes())
    assert out.getvalue() == plain.getvalue()
    unpack(tmp_path / "unpacked", io.BytesIO(out.getvalue()), whiteouts=whiteouts)
    for path in ("d/gone", "other/gone") if whiteouts == "device" else ():  # their own times mean nothing
        for folder in ("beside", "unpacked"):
            os.utime(tmp_path / folder / path, (1, 1))
    assert listing(tmp_path / "beside") == listing(tmp_path / "unpacked")
    assert len(listing(tmp_path / "beside")) == len(changes.present) + 3


D = Entry(b"d", "dir", 0o755)


def file(path: bytes, content: bytes = b"x", mode: int = 0o644) -> tuple[Entry, bytes]:
    return Entry(path, "file", mode, size=len(content)), content


def names(root: Path) -> list[bytes]:
    with TreeReader(root) as tree:
        return list(walk(tree))


LOWER: Entries = [(D, b""), file(b"d/a"), file(b"d/b"), (Entry(b"d/s", "dir", 0o755), b""), file(b"d/s/deep")]


def test_whiteouts_delete_what_is_below_and_never_what_is_beside(tmp_path: Path) -> None:
    upper = layer(
        D, file(b"d/.wh.a", b""), file(b"d/s/new"), file(b"d/.wh.s", b""), file(b"d/.wh.new", b""), file(b"d/new")
    )
    unpack(tmp_path / "t", layer(*LOWER), upper)
    assert names(tmp_path / "t") == [b"d", b"d/b", b"d/new", b"d/s", b"d/s/new"]


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_marker_hides_what_is_below_wherever_it_stands(tmp_path: Path, first: bool) -> None:
    marker, kept = file(b"d/.wh..wh..opq", b""), file(b"d/new")
    unpack(tmp_path / "t", layer(*LOWER), layer(D, *((marker, kept) if first else (kept, marker))))
    assert names(tmp_path / "t") == [b"d", b"d/new"]


def test_a_layer_unpacked_alone_keeps_its_whiteouts(tmp_path: Path) -> None:
    stored = layer(D, file(b"d/.wh.gone", b""), file(b"d/new")).getvalue()
    unpack(tmp_path / "files", io.BytesIO(stored), whiteouts="file")
    assert names(tmp_path / "files") == [b"d", b"d/.wh.gone", b"d/new"]
    unpack(tmp_path / "devices", io.BytesIO(stored), whiteouts="device")
    status = os.lstat(tmp_path / "devices/d/gone")
    assert (status.st_mode & 0o170000, status.st_rdev) == (0o020000, 0)


def test_kinds_change_from_layer_to_layer(tmp_path: Path) -> None:
    folder, link = Entry(b"d/a", "dir", 0o700), Entry(b"d/b", "symlink", 0o777, target=b"a")
    upper = layer(D, file(b"d/s", b"now a file"), folder, file(b"d/a/in"), link)
    unpack(tmp_path / "t", layer(*LOWER), upper)
    assert names(tmp_path / "t") == [b"d", b"d/a", b"d/a/in", b"d/b", b"d/s"]
    assert (tmp_path / "t/d/s").read_text() == "now a file"


def test_a_file_below_a_link_of_the_image_goes_where_the_link_leads_in_the_image(tmp_path: Path) -> None:
    usr = layer(Entry(b"usr/bin", "dir", 0o755), Entry(b"bin", "symlink", 0o777, target=b"/usr/bin"),
                Entry(b"up", "symlink", 0o777, target=b"../../../usr"))  # fmt: skip
    unpack(tmp_path / "t", usr, layer(file(b"bin/tool"), file(b"up/bin/other"), file(b"bin/.wh.gone", b"")))
    assert names(tmp_path / "t") == [b"bin", b"up", b"usr", b"usr/bin", b"usr/bin/other", b"usr/bin/tool"]
    assert (tmp_path / "t/bin").is_symlink()


def test_a_hard_link_to_a_file_of_a_lower_layer_is_one(tmp_path: Path) -> None:
    unpack(tmp_path / "t", layer(*LOWER), layer(D, Entry(b"d/again", "hardlink", 0o644, target=b"d/a")))
    assert os.stat(tmp_path / "t/d/a").st_ino == os.stat(tmp_path / "t/d/again").st_ino


def test_a_changed_file_leaves_its_other_name_alone(tmp_path: Path) -> None:
    lower = layer(D, file(b"d/a", b"old"), Entry(b"d/b", "hardlink", 0o644, target=b"d/a"))
    unpack(tmp_path / "t", lower, layer(D, file(b"d/a", b"new")))
    assert ((tmp_path / "t/d/a").read_text(), (tmp_path / "t/d/b").read_text()) == ("new", "old")


def test_a_layer_with_another_diff_id_is_refused_at_its_end(tmp_path: Path) -> None:
    stored = layer((Entry(b"file", "file", 0o644, size=3), b"abc"))
    diff_id = digest_of(gzip.decompress(stored.getvalue()))
    (tmp_path / "right").mkdir()
    extract(stored, tmp_path / "right", whiteouts="file", name="the layer", diff_id=diff_id)
    assert (tmp_path / "right/file").read_bytes() == b"abc"
    (tmp_path / "wrong").mkdir()
    with pytest.raises(NetworkError, match="the layer has the wrong diff ID"):
        extract(io.BytesIO(stored.getvalue()), tmp_path / "wrong", whiteouts="file", name="the layer",
                diff_id=digest_of(b""))  # fmt: skip
