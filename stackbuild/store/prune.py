"""What to delete, chosen by a pure function of age, size and use; then the deletion, object by object."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackbuild.core.paths import StorePaths
from stackbuild.store.inventory import Item, digests_of, foreign_areas, leftovers
from stackbuild.store.objects import signature_of
from stackbuild.store.records import Records, StoredResults
from stackbuild.store.scratch import scratch_folder, sweep
from stackbuild.store.uses import MARGIN, Uses

SOON = 60.0  # seconds after which something half-made is nobody's, if no build runs
SOONEST = 24 * 3600.0  # seconds after which something half-made is surely nobody's, if builds run


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prune is to do. older_than: seconds since the last use. max_size: bytes that may stay. all: everything."""

    older_than: float | None = None
    max_size: int | None = None
    all: bool = False


def choose(items: Sequence[Item], wish: Wish, now: float, running_since: float | None) -> list[Item]:
    """What goes, least recently used first. Pure.

    Never what is kept by a tag or container, nor what was used since the oldest running build began.
    """
    limit = now if running_since is None else min(now, running_since - MARGIN)
    free = [item for item in items if not item.kept_by and (running_since is None or item.used < limit)]
    free.sort(key=lambda item: (item.used, item.area != "rootfs.v1", str(item.path)))
    if wish.all:
        return free
    gone: list[Item] = []
    if wish.older_than is not None:
        gone = [item for item in free if item.used < now - wish.older_than]
    if wish.max_size is not None:
        size = sum(item.size for item in items) - sum(item.size for item in gone)
        for item in free[len(gone) :]:
            if size <= wish.max_size:
                break
            gone.append(item)
            size -= item.size
    return gone


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went. spared: chosen, but used by somebody before we came to it."""

    items: tuple[Item, ...]
    records: int
    spared: int

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)


def delete(
    paths: StorePaths, chosen: Iterable[Item], *, still_kept: Callable[[], Iterable[str]], everything: bool = False
) -> Pruned:
    """Delete what was chosen, unless somebody has used it since; then the step records that lead nowhere.

    still_kept: asked again, as a tag may be new. everything: areas of other versions go too.
    Each object is first renamed away under its own lock, so nobody ever sees half of one.
    """
    uses = Uses(paths.uses)
    kept = set(still_kept())
    gone: list[Item] = []
    spared = 0
    with scratch_folder(paths.scratch) as trash:
        for number, item in enumerate(chosen):
            if item.digest in kept or str(item.path) in kept or not take(item, uses, trash / f"{number}"):
                spared += 1
            else:
                gone.append(item)
        running = uses.oldest_build()
        before = time.time() - SOONEST if running is not None else time.time() - SOON
        for number, path in enumerate([*leftovers(paths, before), *(foreign_areas(paths) if everything else ())]):
            _move(path, trash / f"left-{number}")
        records = _drop_records(paths, {str(item.digest) for item in gone if item.form == "blob"} - {""})
    sweep(paths.scratch)
    return Pruned(tuple(gone), records, spared)


def take(item: Item, uses: Uses, trash: Path) -> bool:
    """Rename an object away if it is still the same and nobody has used it since it was looked at."""
    if not item.mark:
        return same(item) and _move(item.path, trash)
    with uses.gate(item.mark):
        if not same(item) or uses.last(item.mark, item.form) > item.used:
            return False
        if not _move(item.path, trash):
            return False
        uses.forget(item.mark, item.form)
        return True


def same(item: Item) -> bool:
    """Whether an object is still there, and no other in its place."""
    try:
        return signature_of(os.lstat(item.path)) == item.signature
    except OSError:
        return False


def _move(path: Path, trash: Path) -> bool:
    try:
        os.rename(path, trash)
    except OSError:
        return False
    return True


def _drop_records(paths: StorePaths, gone: set[str]) -> int:
    """Results that name a blob which is no longer here would only be looked at in vain."""
    if not gone:
        return 0
    dropped = 0
    records = Records(paths.steps / "results")
    for key, result, _ in StoredResults(paths.steps / "results").all():
        if digests_of(result) & gone:
            records.drop(key)
            dropped += 1
    return dropped
