"""A made-up root with sources, pins and a dpkg database, asked of the real apt and of us; judges nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from stackbuild.packages.deb import preferences
from stackbuild.packages.deb.catalogue import Catalogue
from stackbuild.packages.deb.multiarch import qualified
from stackbuild.packages.deb.packages_index import build_index, held, installed
from stackbuild.packages.deb.preferences import Policy
from stackbuild.packages.deb.release import Release
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question, Resolution
from stackbuild.packages.index import Index
from stackbuild.packages.package import Archive, Package
from stackbuild.packages.pin import Pin
from stackbuild.stack.request import parse_request
from tests.machine import need

KINDS = {"": "", "backports": "NotAutomatic: yes\nButAutomaticUpgrades: yes\n", "experimental": "NotAutomatic: yes\n"}


@dataclass(frozen=True)
class Change:
    """What an answer does: name -> version that comes in, and the names that go."""

    comes: Mapping[str, str]
    goes: frozenset[str] = frozenset()


@dataclass
class Root:
    """folder: a root with etc/apt and var/lib. suites: (codename, component) -> stanzas, in order."""

    folder: Path
    suites: Mapping[tuple[str, str], Sequence[str]]
    status: str = ""
    pins: Mapping[str, str] = field(default_factory=dict)  # file below etc/apt -> text
    foreign: Sequence[str] = ()  # architectures beside amd64; a stanza of one says so
    pairs: list[tuple[Index, Archive]] = field(default_factory=list)

    def make(self) -> Root:
        for name in ("etc/apt/preferences.d", "etc/apt/apt.conf.d", "var/lib/dpkg", "var/lib/apt/lists/partial",
                     "var/cache/apt/archives/partial"):  # fmt: skip
            (self.folder / name).mkdir(parents=True)
        (self.folder / "var/lib/dpkg/status").write_text(self.status)
        for file, text in self.pins.items():
            (self.folder / "etc/apt" / file).write_text(text)
        lines = []
        for (codename, component), stanzas in self.suites.items():
            for architecture in self.architectures:
                folder = self.folder / "archive/dists" / codename / component / f"binary-{architecture}"
                folder.mkdir(parents=True)
                (folder / "Packages").write_text("\n".join(self._of(architecture, stanzas)))
            lines.append(f"deb [trusted=yes] file:{self.folder}/archive {codename} {component}\n")
        (self.folder / "etc/apt/sources.list").write_text("".join(lines))
        for codename in dict.fromkeys(codename for codename, _ in self.suites):
            self._release(codename)
        for architecture, ((codename, component), stanzas) in product(self.architectures, self.suites.items()):
            release = Release.parse((self.folder / "archive/dists" / codename / "Release").read_bytes(), codename)
            index = Index(build_index("\n".join(self._of(architecture, stanzas)).encode()))
            self.pairs.append((index, replace(release.archive, component=component)))
        self._apt("apt-get", "update")
        return self

    @property
    def architectures(self) -> tuple[str, ...]:
        return ("amd64", *self.foreign)

    @staticmethod
    def _of(architecture: str, stanzas: Sequence[str]) -> list[str]:
        return [s for s in stanzas if re.search(rf"^architecture: ({architecture}|all)$", s, re.M | re.I)]

    def _release(self, codename: str) -> None:
        kind = next((k for k in KINDS if k and codename.endswith(k)), "")
        parts = dict.fromkeys(c for n, c in self.suites if n == codename)
        says = {
            "Origin": "Example", "Label": "Test", "Suite": f"suite-{codename}", "Codename": codename,
            "Architectures": " ".join(self.architectures), "Components": " ".join(parts), "Version": "12.1",
        }  # fmt: skip
        options = [word for key, value in says.items() for word in ("-o", f"APT::FTPArchive::Release::{key}={value}")]
        top = self.folder / "archive/dists" / codename
        made = subprocess.run([need("apt-ftparchive"), *options, "release", top], check=True, capture_output=True)
        (top / "Release").write_bytes(KINDS[kind].encode() + made.stdout)

    def _apt(self, tool: str, *words: str) -> str:
        says = {"Dir": self.folder, "Dir::State::status": self.folder / "var/lib/dpkg/status", "Debug::NoLocking": "1",
                "APT::Architecture": "amd64", "APT::Architectures": ",".join(self.architectures),
                "APT::Install-Recommends": "false",
                "APT::Sandbox::User": "root", "Dir::Bin::dpkg": "/usr/bin/dpkg"}  # fmt: skip
        options = [word for key, value in says.items() for word in ("-o", f"{key}={value}")]
        conf = next((self.folder / "etc/apt/apt.conf.d").glob("*"), "/dev/null")
        found = subprocess.run(
            [need(tool), *options, *words], capture_output=True, text=True, timeout=60, check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "APT_CONFIG": str(conf)},
        )  # fmt: skip
        return found.stdout

    def apt(self, *words: str) -> Change | None:
        """What apt-get would do (a command and its words); None if it refuses."""
        try:
            out = self._apt("apt-get", "-s", "-y", *words)
        except subprocess.CalledProcessError:
            return None
        comes = dict(re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", out, re.M))
        return Change(comes, frozenset(re.findall(r"^Remv (\S+)", out, re.M)))

    def apts_candidate(self, name: str) -> str:
        found = re.search(r"Candidate: (\S+)", self._apt("apt-cache", "policy", name))
        return found[1] if found else ""

    def all_pins(self, pins: Sequence[Pin] = ()) -> tuple[Pin, ...]:
        return (*pins, *preferences.read(self.folder))

    def our_candidate(self, name: str) -> str:
        status = self.status.encode()
        index = installed(status)[0] if status else None
        found = Catalogue("amd64", self.pairs, index, Policy(self.all_pins()), held(status)).candidate(name)
        return found.version if found else "(none)"

    def ours(self, *requests: str, pins: Sequence[Pin] = (), **more: Any) -> Change:
        """What we would do. Raises StackError."""
        found = self.resolution(*requests, pins=pins, **more)
        return Change({_called(p.package): p.package.version for p in found.packages}, names(found.removed))

    def resolution(self, *requests: str, pins: Sequence[Pin] = (), **more: Any) -> Resolution:
        question = Question(
            tuple(parse_request(r) for r in requests), "amd64", status=self.status.encode(), pins=self.all_pins(pins),
            foreign=tuple(self.foreign),
        )  # fmt: skip
        return resolve_indexes(replace(question, **more), self.pairs)


def names(packages: Iterable[Package]) -> frozenset[str]:
    return frozenset(map(_called, packages))


def _called(package: Package) -> str:
    """As apt names it."""
    return qualified(package.name, package.architecture, "amd64")


def there(name: str, version: str = "1", state: str = "install ok installed", **fields: str) -> str:
    """A stanza of dpkg's status file."""
    more = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in fields.items())
    return (
        f"Package: {name}\nStatus: {state}\nPriority: optional\nMaintainer: t\nVersion: {version}\n"
        f"Architecture: amd64\n{more}Description: t\n"
    )
