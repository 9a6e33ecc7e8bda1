"""Which packages share a layer: by wave, then by source package, the same in every stack and after every update."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from stackbuild.lock.lock import LockedPackage

FIRST_WAVE_GROUPS = 6
OTHER_WAVE_GROUPS = 4
WAVES = 9
"""Wave 0 and at most eight of requests."""


def group_counts(budget: int) -> tuple[int, int]:
    """How many groups wave 0 and each later wave may have, at least one each, so that the package layers of any
    stack, one configure layer for each wave among them, are at most `budget` (where 2 * WAVES of them are allowed).

    It follows from the budget alone, not from how many waves a stack has: a wave that is added moves nothing.
    """
    left = budget - WAVES
    others = min(OTHER_WAVE_GROUPS, max(1, (left - 1) // (WAVES - 1)))
    return min(FIRST_WAVE_GROUPS, max(1, left - others * (WAVES - 1))), others


def groups(packages: Sequence[LockedPackage], wave: int, budget: int) -> list[tuple[str, list[LockedPackage]]]:
    """The groups of one wave, each with a name of its own ("0", "1", ...), empty ones left out.

    budget: `image.layers`. A package's group follows from the name of its source package alone, never from its
    version, its size or its neighbours: an update changes one layer, and stacks that hold the same packages
    of a wave share all layers of it. Hashing loses to packing by size in balance; packing loses
    that stability, which is worth more. Deterministic on every machine (SHA-256, not hash()).
    """
    first, others = group_counts(budget)
    count = first if wave == 0 else others
    buckets: dict[int, list[LockedPackage]] = {}
    for package in packages:
        number = int.from_bytes(hashlib.sha256(package.source.encode()).digest()[:4], "big") % count
        buckets.setdefault(number, []).append(package)
    return [(str(number), buckets[number]) for number in sorted(buckets)]
