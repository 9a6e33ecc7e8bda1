"""Runs one doing half (unpack, configure) in a process of its own, as a worker does: `wave_runner.py JOB.json`.

The facts, or the error, go to FACTS.json beside the job. A process of its own because a sandbox enters a mount
namespace of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stackbuild.build.do import configure, unpack
from stackbuild.core.action import Action, Room
from stackbuild.core.errors import StackError


def main(job_file: Path) -> None:
    job = json.loads(job_file.read_text())
    action = Action(job["kind"], job["params"], {}, (), ("layer",), "linux/amd64")
    with open(job_file.with_name("output"), "ab") as output:

        def note(data: bytes) -> None:
            output.write(data)

        room = Room(
            inputs={name: Path(path) for name, path in job["inputs"].items()},
            lowers=tuple(map(Path, job["lowers"])),
            out=Path(job["out"]),
            scratch=Path(job["scratch"]),
            sandbox=job["sandbox"],
            output=note,
        )
        try:
            facts = dict({"unpack": unpack.do, "configure": configure.do}[job["kind"]](action, room))
        except StackError as error:
            hints = [hint.command or hint.text for hint in error.hints]
            facts = {"error": error.what, "why": error.why, "output": error.output, "hints": hints}
    job_file.with_name("FACTS.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
