"""One package as layer entries: its files and what dpkg's database says of them. Runs no script, knows no tree.

The bytes depend on the package, the path filter and the renames alone, never on other packages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stackbuild.core.clock import EPOCH
from stackbuild.core.errors import NetworkError
from stackbuild.oci.tar_write import Entry, header, padding
from stackbuild.packages.deb.archive import Deb
from stackbuild.packages.deb.control import NAME, decode, stanzas
from stackbuild.packages.deb.filters import PathFilter
from stackbuild.packages.deb.tar_read import Member

INFO = b"var/lib/dpkg/info"
STATUS_D = b"var/lib/dpkg/status.d"
_PIECE = 4 << 20

Item = tuple[Entry, memoryview | bytes | None]
"""An entry and, for a file, its content."""


@dataclass(frozen=True, slots=True)
class Names:
    """How a package is called. info: the stem of its files in dpkg's database (`:arch` if Multi-Arch: same)."""

    package: str
    version: str
    architecture: str
    info: str


def names(deb: Deb) -> Names:
    """Read from the control file. Raises NetworkError if it is not one of a binary package."""
    fields = next(stanzas(decode(deb.fields)), {})
    package, version = fields.get("package", ""), fields.get("version", "")
    architecture = fields.get("architecture", "")
    if not NAME.match(package) or not version or not NAME.match(architecture):
        raise NetworkError(f"{deb.name} is not a sound Debian package", why="its control file names no package")
    same = fields.get("multi-arch", "no") == "same"
    return Names(package, version, architecture, f"{package}:{architecture}" if same else package)


def items(deb: Deb, keep: PathFilter, renames: Mapping[bytes, bytes], status_d: str = "") -> list[Item]:
    """All entries of the fragment, sorted by path, each ancestor directory before what is in it.

    renames: directories that are links in the tree, as {b"bin": b"usr/bin"}; what lies in them moves along.
    status_d: the native architecture, if there is to be no database of dpkg but what scanners read in its place.
    """
    found: dict[bytes, Item] = {}
    files: dict[bytes, Member] = {}
    contents: dict[bytes, bytes] = {}  # a path that has content -> the archive's first name of that file
    members = list(deb.members())
    for member in members:
        if member.kind == "file":
            files[member.path] = member
        if not member.path or keep.skips(member.path, member.kind):
            continue  # the root belongs to no package
        path = renamed(member.path, renames, whole=member.kind == "dir")
        if member.kind == "dir" and path in found and found[path][0].kind == "dir":
            continue  # two names of one directory: dpkg leaves what is there alone
        found[path] = _item(deb, member, path, files, contents)
    more = _status_d(deb, keep, files, members, status_d) if status_d else _info(deb, keep, files, members)
    for path, item in more:
        found[path] = item
        contents.pop(path, None)
    _add_ancestors(found)
    _link_after_first(found, contents)
    return [found[path] for path in sorted(found)]


def _item(deb: Deb, member: Member, path: bytes, files: Mapping[bytes, Member], contents: dict[bytes, bytes]) -> Item:
    """A member under its final path. A hard link is a second copy for the moment, see _link_after_first."""
    contents.pop(path, None)
    if member.kind not in ("file", "hardlink"):
        return _entry(member, path), None
    first = member if member.kind == "file" else files.get(member.target)
    if first is None:
        raise NetworkError(
            f"{deb.name} is not a sound Debian package", why=f"the hard link {member.path!r} points nowhere"
        )
    contents[path] = first.path
    return _entry(first, path), deb.content(first)


def _entry(member: Member, path: bytes) -> Entry:
    mode = 0o777 if member.kind == "symlink" else member.mode
    return Entry(
        path, member.kind, mode, member.uid, member.gid, member.mtime, member.size,
        member.target if member.kind == "symlink" else b"", member.major, member.minor,
    )  # fmt: skip


def _link_after_first(found: dict[bytes, Item], contents: Mapping[bytes, bytes]) -> None:
    """Of the names of one file the first in order holds the content, the others are links to it."""
    if len(set(contents.values())) == len(contents):
        return
    first: dict[bytes, bytes] = {}
    for path in sorted(contents):
        if (earlier := first.setdefault(contents[path], path)) != path:
            found[path] = (replace(found[path][0], kind="hardlink", size=0, target=earlier), None)


def _add_ancestors(found: dict[bytes, Item]) -> None:
    for path in list(found):
        while path := path.rpartition(b"/")[0]:
            if path not in found:
                found[path] = (Entry(path, "dir", 0o755), None)


def _info(
    deb: Deb, keep: PathFilter, files: Mapping[bytes, Member], members: Sequence[Member]
) -> Iterator[tuple[bytes, Item]]:
    """What dpkg puts into its info folder when it unpacks: the control files, the list, and md5sums."""
    stem = INFO + b"/" + names(deb).info.encode() + b"."
    for key, file in deb.control.items():
        if key in ("control", "list"):
            continue  # dpkg: `control` goes into status, a `list` is its own to write
        if not NAME.match(key) or len(key) > 50:
            raise NetworkError(f"{deb.name} is not a sound Debian package", why=f"odd control file {key!r:.80}")
        path = stem + key.encode()
        yield path, (Entry(path, "file", file.mode, mtime=file.mtime, size=len(file.content)), file.content)
    content = _file_list(members)
    path = stem + b"list"
    yield path, (Entry(path, "file", 0o644, size=len(content), mtime=EPOCH), content)
    if "md5sums" not in deb.control:
        content = _md5sums(deb, keep, files, members)
        path = stem + b"md5sums"
        yield path, (Entry(path, "file", 0o644, size=len(content), mtime=EPOCH), content)


def _status_d(
    deb: Deb, keep: PathFilter, files: Mapping[bytes, Member], members: Sequence[Member], native: str
) -> Iterator[tuple[bytes, Item]]:
    """What images without dpkg's database say of a package: its control file, and the MD5 sums of what is there.

    The folder, the names and the form are those of the distroless images, which scanners of images read.
    """
    found = names(deb)
    stem = found.package if found.architecture in ("all", native) else f"{found.package}:{found.architecture}"
    control = deb.fields.replace(b"\r\n", b"\n").strip(b"\n") + b"\n"
    sums = deb.control["md5sums"].content if "md5sums" in deb.control else _md5sums(deb, keep, files, members)
    lines = [line for line in sums.splitlines() if not keep.skips(line.partition(b"  ")[2], "file")]
    for path, content in ((stem, control), (stem + ".md5sums", b"".join(line + b"\n" for line in lines))):
        place = STATUS_D + b"/" + path.encode()
        yield place, (Entry(place, "file", 0o644, size=len(content), mtime=EPOCH), content)


def _file_list(members: Sequence[Member]) -> bytes:
    """PKG.list as dpkg writes it: the archive's order and names, filtered ones too, "/." for the root."""
    lines = dict.fromkeys(b"/" + (member.path or b".") for member in members)
    return b"".join(line + b"\n" for line in lines)


def _md5sums(deb: Deb, keep: PathFilter, files: Mapping[bytes, Member], members: Sequence[Member]) -> bytes:
    """PKG.md5sums as dpkg makes it for a package that brings none: every file that it unpacks."""
    lines = []
    for member in members:
        first = files.get(member.target) if member.kind == "hardlink" else member
        if member.kind not in ("file", "hardlink") or first is None or keep.skips(member.path, member.kind):
            continue
        digest = hashlib.md5(deb.content(first), usedforsecurity=False).hexdigest()
        lines.append(digest.encode() + b"  " + member.path + b"\n")
    return b"".join(lines)


def renamed(path: bytes, renames: Mapping[bytes, bytes], *, whole: bool = True) -> bytes:
    """Where a path of a package lies in a tree with these directory links.

    whole: the path itself may be such a link (a directory); else only what is in it moves.
    """
    for _ in range(8):  # a link may lead into another; a ring is left alone
        if not path.startswith(tuple(renames)):
            return path
        parts = path.split(b"/")
        for count in range(len(parts) if whole else len(parts) - 1, 0, -1):
            target = renames.get(b"/".join(parts[:count]))
            if target is not None:
                path = b"/".join([target, *parts[count:]])
                break
        else:
            return path
    return path


def tar_pieces(found: Iterable[Item]) -> Iterator[bytes]:
    """The layer bytes of a fragment, without the end of the archive: whole blocks, a few MiB at a time."""
    parts: list[bytes | memoryview] = []
    size = 0
    for entry, content in found:
        head = header(entry)
        parts.append(head)
        size += len(head)
        if content is not None:
            view = memoryview(content)
            at = 0
            while len(view) - at + size > _PIECE:
                step = max(_PIECE - size, 0)  # a full piece may have got another header
                yield b"".join([*parts, view[at : at + step]])
                at, size = at + step, 0
                parts.clear()
            parts.append(view[at:])
            fill = padding(len(view))
            parts.append(fill)
            size += len(view) - at + len(fill)
    if parts:
        yield b"".join(parts)
