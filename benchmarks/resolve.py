"""Our resolver against apt's, alternating, over the very same lists, as whole processes. Prints medians and ratios.

The nginx set with nothing changed: a process of ours that opens the kept indexes and resolves, against `apt-get -s
install` with its cache warm. A changed index: parsing and storing it, against `apt-cache gencaches` of the same lists.

usage: python benchmarks/resolve.py [--runs N] [--lists FOLDER]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.packages.agreement import Apt, essential, plain_lists

ROOT = Path(__file__).resolve().parent.parent
WANTED = ["python3", "curl", "nginx-light"]
MEMORY = 400  # MB that we may use at most

RESOLVE = """
import sys
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.packages.index import Index
from stackbuild.packages.package import Archive
from stackbuild.stack.request import parse_request
pairs = [(Index.open(file), Archive(file)) for file in sys.argv[1].split(",")]
found = resolve_indexes(Question(tuple(map(parse_request, sys.argv[2:])), "amd64", "apt"), pairs)
assert len(found.packages) > 100
"""
PARSE = """
import sys
from pathlib import Path
from stackbuild.packages.deb.packages_index import build_index
from stackbuild.packages.index import keep
for number, file in enumerate(sys.argv[2:]):
    keep(Path(sys.argv[1]) / f"parsed-{number}", build_index(Path(file).read_bytes()))
"""


@dataclass(frozen=True)
class Spent:
    """Seconds of a whole process and its children: by the clock, and of processors."""

    wall: float
    cpu: float


def timed(argv: list[str]) -> Spent:
    """What a process that succeeds takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, cwd=ROOT)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[:4])} failed:\n{done.stderr}")
    return Spent(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def peak(code: str, *words: str) -> float:
    """MB of resident memory at the peak of a Python process that runs this code, and of its largest child."""
    code += "\nimport resource\nprint(sum(resource.getrusage(who).ru_maxrss for who in (0, -1)))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=600, cwd=ROOT)
    return int(done.stdout) / 1024


def compare(task: str, runs: int, ours: Callable[[], Spent], theirs: Callable[[], Spent]) -> None:
    """Both sides, taking turns at being first; prints the medians and their ratios."""
    spent: dict[str, list[Spent]] = {"stackbuild": [], "apt": []}
    for number in range(runs):
        for side, what in [("stackbuild", ours), ("apt", theirs)][:: 1 if number % 2 else -1]:
            spent[side].append(what())
    for kind in ("wall", "cpu"):
        a, b = (statistics.median(getattr(one, kind) for one in spent[side]) for side in ("stackbuild", "apt"))
        print(f"{task}, {kind}: stackbuild {a:.2f} s, apt {b:.2f} s, ratio {a / b:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lists", type=Path, help="a folder that an earlier run has kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        apt = Apt(args.lists or Path(scratch) / "apt")
        if not apt.folder.exists():
            apt.make()
        indexes = ",".join(map(str, sorted(apt.folder.glob("index-*"))))
        plain = _plain(apt, Path(scratch))
        install = ["apt-get", *apt.options, "-s", "-qq", "install", *essential(apt.pairs()), *WANTED]
        timed(install)  # warm
        compare(
            "resolve the nginx set, nothing changed",
            args.runs,
            lambda: timed([sys.executable, "-c", RESOLVE, indexes, *WANTED]),
            lambda: timed(install),
        )
        compare(
            "parse and store a changed index",
            args.runs,
            lambda: timed([sys.executable, "-c", PARSE, scratch, *plain]),
            lambda: _gencaches(apt),
        )
        for task, used in (("resolve", peak(RESOLVE, indexes, *WANTED)), ("parse", peak(PARSE, scratch, *plain))):
            print(f"peak memory, {task}: {used:.0f} MB of {MEMORY} MB allowed, ratio {used / MEMORY:.2f}")


def _plain(apt: Apt, folder: Path) -> list[str]:
    """The lists of packages as the plain files that both sides parse."""
    files = []
    for number, data in enumerate(plain_lists(apt)):
        files.append(folder / f"plain-{number}")
        files[-1].write_bytes(data)
    return list(map(str, files))


def _gencaches(apt: Apt) -> Spent:
    for cache in (apt.folder / "cache").glob("*pkgcache.bin"):
        cache.unlink()
    return timed(["apt-cache", *apt.options, "gencaches"])


if __name__ == "__main__":
    main()
