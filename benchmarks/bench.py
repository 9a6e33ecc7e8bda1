"""What a run measures with: its folders and engines, times by task and side, our command as a process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.engines import Engine
from benchmarks.local_mirror import LocalMirror

TIMEOUT = 900


@dataclass
class Bench:
    """The folders, the prepared inputs and what was measured: name of a task -> name of a side -> seconds."""

    work: Path
    runs: int
    docker: Engine | None = None
    podman: Engine | None = None
    archives: LocalMirror | None = None  # the machine's archives, whole but for their pools
    small: LocalMirror | None = None  # an archive whose index names nothing but what is installed here
    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: str = ""

    @property
    def downloads(self) -> Path:
        return self.work / "downloads"

    def timed(self, task: str, side: str, what: Callable[[], object]) -> None:
        began = time.perf_counter()
        what()
        self.times.setdefault(task, {}).setdefault(side, []).append(time.perf_counter() - began)

    def alternate(self, task: str, sides: dict[str, Callable[[int], object]]) -> None:
        """Each side once per round; who begins changes from round to round."""
        for number in range(self.runs):
            order = list(sides) if number % 2 == 0 else list(sides)[::-1]
            for side in order:
                self.timed(task, side, partial(sides[side], number))
            print(f"  {task}: round {number + 1} of {self.runs} done", file=sys.stderr)


def stackbuild(folder: Path, store: Path, *words: str) -> None:
    """Our command as a whole process; a failure shows its messages."""
    program = Path(sys.executable).with_name("stackbuild")
    done = subprocess.run(
        [str(program), "--store", str(store), "-q", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode:
        raise SystemExit(f"stackbuild {' '.join(words)} failed:\n{done.stderr}")
