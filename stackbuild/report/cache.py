"""What the `cache` commands print, as text and JSON. Measures and deletes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stackbuild.core.words import age, size
from stackbuild.store.inventory import Area, Item
from stackbuild.store.prune import Pruned
from stackbuild.store.verify import Verified


def _name(item: Item) -> str:
    return item.digest[7:19] if item.digest else item.path.name[:12]


def _json(item: Item) -> dict[str, Any]:
    return {
        "area": item.area,
        "digest": item.digest or None,
        "path": str(item.path),
        "size": item.size,
        "used": int(item.used),
        "kept_by": item.kept_by or None,
    }


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join(f"{t:{w}}" for t, w in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows)


@dataclass(frozen=True)
class Listed:
    """`cache ls`: every object, least recently used first."""

    items: tuple[Item, ...]
    now: float

    def to_text(self) -> str:
        rows = [("AREA", "OBJECT", "SIZE", "USED", "KEPT BY")]
        for item in sorted(self.items, key=lambda one: (one.used, str(one.path))):
            rows.append((item.area, _name(item), size(item.size), f"{age(self.now - item.used)} ago", item.kept_by))
        return _table(rows)

    def to_json(self) -> Any:
        return [_json(item) for item in sorted(self.items, key=lambda one: (one.used, str(one.path)))]


@dataclass(frozen=True)
class DiskUse:
    """`cache du`: every area, and how much of it `prune --all` would free."""

    areas: tuple[Area, ...]
    free: tuple[Item, ...]

    def _free(self, area: str) -> int:
        return sum(item.size for item in self.free if item.area == area)

    def to_text(self) -> str:
        rows = [("AREA", "OBJECTS", "SIZE", "CAN GO", "WHAT")]
        rows += [(a.name, str(a.objects), size(a.size), size(self._free(a.name)), a.what) for a in self.areas]
        total = sum(area.size for area in self.areas)
        rows.append(("all", "", size(total), size(sum(item.size for item in self.free)), ""))
        return _table(rows)

    def to_json(self) -> Any:
        return {
            "v": 1,
            "size": sum(area.size for area in self.areas),
            "can_go": sum(item.size for item in self.free),
            "areas": [
                {"name": a.name, "objects": a.objects, "size": a.size, "can_go": self._free(a.name), "what": a.what}
                for a in self.areas
            ],
        }


@dataclass(frozen=True)
class WhatWent:
    """`cache prune`."""

    done: Pruned
    dry: bool

    def to_text(self) -> str:
        rows = [f"{item.area} {_name(item)} {size(item.size)}" for item in self.done.items]
        words = "would free" if self.dry else "freed"
        rows.append(f"{words} {size(self.done.size)} in {len(self.done.items)} objects")
        if self.done.spared:
            rows.append(f"{self.done.spared} were used meanwhile and stay")
        return "\n".join(rows)

    def to_json(self) -> Any:
        return {
            "v": 1,
            "dry_run": self.dry,
            "size": self.done.size,
            "items": [_json(item) for item in self.done.items],
            "records": self.done.records,
            "spared": self.done.spared,
        }


@dataclass(frozen=True)
class Checked:
    """`cache verify`."""

    done: Verified

    def to_text(self) -> str:
        rows = [
            f"{'dropped' if bad.dropped else 'damaged'} {bad.area} {bad.path.name[:12]}: {bad.why}"
            for bad in self.done.bad
        ]
        if self.done.orphans:
            rows.append(f"dropped {self.done.orphans} unpacked layers whose blobs are gone")
        rows.append(f"{self.done.objects} objects, {size(self.done.size)} read: {len(self.done.bad)} damaged")
        return "\n".join(rows)

    def to_json(self) -> Any:
        return {
            "v": 1,
            "objects": self.done.objects,
            "size": self.done.size,
            "orphans": self.done.orphans,
            "bad": [
                {"area": bad.area, "path": str(bad.path), "why": bad.why, "dropped": bad.dropped}
                for bad in self.done.bad
            ],
        }
