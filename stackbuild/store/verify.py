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
from stackbuild.store.records import StoredResults
from stackbuild.store.scratch import scratch_folder
from stackbuild.store.trees import remove_tree
from stackbuild.store.uses import Uses


@dataclass(frozen=True, slots=True)
class Bad:
    """Something that was damaged. dropped: False if a container that is there needs it."""

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


def verify(paths: StorePaths, items: list[Item], remake: Remake, check_index: CheckIndex) -> Verified:
    """Re-hash every blob and download, unpack every tree again beside itself, check every record and index.

    items: of `inventory`. An object that vanishes meanwhile, or is replaced, is nobody's fault.
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
            if item.path.exists():
                bad.append(_drop(item, error.strerror or "it cannot be read", uses))
            continue
        if found != item.digest:
            bad.append(_drop(item, f"its content has the digest {found}", uses))
    layers = _layers_of(paths, {item.path for item in blobs} - {b.path for b in bad})
    for item in items:
        if item.area == "rootfs.v1":
            size += item.size
            why = _tree_is_wrong(paths, item, layers.get((item.digest, item.form == "flat")), remake)
            if why == UNKNOWN:  # not damaged, but nobody could tell; it would be believed once the layer is back
                if not item.kept_by:
                    _drop(item, why, uses)
                    orphans += 1
            elif why and not item.kept_by:
                bad.append(_drop(item, why, uses))
            elif why:
                bad.append(Bad(item.area, item.path, f"{why}; {item.kept_by} needs it", False))
        elif item.area == "indexes.v1" and (why := check_index(item.path)):
            item.path.unlink(missing_ok=True)
            bad.append(Bad(item.area, item.path, why, True))
    results = StoredResults(paths.steps / "results")
    for path in results.damaged():
        path.unlink(missing_ok=True)
        bad.append(Bad(paths.steps.name, path, "the record is damaged", True))
    records = sum(1 for _ in results.all())
    return Verified(len(items) + records, size, orphans, tuple(bad))


UNKNOWN = "the layer that it was made of is gone"


def _drop(item: Item, why: str, uses: Uses) -> Bad:
    with uses.gate(item.digest):
        if item.form == "blob":
            item.path.unlink(missing_ok=True)
        else:
            trash = item.path.with_name(f".new-{item.path.name}")
            os.rename(item.path, trash)
            remove_tree(trash)
    return Bad(item.area, item.path, why, True)


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
        remake(layers, item.form, fresh)
        differs = next(_differences(fresh, item.path), None)
    return "" if differs is None else f"{os.fsdecode(differs)} is not what its layer says"


def _differences(fresh: Path, found: Path) -> Iterator[bytes]:
    present, deleted = compare(MergedTree([fresh]), MergedTree([found]))
    yield from deleted
    changed = set(present)
    for path in present:  # a folder is named for what is in it, too
        if not any(other.startswith(path + b"/") for other in changed):
            yield path
