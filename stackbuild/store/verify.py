"""Re-reads what a store holds and drops what is not what its name says. Repairs nothing: what is gone is made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stackbuild.core.action import Blob
from stackbuild.core.digest import Digest, digest_of_file
from stackbuild.core.paths import StorePaths
from stackbuild.host.tree import MergedTree, compare
from stackbuild.store.inventory import Item
from stackbuild.store.objects import drop_same
from stackbuild.store.prune import same, take
from stackbuild.store.records import StoredResults
from stackbuild.store.scratch import scratch_folder
from stackbuild.store.uses import MARGIN, Uses


@dataclass(frozen=True, slots=True)
class Bad:
    """Something that was damaged. dropped: False if a container that is there, or a running build, needs it."""

    area: str
    path: Path
    why: str
    dropped: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """objects, size: how much was read. orphans: unpacked layers that went because what they are made of is gone."""

    objects: int
    size: int
    orphans: int
    bad: tuple[Bad, ...]


Remake = Callable[[list[Blob], str, Path], None]
"""Unpack layers, lowest first, in a form ("overlay", "chroot", "flat") into an empty folder."""
CheckIndex = Callable[[Path], str]
"""What is wrong with an index file; "" for nothing."""


def verify(
    paths: StorePaths, items: list[Item], remake: Remake, check_index: CheckIndex, running_since: float | None
) -> Verified:
    """Re-hash every blob and download, unpack every tree again beside itself, check every record and index.

    items: of `inventory`. running_since: when the oldest build under way began. An object that vanishes meanwhile, or
    is replaced, is nobody's fault; a tree that a build or container stands on is left to it.
    """
    bad: list[Bad] = []
    uses = Uses(paths.uses)
    size = orphans = 0
    blobs = [item for item in items if item.digest and item.form == "blob"]
    for item in blobs:
        size += item.size
        try:
            found = digest_of_file(item.path)[0]
        except OSError as error:
            if same(item):
                bad.append(_drop(item, error.strerror or "it cannot be read"))
            continue
        if found != item.digest and same(item):
            bad.append(_drop(item, f"its content has the digest {found}"))
    layers = _layers_of(paths, {item.path for item in blobs} - {b.path for b in bad})
    for item in items:
        if item.area == "rootfs.v1":
            size += item.size
            why = _tree_is_wrong(paths, item, layers.get((item.digest, item.form == "flat")), remake)
            needed_by = item.kept_by
            if not needed_by and running_since is not None and item.used >= running_since - MARGIN:
                needed_by = "a running build"
            if not why or not same(item):
                continue
            dropped = not needed_by and _drop_tree(paths, item, uses)
            if why == UNKNOWN:  # not damaged, but nobody could tell; it would be believed once the layer is back
                orphans += dropped
            elif dropped:
                bad.append(Bad(item.area, item.path, why, True))
            else:
                bad.append(Bad(item.area, item.path, f"{why}; {needed_by or 'a running build'} needs it", False))
        elif item.area == "indexes.v1" and (why := check_index(item.path)) and same(item):
            drop_same(item.path, item.signature)
            bad.append(Bad(item.area, item.path, why, True))
    results = StoredResults(paths.steps / "results")
    for path in results.damaged():
        path.unlink(missing_ok=True)
        bad.append(Bad(paths.steps.name, path, "the record is damaged", True))
    records = sum(1 for _ in results.all())
    return Verified(len(items) + records, size, orphans, tuple(bad))


UNKNOWN = "the layer that it was made of is gone"


def _drop(item: Item, why: str) -> Bad:
    drop_same(item.path, item.signature)
    return Bad(item.area, item.path, why, True)


def _drop_tree(paths: StorePaths, item: Item, uses: Uses) -> bool:
    """False if somebody uses it since it was looked at."""
    with scratch_folder(paths.scratch) as trash:
        return take(item, uses, trash / "tree")


def _layers_of(paths: StorePaths, sound: set[Path]) -> Mapping[tuple[Digest, bool], list[Blob]]:
    """(digest of a tree, whether it is flat) -> the blobs of which it was unpacked, if all are here and sound."""
    found: dict[tuple[Digest, bool], list[Blob]] = {}
    blobs = paths.images / "blobs/sha256"
    for _, result, _ in StoredResults(paths.steps / "results").all():
        facts = result.facts
        if isinstance(facts.get("chain_id"), str) and facts.get("layers"):
            layers = [Blob(Digest(layer["digest"]), layer["size"]) for layer in facts["layers"]]
            key = Digest(facts["chain_id"]), True
        elif isinstance(facts.get("diff_id"), str) and "layer" in result.outputs:
            layers, key = [result.outputs["layer"]], (Digest(facts["diff_id"]), False)
        else:
            continue
        if all(blobs / blob.digest.removeprefix("sha256:") in sound for blob in layers):
            found[key] = layers
    return found


def _tree_is_wrong(paths: StorePaths, item: Item, layers: list[Blob] | None, remake: Remake) -> str:
    """What differs between a tree and its layers, unpacked again; "" for nothing."""
    if layers is None:
        return UNKNOWN
    with scratch_folder(paths.scratch) as work:
        fresh = work / "tree"
        fresh.mkdir()
        try:
            remake(layers, item.form, fresh)
            differs = next(_differences(fresh, item.path), None)
        except FileNotFoundError:  # another process has pruned the layer, or the tree itself
            return UNKNOWN
    return "" if differs is None else f"{os.fsdecode(differs)} is not what its layer says"


def _differences(fresh: Path, found: Path) -> Iterator[bytes]:
    present, deleted = compare(MergedTree([fresh]), MergedTree([found]))
    yield from deleted
    changed = set(present)
    for path in present:  # a folder is named for what is in it, too
        if not any(other.startswith(path + b"/") for other in changed):
            yield path
