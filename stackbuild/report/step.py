"""One step, explained: what it is made of now, and what of it differs from an earlier build. Values in, text out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stackbuild.core.text import harmless
from stackbuild.plan.forecast import Outlook
from stackbuild.plan.reasons import Reason, flatten
from stackbuild.report.explain import state

LONG = 72


@dataclass(frozen=True, slots=True)
class StepReport:
    """What `explain STEP` prints. against: "the last build, 2026-11-24 10:00"; "" if there is none to compare with.

    differs: against that build; None: it is not known what the step was made of then."""

    outlook: Outlook
    seconds: float | None
    against: str
    differs: tuple[Reason, ...] | None
    ran: bool

    def to_text(self) -> str:
        step = self.outlook.step
        unneeded = self.outlook.state == "unneeded"
        lines = [f"{step.id}  {'not looked at: all that needs it is cached' if unneeded else state(self.outlook)}"]
        if step.origin is not None and step.origin.file:
            lines.append(f"  from     {step.origin}")
        lines.append(f"  key      {self.outlook.plan_key}")
        if self.seconds:
            lines.append(f"  took     {self.seconds:.1f} s last time")
        reads = [one for one in self.outlook.inputs.reads if not one.startswith("tree/")]
        below = len(self.outlook.inputs.reads) - len(reads)
        lines.append(f"  made of  {len(reads)} inputs" + (f", over {below} layers" if below else ""))
        if not self.against:
            lines.append("  there is no earlier build to compare with")
        elif self.differs is None:
            lines.append(f"  what it was made of in {self.against} is not known")
        elif not self.differs:
            lines.append(f"  the same as in {self.against}" + (" (it ran then)" if self.ran else ""))
        else:
            lines.append(f"  against {self.against}:")
            lines += [f"    {harmless(line)}" for reason in self.differs for line in _lines(reason)]
        return "\n".join(lines)

    def to_json(self) -> Any:
        step = self.outlook.step
        differs = self.differs
        return {
            "v": 1,
            "id": step.id,
            "kind": step.kind,
            "state": self.outlook.state,
            "key": self.outlook.plan_key,
            "origin": str(step.origin) if step.origin else "",
            "inputs": flatten(self.outlook.inputs),
            "last_seconds": self.seconds,
            "against": self.against,
            "differs": None
            if differs is None
            else [{"name": one.name, "before": one.before, "after": one.after} for one in differs],
        }


def _lines(reason: Reason) -> list[str]:
    if reason.before is None and reason.after is None:
        return [reason.name]
    if reason.before is None:
        return [f"+ {reason.name}: {_short(reason.after or '')}"]
    if reason.after is None:
        return [f"- {reason.name}: {_short(reason.before)}"]
    return [f"~ {reason.name}: {_short(reason.before)}", f"  {'now':>{len(reason.name)}}: {_short(reason.after)}"]


def _short(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG - 1] + "…"
