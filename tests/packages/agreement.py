"""Our answers beside apt's over hundreds of requests: draws requests, compares, reports a rate. Judges no single one.

usage: python -m tests.packages.agreement [--draw] [--recommends] [--first N]    (--draw writes the list anew)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from stackbuild.core.errors import StackError
from stackbuild.core.files import write_file
from stackbuild.packages.deb.control import Group, relations
from stackbuild.packages.deb.packages_index import build_index
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.packages.index import Index, keep
from stackbuild.packages.package import Archive, Package
from stackbuild.stack.request import parse_request
from tests.machine import need, run

LIST = Path(__file__).parent.parent / "data" / "agreement" / "requests.txt"
SEED = 9
LEAST = 0.98
Pairs = Sequence[tuple[Index, Archive]]
Answer = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Apt:
    """apt over lists of its own, with an empty status file and none of the host's preferences."""

    folder: Path
    recommends: bool = False

    @property
    def options(self) -> list[str]:
        folder = self.folder
        says = {
            "Dir::State::lists": folder / "lists", "Dir::State::status": "/dev/null", "Dir::Cache": folder / "cache",
            "Dir::Cache::pkgcache": "pkgcache.bin", "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": folder / "none",
            "APT::Install-Recommends": str(self.recommends).lower(),
        }  # fmt: skip
        return [word for key, value in says.items() for word in ("-o", f"{key}={value}")]

    def make(self) -> None:
        """Fetch lists, and let our index be built from the very same files."""
        for name in ("lists/partial", "cache/archives/partial", "none", "answers"):
            (self.folder / name).mkdir(parents=True)
        run([need("apt-get"), *self.options, "update"], timeout=300)
        for number, data in enumerate(plain_lists(self)):
            keep(self.folder / f"index-{number}", build_index(data))

    def pairs(self) -> Pairs:
        """The very same indexes for our resolver."""
        files = sorted(self.folder.glob("index-*"))
        assert files
        return [(Index.open(file), Archive(file.name)) for file in files]

    def answer(self, words: Sequence[str]) -> Answer | None:
        """(name, version) of what would be installed; None if apt refuses. Asked once: the lists never change."""
        asked = json.dumps([self.recommends, *words])
        kept = self.folder / "answers" / hashlib.sha256(asked.encode()).hexdigest()
        if not kept.exists():
            found = self._ask(words)
            write_file(kept, json.dumps(found).encode())
        found = json.loads(kept.read_bytes())
        return None if found is None else frozenset((name, version) for name, version in found)

    def _ask(self, words: Sequence[str]) -> list[tuple[str, str]] | None:
        ran = run(
            ["apt-get", *self.options, "--print-uris", "-qq", "-y", "--allow-change-held-packages", "install", *words],
            code=None,
            timeout=600,
        )
        if ran.code:
            assert ran.code == 100 and "E: " in ran.err, ran
            return None
        files = [line.split()[1] for line in ran.out.splitlines() if line.startswith("'")]
        return sorted((name, unquote(version)) for name, version, *_ in (file.split("_") for file in files))


def plain_lists(apt: Apt) -> Iterator[bytes]:
    """The Packages files that apt has fetched, one by one, as both sides parse them."""
    listed = run(["apt-get", *apt.options, "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"])
    for name in listed.out.split():
        yield subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", name], capture_output=True, check=True).stdout


def essential(pairs: Pairs) -> list[str]:
    """What the oracle is asked for first: the essential set and apt."""
    return [*(p.name for index, archive in pairs[:1] for p in index.base(archive) if p.essential), "apt"]


def ours(pairs: Pairs, request: str, recommends: bool) -> tuple[Answer | None, str]:
    """Our answer with what the resolver says of it, or None and the reason."""
    try:
        question = Question(tuple(map(parse_request, request.split())), "amd64", "apt", recommends)
        found = resolve_indexes(question, pairs)
    except StackError as error:
        return None, f"{error.what}: {error.why}"
    return frozenset((p.package.name, p.package.version) for p in found.packages), "; ".join(found.notes)


KINDS = {
    "equal": "to the last version",
    "refused": "by both",
    "subset": "less than apt takes, and apt accepts it as whole",
    "only ours": "apt finds no answer and accepts ours",
    "explained": "another answer than apt's, whole, and the resolver says why",
    "differs": "another answer, no reason given, not whole, or an answer where only apt has one",
}


@dataclass(frozen=True)
class Verdict:
    """What two answers to one request come to. kind: of KINDS. alone: what only we and what only apt would install."""

    request: str
    kind: str
    why: str = ""
    ours_alone: tuple[str, ...] = ()
    apts_alone: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.kind}: {self.request}", *filter(None, [self.why])]
        for who, names in (("ours alone", self.ours_alone), ("apt's alone", self.apts_alone)):
            if names:
                parts.append(f"{who}: {' '.join(names[:8])}" + (f" and {len(names) - 8} more" if names[8:] else ""))
        return "; ".join(parts)


def judge(apt: Apt, request: str, theirs: Answer | None, our: Answer | None, says: str) -> Verdict:
    """Compare two answers; one that is not apt's is told to apt version by version, which must take it unchanged."""
    if our == theirs:
        return Verdict(request, "refused" if our is None else "equal")
    if our is None:
        return Verdict(request, "differs", f"refused: {says}")
    alone = _beyond(our, theirs or our), _beyond(theirs or our, our)
    if replace(apt, recommends=False).answer([f"{name}={version}" for name, version in sorted(our)]) != our:
        return Verdict(request, "differs", f"{says} (and apt does not accept it as whole)".strip(), *alone)
    if theirs is None:
        return Verdict(request, "only ours" if says else "differs", says)
    return Verdict(request, "subset" if our < theirs else "explained" if says else "differs", says, *alone)


def _beyond(one: Answer, other: Answer) -> tuple[str, ...]:
    return tuple(sorted(f"{name}={version}" for name, version in one - other))


@dataclass
class Report:
    """All verdicts. "equal" and "refused" are agreement; where apt finds nothing there is nothing to agree with."""

    verdicts: list[Verdict] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.kind in kinds]

    @property
    def rate(self) -> float:
        judged = len(self.verdicts) - len(self.of("only ours"))
        return len(self.of("equal", "refused")) / judged if judged else 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.of(kind))} {kind}" for kind in KINDS)
        lines = [f"{len(self.verdicts)} requests: agreement {100 * self.rate:.1f} % ({counts})"]
        return "\n".join([*lines, *map(str, self.of("subset", "only ours", "explained", "differs"))])


def compare(apt: Apt, requests: Iterable[str], recommends: bool = False, tell: bool = False) -> Report:
    """Ask both each request; tell: print each verdict at once. Cost: about half a second a request on one core."""
    pairs, report, oracle = apt.pairs(), Report(), replace(apt, recommends=recommends)
    first = essential(pairs)
    requests = list(requests)
    with ThreadPoolExecutor(1) as pool:
        answers = pool.map(lambda request: oracle.answer([*first, *request.split()]), requests)
        for request, theirs in zip(requests, answers, strict=True):
            report.verdicts.append(judge(oracle, request, theirs, *ours(pairs, request, recommends)))
            if tell:
                print(f"{len(report.verdicts)}/{len(requests)} {report.verdicts[-1]}", flush=True)
    return report


def requests_in_list() -> list[str]:
    """The committed list, without its comments."""
    return [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]


def draw(pairs: Pairs) -> list[str]:
    """Requests over the whole distribution, always the same from the same indexes."""
    dice = random.Random(SEED)
    packages = {p.name: p for index, archive in pairs for p in index.all(archive)}
    names = sorted(n for n, p in packages.items() if "~" not in n and not n.endswith(("+", "-")))
    by_section: dict[str, list[str]] = {}
    for name in names:
        by_section.setdefault(packages[name].section, []).append(name)
    provided: dict[str, set[str]] = {}
    versioned: set[str] = set()
    for package in packages.values():
        for group in relations(package.provides):
            provided.setdefault(group[0].name, set()).add(package.name)
            if group[0].op:
                versioned.add(group[0].name)
    virtual = sorted(n for n in provided if n not in packages)

    def some(pool: Sequence[str], count: int) -> list[str]:
        return dice.sample(sorted(pool), min(count, len(pool)))

    def needing(test: str, count: int) -> list[str]:
        return some([n for n in names if test in f"{packages[n].pre_depends},{packages[n].depends}"], count)

    drawn = [name for section in sorted(by_section) for name in some(by_section[section], 2)]
    drawn += [" ".join(some(names, 2)) for _ in range(50)] + [" ".join(some(names, 3)) for _ in range(35)]
    drawn += some([n for n in names if n.startswith("task-")], 12)
    drawn += some([n for n in virtual if len(provided[n]) == 1], 12) + some(
        [n for n in virtual if len(provided[n]) > 1], 12
    )
    drawn += needing("|", 20) + needing(":any", 10)
    drawn += some([n for n in names if {r.name for g in _needs(packages[n]) for r in g} & versioned], 12)
    drawn += [_clashing(dice, packages, names) for _ in range(20)]
    drawn += [f"{name}={packages[name].version}" for name in some(names, 8)]
    drawn += [f"{name}:{architecture}" for architecture in ("any", "amd64") for name in some(names, 4)]
    drawn += [f"{' '.join(some(names, 1))} {forbidden}" for forbidden in ("mawk-", "usrmerge-", "init- ", "tzdata-")]
    drawn += ["xfce4", "lxde-core", "mate-desktop-environment-core", "gnome-core", "task-lxqt-desktop"]
    return [" ".join(request.split()) for request in dict.fromkeys(drawn)]


def _needs(package: Package) -> tuple[Group, ...]:
    return relations(f"{package.pre_depends},{package.depends}")


def _clashing(dice: random.Random, packages: dict[str, Package], names: Sequence[str]) -> str:
    """A package and one that it conflicts with."""
    while True:
        name = dice.choice(names)
        others = [r.name for g in relations(packages[name].conflicts) for r in g if r.name in packages and not r.op]
        if others and others[0] != name:
            return f"{name} {others[0]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--recommends", action="store_true")
    parser.add_argument("--first", type=int)
    parser.add_argument("--lists", type=Path, help="a folder that Apt.make() has filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        apt = Apt(args.lists or Path(folder))
        if args.lists is None:
            apt.make()
        if args.draw:
            LIST.parent.mkdir(parents=True, exist_ok=True)
            head = "# Drawn by `python -m tests.packages.agreement --draw` from Debian 12 with a fixed seed.\n"
            LIST.write_text(head + "".join(f"{request}\n" for request in draw(apt.pairs())))
            return
        report = compare(apt, requests_in_list()[: args.first], args.recommends, tell=True)
        print(f"with{'' if args.recommends else 'out'} recommends: {report}")
        if report.rate < LEAST or report.of("differs"):
            sys.exit("that is not apt's answer: see the verdicts that are not equal")


if __name__ == "__main__":
    main()
