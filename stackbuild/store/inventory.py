"""What a store holds: every object that could be pruned, its size, its last use, and what keeps it. Changes nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from stackbuild.core.action import ActionResult
from stackbuild.core.digest import Digest
from stackbuild.core.paths import StorePaths
from stackbuild.store.objects import signature_of
from stackbuild.store.records import StoredResults
from stackbuild.store.uses import Uses

TEMPORARY = (".new-", "work-", "gone-")
NONE = Digest("")
CACHES = {
    "images": "blobs of images and steps",
    "packages.v1": "downloads",
    "rootfs.v1": "unpacked layers",
    "indexes.v1": "package indexes",
    "caches.v1": "caches of run steps",
}
"""The areas from which `cache prune` may take, with what is in them."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object. size: bytes on disk. used: seconds since 1970. signature: what a replacement would show in.

    digest: "" for what has none. kept_by: why it must stay ("tag hello:latest", "container web-1a2b3c4d"), else "".
    """

    area: str
    path: Path
    size: int
    used: float
    digest: Digest = NONE
    form: str = "blob"
    kept_by: str = ""
    signature: tuple[int, ...] = field(default=(), compare=False)

    @property
    def mark(self) -> Digest:
        """What it is called in `Uses`; "" for what is not marked when it is used."""
        return Digest(f"sha256:{self.path.name}") if self.form == "cache" else self.digest


@dataclass(frozen=True, slots=True)
class Area:
    """A folder of the store as a whole. cache: whether `cache prune` may take from it."""

    name: str
    what: str
    size: int
    objects: int
    cache: bool


def inventory(paths: StorePaths, kept: Mapping[str, str]) -> list[Item]:
    """All that could be pruned. kept: digest of a blob, or path of a folder -> what keeps it.

    What others take away meanwhile is not in it. Cost: a stat for each object, a walk for each unpacked tree, a read
    for each step record.
    """
    uses = Uses(paths.uses)
    last = _last_uses(paths)
    found: list[Item] = []

    def add(area: str, path: Path, size: int, used: float, digest: Digest = NONE, form: str = "blob") -> None:
        by = kept.get(digest if form == "blob" else str(path), "")
        with suppress(FileNotFoundError):
            found.append(Item(area, path, size, used, digest, form, by, signature_of(os.lstat(path))))

    for area, root in (("images", paths.images / "blobs"), ("packages.v1", paths.packages)):
        for path, info in _files(root / "sha256"):
            digest = Digest(f"sha256:{path.name}")
            add(area, path, info.st_size, max(info.st_mtime, uses.last(digest), last.get(digest, 0.0)), digest)
    for form in ("overlay", "chroot", "flat"):
        for path, info in _folders(paths.rootfs / form):
            digest = Digest(f"sha256:{path.name}")
            used = max(uses.last(digest, form), last.get(digest, 0.0), info.st_ctime)
            with suppress(FileNotFoundError):
                add("rootfs.v1", path, uses.size(digest, form, partial(_tree_size, path)), used, digest, form)
    for path, info in [*_files(paths.indexes), *_files(paths.indexes / "release")]:
        add("indexes.v1", path, info.st_size, max(info.st_mtime, info.st_atime))
    for path, info in _folders(paths.caches):
        used = max(info.st_mtime, uses.last(Digest(f"sha256:{path.name}"), "cache"))
        add("caches.v1", path, disk_size(path), used, form="cache")
    return found


def _last_uses(paths: StorePaths) -> dict[Digest, float]:
    """Digest of a blob or tree -> when a step result that names it was last looked up."""
    last: dict[Digest, float] = {}
    for _, result, used in StoredResults(paths.steps / "results").all():
        for digest in digests_of(result):
            last[digest] = max(used, last.get(digest, 0.0))
    return last


def digests_of(result: ActionResult) -> set[Digest]:
    """Blobs and trees that a result names, in its outputs and in its facts."""
    found = {blob.digest for blob in result.outputs.values()}
    facts: Mapping[str, Any] = result.facts
    tables = [facts, *(layer for layer in facts.get("layers") or () if isinstance(layer, dict))]
    for table in tables:
        for name in ("diff_id", "chain_id", "digest"):
            if isinstance(table.get(name), str):
                found.add(Digest(table[name]))
    return found


def image_blobs(blobs: Path, digest: Digest) -> Iterator[Digest]:
    """A manifest or index of the store and all that it names, as far as it is there."""
    yield digest
    try:
        document = json.loads((blobs / "sha256" / digest.removeprefix("sha256:")).read_bytes())
        for child in document.get("manifests") or ():
            yield from image_blobs(blobs, Digest(child["digest"]))
        for blob in [*(document.get("layers") or ()), *([document["config"]] if "config" in document else ())]:
            yield Digest(blob["digest"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return


def areas(paths: StorePaths) -> list[Area]:
    """Every folder of the store with its size; those of other versions of stackbuild too."""
    found = []
    for path, _ in _folders(paths.root, hidden=True):
        what = CACHES.get(path.name) or OTHERS.get(path.name, "of another version of stackbuild; it is not read")
        found.append(Area(path.name, what, disk_size(path), _count(path), path.name in CACHES))
    return found


OTHERS = {
    "steps.v2": "results of steps",
    "stamps.v1": "what the last runs read",
    "locks.v1": "locks",
    "uses.v1": "when what was used",
    "recipes.v1": "recipes from elsewhere",
    "scratch.v1": "work under way",
    "containers.v1": "containers",
    "volumes": "named volumes",
}


def foreign_areas(paths: StorePaths) -> list[Path]:
    """Areas that another version of stackbuild wrote: NAME.vN that this one does not know."""
    return [p for p, _ in _folders(paths.root) if ".v" in p.name and p.name not in CACHES and p.name not in OTHERS]


def leftovers(paths: StorePaths, before: float) -> Iterator[Path]:
    """What killed processes left half-made in the areas, last changed before a time."""
    folders = [paths.images, paths.images / "blobs/sha256", paths.packages / "sha256", paths.indexes]
    folders += [paths.rootfs / form for form in ("overlay", "chroot", "flat")]
    folders += [path for name in ("results", "last") for path, _ in _folders(paths.steps / name)]
    folders += [paths.stamps, paths.caches]
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.name.startswith(TEMPORARY) and entry.stat(follow_symlinks=False).st_mtime < before:
                    yield Path(entry.path)
            except FileNotFoundError:
                pass


def disk_size(folder: Path) -> int:
    """Bytes that a folder takes on disk; a file with several names in it counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                        if (info.st_dev, info.st_ino) in seen:
                            continue
                        seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks * 512
                    if stat.S_ISDIR(info.st_mode):
                        waiting.append(entry.path)
        except OSError:  # it goes away while we look, or is a container's own
            continue
    return total


def _tree_size(folder: Path) -> int:
    """As `disk_size`. Raises FileNotFoundError if the folder has gone meanwhile."""
    size = disk_size(folder)
    folder.stat()
    return size


def _count(folder: Path) -> int:
    try:
        return sum(1 for _ in _objects(folder))
    except OSError:
        return 0


def _objects(folder: Path) -> Iterable[Path]:
    """The things of an area that a person would count."""
    if folder.name in ("images", "packages.v1"):
        yield from (path for path, _ in _files(folder / ("blobs/sha256" if folder.name == "images" else "sha256")))
    elif folder.name == "rootfs.v1":
        for form, _ in _folders(folder):
            yield from (path for path, _ in _folders(form))
    elif folder.name.startswith("steps."):
        for prefix, _ in _folders(folder / "results"):
            yield from (path for path, _ in _files(prefix))
    else:
        yield from (folder / entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Regular files that have their final names."""
    return _entries(folder, stat.S_ISREG)


def _folders(folder: Path, *, hidden: bool = False) -> list[tuple[Path, os.stat_result]]:
    return _entries(folder, stat.S_ISDIR, hidden)


def _entries(folder: Path, kind: Callable[[int], bool], hidden: bool = False) -> list[tuple[Path, os.stat_result]]:
    """What is in a folder, by name; what goes away while we look is not."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    if kind(info.st_mode) and (hidden or not entry.name.startswith(".")):
                        found.append((Path(entry.path), info))
    except OSError:
        return []
    return sorted(found, key=itemgetter(0))
