"""Reasons and forecasts in words. Decides nothing: plan/reasons.py and plan/forecast.py did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackbuild.plan.forecast import Forecast, Outlook
from stackbuild.plan.reasons import NEVER, Reason
from stackbuild.plan.step import stack_of
from stackbuild.report.places import called, places
from stackbuild.stack.stack import Stack

SHORT = 0.05  # seconds: less is not worth a number
SHOWN = 3  # reasons named in one line; the rest are counted


def words(reasons: Sequence[Reason]) -> str:
    """One line: "package libssl3 3.0.17 → 3.0.18, site/index.html changed"; "" for no reason."""
    said = list(dict.fromkeys(_sentences(reasons)))
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    return ", ".join(said[:SHOWN]) + more


def _sentences(reasons: Sequence[Reason]) -> Iterator[str]:
    """The user's own edits first; what other steps made of them only if nothing else is known."""
    own = [reason for reason in reasons if not _is_step(reason)] or reasons
    packages = [reason.name for reason in own if reason.name.startswith("packages.")]
    versions = {name.removesuffix("version") for name in packages if name.endswith(".version")}
    for reason in own:  # of a package whose version is another, nobody asks what else is
        if reason.name.endswith(".version") or reason.name.rpartition(".")[0] + "." not in versions:
            yield _sentence(reason)


def _is_step(reason: Reason) -> bool:
    return reason.name.startswith("tree/") or (reason.name.startswith("package ") and ":" in reason.name)


def _sentence(reason: Reason) -> str:
    name, before, after = called(reason.name), reason.before, reason.after
    if name == NEVER or (before is None and after is None):
        return name
    if name == "digest" and before and after:
        return f"base image {before[:19]} → {after[:19]}"
    if name == "builder version":
        return f"builder version {before} → {after}"
    parts = name.split(".")
    if parts[0] == "packages" and len(parts) >= 3:
        package = ".".join(parts[1:-1])
        if before is None:
            return f"package {package} added"
        if after is None:
            return f"package {package} removed"
        if parts[-1] == "version":
            return f"package {package} {before} → {after}"
        return f"package {package} changed"
    if name.startswith("tree/"):
        change = "is new" if before is None else "is gone" if after is None else "changed"
        return f"the tree below ({name.removeprefix('tree/')}) {change}"
    if before is None:
        return f"{name} added"
    if after is None:
        return f"{name} removed"
    if len(before) + len(after) < 60 and not after.startswith("sha256:") and "\n" not in before + after:
        return f"{name}: {before} → {after}"
    return f"{name} changed"


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What `plan` prints. seconds: how long each step took last time, None if unknown.

    expected: seconds that each step which runs, or may run, will take; total: of them all together.
    stacks: whose steps these are, by the name in their ids."""

    forecast: Forecast
    seconds: Mapping[str, float | None]
    expected: Mapping[str, float] = field(default_factory=dict)
    total: float = 0.0
    stacks: Mapping[str, Stack] = field(default_factory=dict)

    def to_text(self) -> str:
        lines = []
        fetches = [o for o in self._shown() if o.step.kind == "fetch"]
        width = max((len(o.step.id) for o in self._shown() if o.step.kind != "fetch"), default=0)
        if fetches:
            here = sum(o.state == "cached" for o in fetches)
            size = sum(int(o.step.params.get("size") or 0) for o in fetches if o.state != "cached")
            rest = f", {len(fetches) - here} to fetch ({size / 1e6:.1f} MB)" if here < len(fetches) else ""
            lines.append(f"{'fetch':{width}}  {here} files here{rest}")
        for outlook in self._shown():
            if outlook.step.kind == "fetch":
                continue
            said = state(outlook) + _place(outlook, self._stack(outlook)) + self._time(outlook)
            lines.append(f"{outlook.step.id:{width}}  {said}")
        counts = [f"{self.forecast.count(word)} {word}" for word in ("cached", "run", "depends")]
        about = f", about {self.total:.1f} s" if self.total >= 0.05 else ""
        return "\n".join([*lines, ", ".join(counts) + about])

    def to_json(self) -> Any:
        return {
            "v": 1,
            "steps": [
                {
                    "id": o.step.id,
                    "kind": o.step.kind,
                    "state": o.state,
                    "key": o.plan_key,
                    "needs": list(o.step.after),
                    "reasons": [{"name": r.name, "before": r.before, "after": r.after} for r in o.reasons],
                    "why": words(o.reasons),
                    "places": list(places(self._stack(o), o, [one for one in o.reasons if not _is_step(one)])),
                    "origin": str(o.step.origin) if o.step.origin else "",
                    "last_seconds": self.seconds.get(o.step.id),
                    "expected_seconds": self.expected.get(o.step.id),
                }
                for o in self._shown()
            ],
            "expected_seconds": self.total,
        }

    def _shown(self) -> list[Outlook]:
        return [outlook for outlook in self.forecast.outlooks.values() if outlook.state != "unneeded"]

    def _stack(self, outlook: Outlook) -> Stack | None:
        return self.stacks.get(stack_of(outlook.step.id)[0])

    def _time(self, outlook: Outlook) -> str:
        """What it took last time, and about what it will take now."""
        id, last = outlook.step.id, self.seconds.get(outlook.step.id)
        if outlook.state == "cached":
            return f"  [{last:.1f} s last time]" if last and last >= SHORT else ""
        if id not in self.expected:
            return ""
        return f"  [{about(self.expected[id])}{'' if last is None else ', as last time'}]"


def about(seconds: float) -> str:
    """An estimate in words."""
    return f"about {seconds:.1f} s" if seconds >= SHORT else "under 0.1 s"


def why(outlook: Outlook, stack: Stack | None) -> str:
    """Why a step runs and where the user said so: "content changed (stack.toml:12)"; "" for no reason."""
    return words(outlook.reasons) + _place(outlook, stack)


def _place(outlook: Outlook, stack: Stack | None) -> str:
    """Where the user said what differs, if settings do: " (stack.toml:12)"."""
    said = places(stack, outlook, [one for one in outlook.reasons if not _is_step(one) and one.name != NEVER])
    return f" ({', '.join(said[:SHOWN])})" if said and outlook.state != "cached" else ""


def state(outlook: Outlook) -> str:
    """ "cached", "run: REASON" or "depends: REASON"."""
    why = words(outlook.reasons)
    return f"{outlook.state}: {why}" if why and outlook.state != "cached" else outlook.state
