"""Which packages share a layer: by wave, then by source package, the same in every stack and after every update."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from stackbuild.lock.lock import LockedPackage

FIRST_WAVE_GROUPS = 6
OTHER_WAVE_GROUPS = 4


def groups(packages: Sequence[LockedPackage], wave: int) -> list[tuple[str, list[LockedPackage]]]:
    """The groups of one wave, each with a name of its own ("0", "1", ...), empty ones left out.

    A package's group follows from the name of its source package alone, never from its version,
    its size or its neighbours: an update changes one layer, and stacks that hold the same packages
    of a wave share all layers of it. Hashing loses to packing by size in balance; packing loses
    that stability, which is worth more. Deterministic on every machine (SHA-256, not hash()).
    """
    count = FIRST_WAVE_GROUPS if wave == 0 else OTHER_WAVE_GROUPS
    buckets: dict[int, list[LockedPackage]] = {}
    for package in packages:
        number = int.from_bytes(hashlib.sha256(package.source.encode()).digest()[:4], "big") % count
        buckets.setdefault(number, []).append(package)
    return [(str(number), buckets[number]) for number in sorted(buckets)]
