"""Packages into fragments: what dpkg itself leaves in an empty tree is the oracle."""

from __future__ import annotations

import ctypes
import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest import mock

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stackbuild.core.errors import NetworkError
from stackbuild.oci.tar_write import Entry
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.filters import PathFilter
from stackbuild.packages.deb.fragment import items, renamed, tar_pieces
from stackbuild.packages.deb.tree_write import put_all
from tests.machine import need, need_root, run

CONTROL = b"Package: sample\nVersion: 1:1.0-1\nArchitecture: amd64\nMaintainer: x <x@example.com>\nDescription: t\n"
EXCLUDE = ("/usr/share/doc/*", "/usr/share/ext/*")
INCLUDE = ("/usr/share/doc/*/copyright",)


def tar(entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644, 1_000_000_000
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def ar(members: Sequence[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def deb(
    folder: Path,
    data: bytes,
    control: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
    ending: str = ".xz",
) -> Path:
    """A package made by hand, so that it can be wrong in any way."""
    packed: Mapping[str, Callable[[bytes], bytes]] = {
        ".xz": lzma.compress, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress, "": bytes,
    }  # fmt: skip
    controls = tar([entry("./", kind=tarfile.DIRTYPE), entry("./control", CONTROL), *control])
    file = folder / "sample.deb"
    members = [("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(controls))]
    file.write_bytes(ar([*members, ("data.tar" + ending, packed[ending](data))]))
    return file


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A package with conffiles, hard links, odd names, setuid, a fifo, and no md5sums; made by dpkg-deb."""
    need_root()
    root = tmp_path / "sample"
    for folder in ("DEBIAN", "usr/share/doc/sample", "etc/sample", "usr/bin", "usr/share/ext/sub", "var/mail"):
        (root / folder).mkdir(parents=True)
    (root / "DEBIAN/control").write_bytes(CONTROL)
    (root / "DEBIAN/conffiles").write_text("/etc/sample/one\n")
    (root / "DEBIAN/triggers").write_text("interest-noawait /usr/share/icons\ninterest named\n")
    (root / "DEBIAN/triggers").chmod(0o664)
    (root / "DEBIAN/preinst").write_text("#!/bin/sh\nexit 0\n")
    (root / "DEBIAN/preinst").chmod(0o775)
    (root / "etc/sample/one").write_text("1\n")
    (root / "usr/share/doc/sample/README").write_text("r\n")
    (root / "usr/share/doc/sample/copyright").write_text("c\n")
    (root / "usr/share/ext/sub/file").write_text("e\n")
    (root / "usr/bin/tool").write_bytes(b"\x7fELF" * 3000)
    (root / "usr/bin/tool").chmod(0o4755)
    os.link(root / "usr/bin/tool", root / "usr/bin/a-second-name")
    (root / "usr/bin/link").symlink_to("tool")
    (root / ("usr/bin/" + "long" * 40)).write_text("l\n")
    (root / os.fsdecode(b"usr/bin/caf\xe9")).write_text("latin\n")
    os.mkfifo(root / "usr/share/ext/sub/fifo")
    os.chown(root / "var/mail", 0, 8)
    (root / "var/mail").chmod(0o2775)
    file = tmp_path / "sample.deb"
    run([need("dpkg-deb"), "-b", root, file])
    return file


def unpacked_by_dpkg(file: Path, root: Path, options: Sequence[str]) -> Path:
    for folder in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    run([need("dpkg"), f"--root={root}", "--force-script-chrootless", "--force-unsafe-io", *options, "--unpack", file])
    return root


def listing(root: Path, *, without: tuple[str, ...] = ()) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            key = os.path.relpath(path, root)
            status = path.lstat()
            content: object = None
            if path.is_symlink():
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            mtime = int(status.st_mtime) if stat.S_ISREG(status.st_mode) and not key.endswith(without) else None
            links = status.st_nlink if not path.is_dir() else 0
            found[key.removesuffix(".dpkg-new")] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                content,
                links,
                mtime,
            )
    return found


@pytest.mark.parametrize("filtered", [False, True], ids=["all", "filtered"])
def test_a_fragment_is_what_dpkg_unpacks(sample: Path, tmp_path: Path, filtered: bool) -> None:
    keep = PathFilter(EXCLUDE, INCLUDE) if filtered else PathFilter()
    options = [f"--path-exclude={p}" for p in keep.exclude] + [f"--path-include={p}" for p in keep.include]
    theirs = unpacked_by_dpkg(sample, tmp_path / "theirs", options)
    ours = tmp_path / "ours"
    ours.mkdir()
    with open_deb(sample) as package:
        put_all(ours, items(package, keep, {}), keep_folders=False)
    made_now = (".list", ".md5sums")
    expected = listing(theirs, without=made_now)
    for name in ("status", "status-old", "lock", "lock-frontend", "updates", "triggers", "info/format"):
        expected = {k: v for k, v in expected.items() if not k.startswith(f"var/lib/dpkg/{name}")}
    assert listing(ours, without=made_now) == expected


@pytest.mark.parametrize("ending", [".xz", ".gz", ".zst", ""])
def test_every_compression_gives_the_same_fragment(tmp_path: Path, ending: str) -> None:
    data = tar(
        [entry("./", kind=tarfile.DIRTYPE), entry("./usr/", kind=tarfile.DIRTYPE), entry("./usr/big", b"x" * 9_000_000)]
    )
    with open_deb(deb(tmp_path, data, ending=ending)) as package:
        pieces = list(tar_pieces(items(package, PathFilter(), {})))
    assert len(pieces) > 2 and all(len(piece) % 512 == 0 for piece in pieces)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces) + bytes(1024))) as layer:
        assert layer.getnames()[:2] == ["usr", "usr/big"]
        big = layer.extractfile("usr/big")
        assert big is not None and big.read() == b"x" * 9_000_000


@given(st.lists(st.integers(-3, 4).map(lambda n: n * 171), min_size=1, max_size=8), st.integers(0, 3))
def test_pieces_are_whole_blocks_wherever_the_files_end(offsets: list[int], more: int) -> None:
    """A piece that a file filled to its last byte may still get the next file's header."""
    with mock.patch("stackbuild.packages.deb.fragment._PIECE", 2048):
        found = [
            (Entry(b"f%d" % n, "file", 0o644, size=1536 + offset), bytes(1536 + offset))
            for n, offset in enumerate(offsets)
        ] + [(Entry(b"d%d" % n, "dir", 0o755), None) for n in range(more)]
        pieces = list(tar_pieces(found))
    assert all(len(piece) % 512 == 0 for piece in pieces)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces) + bytes(1024))) as layer:
        assert [(info.name, info.size) for info in layer] == [(e.path.decode(), e.size) for e, _ in found]


def test_entries_follow_a_rename_and_hard_links_point_to_the_first_name(tmp_path: Path) -> None:
    data = tar(
        [
            entry("./", kind=tarfile.DIRTYPE),
            entry("./bin/", kind=tarfile.DIRTYPE),
            entry("./bin/zed", b"tool"),
            entry("./bin/ant", kind=tarfile.LNKTYPE, linkname="./bin/zed"),
            entry("./lib", kind=tarfile.SYMTYPE, linkname="usr/lib"),
        ]
    )
    with open_deb(deb(tmp_path, data)) as package:
        found = {e.path: e for e, _ in items(package, PathFilter(), {b"bin": b"usr/bin", b"lib": b"usr/lib"})}
    assert (found[b"usr/bin/ant"].kind, found[b"usr/bin/ant"].size) == ("file", 4)
    assert (found[b"usr/bin/zed"].kind, found[b"usr/bin/zed"].target) == ("hardlink", b"usr/bin/ant")
    assert found[b"lib"].kind == "symlink", "a link of this very name is the package's own"
    assert b"bin" not in found and found[b"usr"].kind == "dir"


def test_a_ring_of_renames_ends() -> None:
    assert renamed(b"a/x", {b"a": b"b", b"b": b"a"}) in (b"a/x", b"b/x")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([entry("./../etc/passwd", b"x")], "leaves the root"),
        ([entry("./usr/../../x", b"x")], "leaves the root"),
        ([entry("./hard", kind=tarfile.LNKTYPE, linkname="../../etc/shadow")], "leaves the root"),
        ([entry("./hard", kind=tarfile.LNKTYPE, linkname="./nothing")], "points nowhere"),
        ([entry("./new\nline", b"x")], "dpkg refuses"),
        ([entry("./.wh.etc", b"x")], "deletion"),
        ([entry("./sparse", b"", kind=tarfile.GNUTYPE_SPARSE)], "unsupported type"),
        ([entry("./", kind=tarfile.SYMTYPE, linkname="/")], "its root is not a directory"),
    ],
)
def test_a_hostile_package_is_refused(tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], why: str) -> None:
    with pytest.raises(NetworkError, match="not a sound Debian package") as error:
        with open_deb(deb(tmp_path, tar(entries))) as package:
            items(package, PathFilter(), {})
    assert why in error.value.why


def test_a_package_cannot_write_outside_through_its_own_link(tmp_path: Path) -> None:
    need_root()
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tar([entry("./out", kind=tarfile.SYMTYPE, linkname=str(outside)), entry("./out/file", b"x")])
    tree = tmp_path / "tree"
    tree.mkdir()
    with open_deb(deb(tmp_path, data)) as package:
        put_all(tree, items(package, PathFilter(), {}), keep_folders=False)
    assert list(outside.iterdir()) == []
    assert (tree / "out/file").read_bytes() == b"x" and not (tree / "out").is_symlink()


@pytest.mark.parametrize("cut", [4, 30, 70, 400, -2000, -600, -3])
def test_a_truncated_package_is_refused(tmp_path: Path, cut: int) -> None:
    data = tar([entry("./usr/", kind=tarfile.DIRTYPE), entry("./usr/file", os.urandom(5000))])
    file = deb(tmp_path, data)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(NetworkError, match="not a sound Debian package"):
        with open_deb(file) as package:
            items(package, PathFilter(), {})


def test_bytes_lost_in_the_middle_of_the_archive_are_noticed(tmp_path: Path) -> None:
    whole = tar([entry("./one", b"1" * 600), entry("./two", b"2" * 600)])
    spoilt = bytearray(whole)
    spoilt[512 + 1024 + 10] ^= 0xFF  # in the second header: tarfile would end here without a word
    with pytest.raises(NetworkError) as error:
        with open_deb(deb(tmp_path, bytes(spoilt))) as package:
            items(package, PathFilter(), {})
    assert "checksum" in error.value.why


def test_a_big_package_is_read_by_way_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackbuild.packages.deb.archive._IN_MEMORY", 1 << 20)
    content = os.urandom(3 << 20)
    with open_deb(deb(tmp_path, tar([entry("./big", content)]), ending=".gz")) as package:
        found = [content for entry, content in items(package, PathFilter(), {}) if entry.path == b"big"]
    assert bytes(found[0] or b"") == content


def test_a_decompression_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackbuild.packages.deb.archive._MOST_DATA", 1 << 20)
    with pytest.raises(NetworkError) as error:
        with open_deb(deb(tmp_path, tar([entry("./big", bytes(8 << 20))]))) as package:
            items(package, PathFilter(), {})
    assert "grows beyond" in error.value.why


def test_patterns_match_as_dpkg_matches_them() -> None:
    """dpkg calls fnmatch(3) of the C library, and so does this test."""
    library = ctypes.CDLL(None)
    library.setlocale(6, b"C.UTF-8")  # LC_ALL, as dpkg has it in a build
    paths = [
        "/usr/share/doc/a/b", "/usr/share/doc", "/a[b", "/a-b", "/aXb", "/axb", "/a*b", "/a]b", "/a!b", "/a^b", "/amb",
        "/usr/.hidden", "/\u00e9", "/a\\b", "/a b",
    ]  # fmt: skip
    patterns = [
        "/usr/share/doc/*", "/usr/*", "/a[-x]b", "/a[!-]b", "/a[^x]b", "/a\\*b", "/a[b", "*", "/?", "/a[[:upper:]]b",
        "/us?/*", "/a[]]b", "/a[a-n]b", "/a[\\]]b", "/a[!]x]b", "/a[[:space:]x]b", "/a[x-]b", "/a\\\\b", "/[a-z]*",
    ]  # fmt: skip
    for pattern in patterns:
        keep = PathFilter([pattern])
        for path in paths:
            said = library.fnmatch(pattern.encode(), path.encode(), 0) == 0
            assert keep.skips(path.encode()[1:], "file") == said, (pattern, path)
