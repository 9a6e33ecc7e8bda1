"""Lists files of the project and knows their digests, by `stat` where nothing changed. Writes only its own cache."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, cast

from stackbuild.core.digest import CHUNK, Digest, digest_of, finish, hex_of
from stackbuild.core.errors import Hint, StackError, StepError, UsageError
from stackbuild.core.files import write_file
from stackbuild.core.origin import Origin

_SETTLED_NS = 2_000_000_000  # a file changed less long ago may change again within one tick of its clock
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a source. path: inside the source, "" is the source itself. name: from the project.

    kind: "file" | "program" (the owner may execute it) | "dir" | "link". place: where it is here.
    target: of a link its text. Of files: digest and size.
    """

    path: str
    name: str
    kind: str
    place: Path
    target: str = ""
    digest: Digest | None = None
    size: int = 0

    @property
    def state(self) -> str:
        """All of it that can change a result, as a value of `Inputs.reads`."""
        if self.kind == "link":
            return f"link to {self.target}"
        return {"dir": "folder", "file": f"{self.digest}", "program": f"{self.digest} executable"}[self.kind]


@dataclass(frozen=True, slots=True)
class Source:
    """What one `from` (or one match of its pattern) is: its last name, and its entries, sorted, itself first."""

    name: str
    items: tuple[Item, ...]


Left = Callable[[str, str, bool], bool]  # (path from the project, path in the source, is it a folder) -> left out?


class ProjectFiles:
    """The files below one folder. No path leaves it, through links neither; links inside a source stay links.

    What was selected once is not looked at again: keys and actions of one build agree. Make a new one per build.
    cache: a folder for the digests of files by (path, size, mtime, inode, ctime); None: every file is read.
    """

    def __init__(self, project: Path, cache: Path | None = None) -> None:
        self.root = Path(os.path.realpath(project))
        self.looked_at: set[Path] = set()
        """Every file, folder and ignore file that a selection depended on, for those who stat them again."""
        self._file = cache / f"{hex_of(digest_of(os.fsencode(self.root)))}.json" if cache else None
        self._known: dict[str, list[int | str]] | None = None
        self._new = False
        self._selected: dict[tuple[str, tuple[str, ...], str | None], tuple[Source, ...]] = {}

    def select(
        self,
        pattern: str,
        *,
        exclude: Sequence[str] = (),
        ignore: str | None = None,
        where: Origin | None = None,
    ) -> tuple[Source, ...]:
        """The sources that a path or pattern (`*`, `?`, `[…]`, never across "/") names; a path that exists is a path.

        exclude: patterns as in .gitignore, from the source's root. ignore: a file of such patterns, which
        count from its own folder. `.git` is left out unless it is named. Raises UsageError.
        """
        key = (pattern, tuple(exclude), ignore)
        if key in self._selected:
            return self._selected[key]
        names = self._names(pattern, where)
        left = self._left_out(exclude, ignore, ".git" in pattern.split("/"), where)
        found = [source for name in names if (source := self._source(name, left, where))]
        if not found:
            raise UsageError(
                f"`{pattern}` leaves nothing to copy", where=where, why="all of it is excluded, ignored or `.git`"
            )
        self._selected[key] = tuple(found)
        self.save()
        return tuple(found)

    def outside(
        self, name: str, place: Path, exclude: Sequence[str] = (), where: Origin | None = None
    ) -> tuple[Source, ...]:
        """As `select`, of a file or folder that is elsewhere. name: what its entries are called instead of a path.

        No link in it leads out of the folder that it is in. Raises UsageError.
        """
        key = (name, tuple(exclude), None)
        if key not in self._selected:
            other = ProjectFiles(place.parent)
            found = other.select(place.name, exclude=exclude, where=where)
            self.looked_at |= other.looked_at
            self._selected[key] = tuple(
                replace(one, items=tuple(replace(i, name=name + i.name[len(place.name) :]) for i in one.items))
                for one in found
            )
        return self._selected[key]

    def save(self) -> None:
        """Keep the digests for the next run."""
        if self._file is None or not self._new or self._known is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._file, json.dumps(self._known, separators=(",", ":")).encode())
        except (OSError, StackError):
            return  # only a cache
        self._new = False

    def _names(self, pattern: str, where: Origin | None) -> list[str]:
        """Project paths that a path or pattern stands for, sorted; each exists."""
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if ".." in parts or pattern.startswith("/"):
            raise _leaves(pattern, "it is not below the project's folder", where)
        plain = "/".join(parts)
        if os.path.lexists(self.root / plain) or not any(character in pattern for character in "*?["):
            self._check(plain, where)
            return [plain]
        found = [""]
        for part in parts:
            matcher = part.replace("[^", "[!")
            deeper = []
            for folder in found:
                here = self._check(folder, where)
                if here.is_dir():
                    self.looked_at.add(here)
                    names = (name for name in os.listdir(here) if fnmatchcase(name, matcher))
                    deeper += [_join(folder, name) for name in names if name != ".git" or part == ".git"]
            found = sorted(deeper, key=os.fsencode)
        for name in found:
            self._check(name, where)
        if not found:
            raise UsageError(f"no file of the project matches `{pattern}`", where=where)
        return found

    def _check(self, name: str, where: Origin | None) -> Path:
        """Where a project path really is. Raises UsageError if that is nowhere or outside."""
        real = Path(os.path.realpath(self.root / name))
        if real != self.root and self.root not in real.parents:
            link = next(
                (path for path in _prefixes(name) if not self._inside(os.path.realpath(self.root / path))), name
            )
            raise _leaves(name, f"`{link}` is a link to {os.path.realpath(self.root / link)}", where)
        if not os.path.lexists(real):
            raise self._missing(name, where)
        return real

    def _inside(self, real: str) -> bool:
        return real == str(self.root) or self.root in Path(real).parents

    def _missing(self, name: str, where: Origin | None) -> UsageError:
        above, last = "", name
        for prefix in _prefixes(name):
            if not os.path.exists(self.root / prefix):
                above, _, last = prefix.rpartition("/")
                break
        if os.path.islink(self.root / _join(above, last)):
            return UsageError(f"`{name}` is a link that leads nowhere", where=where)
        try:
            near = difflib.get_close_matches(last, os.listdir(self.root / above), 3)
        except OSError:
            near = []
        return UsageError(
            f"there is no `{name}` in the project",
            where=where,
            why=f"{self.root / above} has no `{last}`",
            hints=[Hint(f"did you mean `{_join(above, other)}`?") for other in near],
        )

    def _left_out(self, exclude: Sequence[str], ignore: str | None, git: bool, where: Origin | None) -> Left:
        def is_git(name: str) -> bool:
            return not git and name.rpartition("/")[2] == ".git"

        if not exclude and ignore is None:
            return lambda name, inside, is_dir: is_git(name)
        from pathspec import GitIgnoreSpec

        try:
            excluded = GitIgnoreSpec.from_lines(exclude)
            ignored, folder = GitIgnoreSpec.from_lines(()), ""
            if ignore is not None:
                place = self._check(ignore, where)
                self.looked_at.add(place)
                folder = ignore.rpartition("/")[0]
                lines = place.read_text("utf-8", "surrogateescape").splitlines()
                ignored = GitIgnoreSpec.from_lines(lines)
        except (ValueError, OSError) as error:
            raise UsageError(f"`{ignore or exclude}` cannot be used", where=where, why=str(error)) from None
        prefix = f"{folder}/" if folder else ""

        def left(name: str, inside: str, is_dir: bool) -> bool:
            if is_git(name):
                return True
            end = "/" if is_dir else ""
            if inside and excluded.match_file(inside + end):
                return True
            return bool(name) and name.startswith(prefix) and ignored.match_file(name[len(prefix) :] + end)

        return left

    def _source(self, name: str, left: Left, where: Origin | None) -> Source | None:
        """A source, the link that it may be followed; None if it is left out as a whole."""
        place = self._check(name, where)
        last = name.rpartition("/")[2]
        is_dir = place.is_dir()
        if left(name, "" if is_dir else last, is_dir):
            return None
        if not is_dir:
            try:
                return Source(last, (self._item("", name, place, os.lstat(place), where),))
            except FileNotFoundError as error:
                raise _unreadable(name, where, error) from None
        items = [Item("", name, "dir", place)]
        items += sorted(self._below(name, "", place, left, where), key=lambda item: os.fsencode(item.path))
        return Source(last, tuple(items))

    def _below(self, name: str, inside: str, place: Path, left: Left, where: Origin | None) -> Iterator[Item]:
        """What is in a folder. What is taken away while we look (an editor's spare file) was never there."""
        self.looked_at.add(place)
        try:
            entries = list(os.scandir(place))
        except FileNotFoundError:
            return
        for entry in entries:
            there, path = _join(name, entry.name), _join(inside, entry.name)
            is_dir = entry.is_dir(follow_symlinks=False)
            if left(there, path, is_dir):
                continue
            try:
                yield self._item(path, there, Path(entry.path), entry.stat(follow_symlinks=False), where)
            except FileNotFoundError:
                continue
            if is_dir:
                yield from self._below(there, path, Path(entry.path), left, where)

    def _item(self, path: str, name: str, place: Path, status: os.stat_result, where: Origin | None) -> Item:
        if stat.S_ISDIR(status.st_mode):
            return Item(path, name, "dir", place)
        if stat.S_ISLNK(status.st_mode):
            self.looked_at.add(place)
            return Item(path, name, "link", place, os.readlink(place))
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(
                f"`{name}` cannot be copied", where=where, why="it is neither a file, a folder nor a link",
                hints=[Hint("leave it out with `exclude`")],
            )  # fmt: skip
        self.looked_at.add(place)
        kind = "program" if status.st_mode & 0o100 else "file"
        try:
            return Item(path, name, kind, place, "", self._digest(place, status), status.st_size)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(name, where, error) from None

    def _digest(self, place: Path, status: os.stat_result) -> Digest:
        """Of a regular file; only read if it is not as it was when it was last read."""
        known = self._cache()
        key = str(place.relative_to(self.root))
        now = _stamp(status)
        if (entry := known.get(key)) is not None and entry[:-1] == now:
            return Digest(str(entry[-1]))
        fd = os.open(place, _READ)
        with cast(BinaryIO, open(fd, "rb")) as file:
            before = os.fstat(fd)
            hasher = hashlib.sha256()
            while piece := file.read(CHUNK):
                hasher.update(piece)
            after = os.fstat(fd)
        if _stamp(before) != now or _stamp(after) != now:
            raise StepError(f"{place} changed while it was read", hints=[Hint("build again")])
        digest = finish(hasher)
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
            known[key] = [*now, digest]
            self._new = True
        return digest

    def _cache(self) -> dict[str, list[int | str]]:
        if self._known is None:
            self._known = {}
            try:
                tree = json.loads(self._file.read_bytes()) if self._file else {}
                if isinstance(tree, dict) and all(isinstance(e, list) and len(e) == 5 for e in tree.values()):
                    self._known = tree
            except (OSError, ValueError):
                pass
        return self._known


def states(sources: Sequence[Source]) -> dict[str, str]:
    """What `Inputs.reads` says of sources: for each entry the name that the user knows, and its state."""
    return {item.name or ".": item.state for source in sources for item in source.items}


def _stamp(status: os.stat_result) -> list[int | str]:
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[: number + 1]) for number in range(len(parts)))


def _unreadable(name: str, where: Origin | None, error: OSError) -> UsageError:
    return UsageError(f"`{name}` cannot be read", where=where, why=error.strerror or str(error))


def _leaves(name: str, why: str, where: Origin | None) -> UsageError:
    return UsageError(f"`{name}` leaves the project", where=where, why=why,
                      hints=[Hint("copy the file into the project, or make it a stack or a fetch layer")])  # fmt: skip
