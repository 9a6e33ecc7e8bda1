"""`stackbuild doctor`: what of this machine is there and works, and the command that mends what is not."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stackbuild.host.probe import Check

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App

NEEDED = ("kernel", "user namespaces", "libseccomp", "sandbox", "disk", "time")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, and what they mean for the two things that a user wants."""

    checks: tuple[Check, ...]

    @property
    def builds(self) -> bool:
        return all(check.ok is not False for check in self.checks if check.name in NEEDED)

    @property
    def runs(self) -> bool:
        return any(check.ok for check in self.checks if check.name.startswith("runtime "))

    def to_json(self) -> dict[str, Any]:
        return {
            "v": 1,
            "builds": self.builds,
            "runs": self.runs,
            "checks": [
                {"name": c.name, "ok": c.ok, "detail": c.detail}
                | ({"hint": {"text": c.hint.text, "command": c.hint.command}} if c.hint else {})
                for c in self.checks
            ],
        }

    def to_text(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            word = {True: "ok", False: "FAILS", None: "--"}[check.ok]
            lines.append(f"{word:<5}  {check.name:<{width}}  {check.detail}")
            if check.hint:
                command = f": {check.hint.command}" if check.hint.command else ""
                lines.append(f"{'':<{width + 9}}{check.hint.text}{command}")
        lines += ["", f"build images: {_yes(self.builds)}", f"run containers: {_yes(self.runs)}"]
        return "\n".join(lines)


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> int:
    from stackbuild.host.probe import as_builds_run, checks

    found = Diagnosis(as_builds_run(lambda: (*checks(app.paths.root), *runtimes())))
    app.show(found)
    return 0 if found.builds and found.runs else 5


def runtimes() -> tuple[Check, ...]:
    """Each container runtime, really started."""
    from stackbuild.core.errors import StackError
    from stackbuild.run.runtimes.table import NAMES, find_programs, runtime

    programs = find_programs()
    found = []
    for name in NAMES:
        try:
            why = runtime(name).probe(programs)
        except StackError as error:
            why = str(error)
        found.append(Check(f"runtime {name}", not why or None, why or programs.get(name, "works")))
    return tuple(found)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
