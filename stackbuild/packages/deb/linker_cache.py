"""ld.so.cache, as ldconfig(8) would write it, from the shared libraries of a tree; runs no program of the tree."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stackbuild.core.errors import StepError
from stackbuild.core.follow import follow
from stackbuild.oci.tree_view import TreeView

CACHE = b"etc/ld.so.cache"
_CONF = b"etc/ld.so.conf"
_DEFAULTS = (b"/lib", b"/usr/lib")
_LIMIT = 1 << 20  # of a configuration file
_LIBC6 = 3
_KINDS = {
    ("EM_X86_64", 64): 0x0300, ("EM_X86_64", 32): 0x0800, ("EM_AARCH64", 64): 0x0A00, ("EM_ARM", 32): 0x0900,
    ("EM_PPC64", 64): 0x0500, ("EM_S390", 64): 0x0400, ("EM_RISCV", 64): 0x1000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Library:
    """soname: what programs ask for. path: absolute. flags: of the cache's format. big: big-endian."""

    soname: bytes
    path: bytes
    flags: int
    big: bool = False


@dataclass(frozen=True, slots=True)
class _Elf:
    soname: bytes
    flags: int
    big: bool


def libraries(tree: TreeView) -> tuple[list[Library], dict[bytes, bytes]]:
    """The libraries of the folders that the loader knows by ld.so.conf, and those of the system.

    Also the links that ldconfig makes where a package ships none under its soname: path -> target, relative paths.
    Subfolders for processor levels (glibc-hwcaps) are left out: the loader falls back to the plain libraries.
    """
    found: list[Library] = []
    links: dict[bytes, bytes] = {}
    seen: set[bytes] = set()
    for folder in [*_configured(tree), *_DEFAULTS]:
        try:
            real = follow(tree.look, folder, last=True)
        except StepError:
            continue
        if real in seen:
            continue
        seen.add(real)
        found += _in_folder(tree, folder, real, links)
    return found, links


def _configured(tree: TreeView) -> list[bytes]:
    """The folders of ld.so.conf and what it includes. Without it, those of ld.so.conf.d: libc6 ships these alone."""
    if tree.find(_CONF) is None:
        return list(_read_conf(tree, b"include /etc/ld.so.conf.d/*.conf", 0))
    return list(_read_conf(tree, tree.read(_CONF, _LIMIT), 0))


def _read_conf(tree: TreeView, text: bytes, depth: int) -> Iterator[bytes]:
    for raw in text.splitlines():
        line = raw.partition(b"#")[0].strip()
        if line.startswith(b"include") and depth < 8:
            for pattern in line.split()[1:]:
                folder, _, name = pattern.strip(b"/").rpartition(b"/")
                wanted = re.compile(re.escape(name).replace(rb"\*", b"[^/]*") + rb"\Z")
                for found in tree.names(folder):
                    if wanted.match(found):
                        yield from _read_conf(tree, tree.read(folder + b"/" + found, _LIMIT), depth + 1)
        elif line.startswith(b"/"):
            yield line.rstrip(b"/")


def _in_folder(tree: TreeView, folder: bytes, real: bytes, links: dict[bytes, bytes]) -> Iterator[Library]:
    found: dict[tuple[bytes, int], Library] = {}
    names = set(tree.names(real))
    for name in sorted(names, key=_order):
        if not name.startswith((b"lib", b"ld-", b"ld.so")) or b".so" not in name or name.endswith(b"-gdb.py"):
            continue
        path = real + b"/" + name
        here, target = tree.look(path), tree.find(path)
        if here is None or target is None or target.kind != "file":
            continue
        elf = _elf(target.real)
        if elf is None:
            continue
        soname = elf.soname or name
        if here.kind == "symlink" and name.endswith(b".so") and soname.startswith(name):
            soname = name  # a link of a development package: ldconfig lists it, too
        if soname not in names:
            links[real + b"/" + soname] = name
        found[soname, elf.flags] = Library(soname, folder + b"/" + soname, elf.flags, elf.big)
    yield from found.values()


def _elf(path: bytes) -> _Elf | None:
    """What a shared library says of itself; None for another file, and for one that no loader could use."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
        from elftools.common.exceptions import ELFError
        from elftools.elf.dynamic import DynamicSegment
        from elftools.elf.elffile import ELFFile

        try:
            elf = ELFFile(file)
            dynamic = next((part for part in elf.iter_segments() if isinstance(part, DynamicSegment)), None)
            if elf["e_type"] != "ET_DYN" or dynamic is None:
                return None
            soname = next((str(vars(tag).get("soname", "")).encode() for tag in dynamic.iter_tags("DT_SONAME")), b"")
            flags = _LIBC6 | _KINDS.get((elf["e_machine"], elf.elfclass), 0)
            return _Elf(soname if b"/" not in soname else b"", flags, not elf.little_endian)
        except (ELFError, ValueError, KeyError, AttributeError, TypeError, struct.error, OverflowError):
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:  # a place before the file's start
                return None
            raise


def cache(found: Iterable[Library]) -> bytes:
    """The file's bytes: glibc's format 1.1 (dl-cache.h), sorted as the loader's binary search asks; b"" for none."""
    entries = sorted(found, key=lambda one: (_order(one.soname), one.flags), reverse=True)
    first: dict[tuple[bytes, int], list[Library]] = {}
    for one in found:  # of one name, the folder that comes first is to be found first
        first.setdefault((one.soname, one.flags), []).append(one)
    entries = [one for key in dict.fromkeys((e.soname, e.flags) for e in entries) for one in first[key]]
    if not entries:
        return b""
    order = ">" if entries[0].big else "<"
    start = 48 + 24 * len(entries)
    offsets: dict[bytes, int] = {}
    strings = bytearray()
    for one in entries:
        for text in (one.soname, one.path):
            if text not in offsets:
                offsets[text] = start + len(strings)
                strings += text + b"\0"
    head = b"glibc-ld.so.cache1.1" + struct.pack(f"{order}II", len(entries), len(strings))
    head += bytes((3 if entries[0].big else 2, 0, 0, 0)) + bytes(16)
    body = b"".join(
        struct.pack(f"{order}iIIIQ", one.flags, offsets[one.soname], offsets[one.path], 0, 0) for one in entries
    )
    return head + body + bytes(strings)


def _order(name: bytes) -> tuple[tuple[int, int], ...]:
    """As the loader compares names: a run of digits counts as one number and is more than any other character."""
    parts = []
    for digits, other in re.findall(rb"([0-9]+)|([^0-9])", name):
        parts.append((1, int(digits)) if digits else (0, other[0] if other[0] < 128 else other[0] - 256))
    return tuple(parts)
