"""Layers that were made to harm: nothing outside of the root is touched, and the refusal says why."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.errors import NetworkError
from stackbuild.oci.compression import compress
from stackbuild.oci.tar_extract import Limits, Whiteouts, extract
from stackbuild.oci.tar_write import END, Entry, header, padding

pytestmark = pytest.mark.root
MODES: tuple[Whiteouts, ...] = ("apply", "device", "file")


def tar(*entries: Entry | tuple[Entry, bytes]) -> bytes:
    """An archive without the checks of the writer on order or sense."""
    out = b""
    for item in entries:
        entry, content = item if isinstance(item, tuple) else (item, b"")
        out += header(entry) + content + padding(len(content))
    return out + END


def renamed(block: bytes, name: bytes, link: bytes | None = None) -> bytes:
    """A header block with another name (and link) and a right checksum: what our writer refuses to write."""
    block = name.ljust(100, b"\0") + block[100:]
    if link is not None:
        block = block[:157] + link.ljust(100, b"\0") + block[257:]
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def file(path: bytes, content: bytes = b"evil") -> tuple[Entry, bytes]:
    return Entry(path, "file", 0o644, size=len(content)), content


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path, "symlink", 0o777, target=target)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the root that must stay as it is."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_text("precious")
    before = (sorted(os.listdir(folder)), os.stat(folder).st_mtime_ns, os.stat(folder / "file"))
    yield folder
    assert (folder / "file").read_text() == "precious"
    after = os.stat(folder / "file")
    assert (sorted(os.listdir(folder)), os.stat(folder).st_mtime_ns) == before[:2]
    assert (after.st_mode, after.st_uid, after.st_nlink) == (before[2].st_mode, before[2].st_uid, before[2].st_nlink)


def unpack(tmp_path: Path, data: bytes, whiteouts: Whiteouts = "apply", limits: Limits | None = None) -> Path:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    extract(io.BytesIO(data), root, whiteouts=whiteouts, name="the layer", limits=limits or Limits())
    return root


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [b"../victim/file", b"a/../../victim/file", b"./../victim/new", b"a/.."])
def test_dots_do_not_leave_the_root(tmp_path: Path, victim: Path, mode: Whiteouts, name: bytes) -> None:
    entry, content = file(b"x")
    data = renamed(header(entry), name) + content + padding(len(content)) + END
    with pytest.raises(NetworkError, match="leaves its root"):
        unpack(tmp_path, data, mode)


def test_an_absolute_name_stays_beneath_the_root(tmp_path: Path, victim: Path) -> None:
    name = os.fsencode(victim / "file")[:99]
    entry, content = file(b"x")
    root = unpack(tmp_path, renamed(header(entry), name) + content + padding(len(content)) + END)
    assert (root / str(victim)[1:] / "file").read_bytes() == b"evil"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", [b"../victim", b"VICTIM", b"/", b"a/../../victim"])
def test_a_file_is_not_written_through_a_link(tmp_path: Path, victim: Path, mode: Whiteouts, target: bytes) -> None:
    target = target.replace(b"VICTIM", os.fsencode(victim))
    data = tar(link(b"d", target), file(b"d/file"), file(b"d/victim/file"))
    try:
        root = unpack(tmp_path, data, mode)
    except NetworkError as error:
        assert "not a folder" in str(error)
    else:
        assert mode == "apply", "a layer that is stacked has no links to follow"
        assert (root / "victim/file").exists() or (root / str(victim)[1:]).exists() or target == b"a/../../victim"


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    root = unpack(tmp_path, tar(link(b"f", os.fsencode(victim / "file")), file(b"f")))
    assert not (root / "f").is_symlink() and (root / "f").read_bytes() == b"evil"


def test_a_folder_entry_over_a_link_does_not_change_what_the_link_names(tmp_path: Path, victim: Path) -> None:
    data = tar(link(b"d", b"../victim"), Entry(b"d", "dir", 0o777, uid=99), file(b"d/file"))
    root = unpack(tmp_path, data)
    assert not (root / "d").is_symlink()


@pytest.mark.parametrize("target", [b"../victim/file", b"d/file", b"missing"])
def test_a_hard_link_reaches_nothing_outside(tmp_path: Path, victim: Path, target: bytes) -> None:
    start = header(link(b"d", b"../victim"))
    data = start + renamed(header(Entry(b"h", "hardlink", 0o644, target=b"t")), b"h", target) + tar(file(b"h"))
    with pytest.raises(NetworkError, match=r"leaves its root|does not exist"):
        unpack(tmp_path, data)


def test_a_whiteout_deletes_nothing_outside(tmp_path: Path, victim: Path) -> None:
    for evil in (
        tar(link(b"d", b"../victim"), file(b"d/.wh.file", b"")),
        tar(link(b"d", b"../victim"), file(b".wh.d", b""), file(b"d/.wh..wh..opq", b"")),
        tar(link(b"e", b"../../.."), file(b"e/.wh..wh..opq", b"")),
    ):
        unpack(tmp_path, evil)
    for name in (b".wh..", b".wh...", b".wh."):
        entry, _ = file(b"x", b"")
        with pytest.raises(NetworkError, match="bad whiteout"):
            unpack(tmp_path, renamed(header(entry), name) + END)


def test_a_folder_swapped_for_a_link_in_mid_archive_is_not_written_through(tmp_path: Path, victim: Path) -> None:
    data = tar(
        Entry(b"d", "dir", 0o755), file(b"d/one"), file(b".wh.d", b""), link(b"d", b"../victim"), file(b"d/file"),
        link(b"a", b"b"), Entry(b"b", "dir", 0o755), file(b"a/x"), link(b"a", b"../victim"), file(b"a/file"),
    )  # fmt: skip
    root = unpack(tmp_path, data)
    assert not (tmp_path / "victim/one").exists()
    assert root.is_dir()


def test_links_in_circles_end(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="too many links"):
        unpack(tmp_path, tar(link(b"a", b"b"), link(b"b", b"a"), file(b"a/x")))


def test_attributes_that_steer_overlays_are_left_out(tmp_path: Path) -> None:
    evil = {b"trusted.overlay.opaque": b"y", b"user.overlay.redirect": b"/etc", b"user.fine": b"1"}
    root = unpack(tmp_path, tar((Entry(b"f", "file", 0o644, xattrs=evil), b"")))
    assert os.listxattr(root / "f") == ["user.fine"]


def test_device_nodes_are_left_out(tmp_path: Path) -> None:
    entries = [Entry(b"disk", "block", 0o666, major=8, minor=0), Entry(b"gone", "char", 0o644, major=0, minor=0)]
    root = unpack(tmp_path, tar(*entries, file(b"f")), "device")
    assert os.listdir(root) == ["f"]


BOMB = Limits(entries=100, size=1 << 20, ratio=50, ratio_from=1 << 18)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tar(*[Entry(b"d%d" % n, "dir", 0o755) for n in range(101)]), "more than 100 entries"),
        (tar(*[file(b"f%d" % n, os.urandom(1 << 18)) for n in range(5)]), "bytes unpacked"),
        (gzip.compress(tar(file(b"zeros", bytes(1 << 20)))), "for each byte stored"),
        (header(Entry(b"huge", "file", 0o644, size=1 << 45)), "bytes unpacked"),
    ],
    ids=["entries", "bytes", "ratio", "claim"],
)
def test_bombs_are_defused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        unpack(tmp_path, data, limits=BOMB)


def test_endless_headers_and_endless_zeros_end(tmp_path: Path) -> None:
    extra = renamed(header(Entry(b"x", "file", 0o644, size=5)), b"long")
    extra = extra[:156] + b"L" + extra[157:]
    blank = extra[:148] + b" " * 8 + extra[156:]
    extra = extra[:148] + b"%06o\0 " % sum(blank) + extra[156:] + b"name\0" + padding(5)
    with pytest.raises(NetworkError, match="too many extended headers"):
        unpack(tmp_path, extra * 50 + END)
    with pytest.raises(NetworkError, match="endless zeros"):
        unpack(tmp_path, compress(END + bytes(80 << 20), "gzip"))
    deep = b"/".join([b"d"] * 300)
    with pytest.raises(NetworkError, match="too long"):
        unpack(tmp_path, tar(file(deep)))


GOOD = tar(file(b"one", b"1" * 600), file(b"two", b"2" * 600))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD[:300], "truncated"),
        (GOOD[:900], "truncated"),
        (GOOD[:1536] + b"\1" * 512 + GOOD[2048:], "checksum|bad number"),
        (GOOD + tar(file(b"three")), "more follows after its end"),
        (gzip.compress(GOOD)[:-20], "truncated"),
        (gzip.compress(GOOD)[:40] + b"\0" * 30, "not valid gzip"),
        (gzip.compress(GOOD) + b"trailing", "not valid gzip"),
        (compress(GOOD, "zstd")[:-20], "truncated"),
        (compress(GOOD, "zstd")[:8], "truncated"),
        (compress(GOOD, "zstd") + b"trailing", "not valid zstd"),
        (b"not a tar at all" * 64, "checksum|bad number"),
        (tar(Entry(b"x", "file", 0o644, mtime=1 << 60)), "time that is out of range"),
    ],
    ids=[
        "in a header",
        "in content",
        "bad header",
        "a second archive",
        "gzip cut",
        "gzip bad",
        "gzip trailing",
        "zstd cut",
        "zstd cut early",
        "zstd trailing",
        "no tar",
        "time",
    ],
)
def test_what_is_broken_is_refused_and_never_read_half(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(NetworkError, match=words) as found:
        unpack(tmp_path, data)
    assert "the layer" in str(found.value)


def test_names_of_strangers_reach_the_terminal_harmless(tmp_path: Path) -> None:
    with pytest.raises(NetworkError) as found:
        unpack(tmp_path, tar(link(b"\x1b]0;owned\x07", b"x"), file(b"\x1b]0;owned\x07/f")), "file")
    assert str(found.value).isprintable()


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_gives_an_error_or_a_tree_never_a_traceback(tmp_path: Path, seed: int, victim: Path) -> None:
    import random

    chance = random.Random(seed)
    good = bytearray(
        tar(
            Entry(b"d", "dir", 0o755), file(b"d/a", b"1" * 700), link(b"d/l", b"../victim"),
            Entry(b"d/h", "hardlink", 0o644, target=b"d/a"), Entry(b"d/" + b"n" * 120, "file", 0o644),
            Entry(b"d/x", "file", 0o644, xattrs={b"user.a": b"b"}),
        )
    )  # fmt: skip
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            unpack(tmp_path, bytes(bad[: chance.randint(len(bad) // 2, len(bad))]), chance.choice(MODES))
        except NetworkError:
            pass
