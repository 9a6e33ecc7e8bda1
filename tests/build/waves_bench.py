"""Real Debian packages, waves of them, and trees to compare; made for tests of unpack and configure."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from stackbuild.core.clock import EPOCH
from stackbuild.oci.tar_extract import extract
from stackbuild.packages.deb import skeleton
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.control import decode, relations, stanzas
from stackbuild.packages.deb.fragment import names
from stackbuild.packages.deb.waves import Edges, waves
from tests.machine import REPOSITORY, locked, need, once, run

RUNNER = Path(__file__).with_name("wave_runner.py")
COMMON: dict[str, Any] = {"epoch": EPOCH, "renames": skeleton.renames("amd64"), "arch": "amd64"}
_URI = re.compile(r"'(\S+)' (\S+) (\d+) ")
# unlike the archive's own names, a lock's packages have no ":" in the file name that an action sees
Package = dict[str, Any]
Packages = list[Package]


@dataclass
class Apt:
    """The host's apt as an oracle for package sets, with state of its own; package files are kept for the session."""

    folder: Path

    def options(self, status: Path) -> list[str]:
        state = self.folder / "apt"
        return [
            "-qq", "-o", f"Dir::State={state}", "-o", f"Dir::State::status={status}", "-o", f"Dir::Cache={state}/cache",
            "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "APT::Install-Recommends=false",
        ]  # fmt: skip

    def prepare(self) -> None:
        def make(folder: Path) -> None:
            (folder / "lists/partial").mkdir(parents=True)
            (folder / "cache/archives/partial").mkdir(parents=True)
            (folder / "nothing").touch()
            run([need("apt-get"), *self.options(folder / "nothing"), "update"], timeout=300)

        once(self.folder / "apt", make)

    def answer(self, words: Sequence[str], status: Path) -> Packages:
        """What apt would install, in its order, with the files downloaded."""
        self.prepare()
        ran = run([need("apt-get"), *self.options(status), "--print-uris", "-y", "install", *words])
        lines = [found for line in ran.out.splitlines() if (found := _URI.match(line))]
        return [self._describe(self._fetch(line[1], line[2], int(line[3])), words) for line in lines]

    def _fetch(self, url: str, name: str, size: int) -> Path:
        target = self.folder / "packages" / name.replace(":", "%3a")
        with locked(self.folder / "packages.lock"):
            if not target.exists() or target.stat().st_size != size:
                target.parent.mkdir(exist_ok=True)
                response = _pool.request("GET", url)
                assert response.status == 200 and len(response.data) == size, url
                target.write_bytes(response.data)
        return target

    def _describe(self, file: Path, words: Sequence[str]) -> dict[str, Any]:
        with open_deb(file, data=False) as deb:
            found, fields = names(deb), next(stanzas(decode(deb.fields)), {})
        essential = fields.get("essential") == "yes"
        return {
            "name": found.package,
            "version": found.version,
            "architecture": found.architecture,
            "file": file.name,
            "manual": found.package in words or essential,
            "essential": essential,
        }


_pool = urllib3.PoolManager(maxsize=1, timeout=60, retries=3)


@dataclass
class Bench:
    """Trees made of waves, in a folder. lower folders are kept apart as a build keeps them: fragments, configure."""

    apt: Apt
    folder: Path
    sandbox: str = "overlay"
    fragments: list[Path] = field(default_factory=list)
    configured: list[Path] = field(default_factory=list)
    made: dict[str, Path] = field(default_factory=dict)

    def do(self, kind: str, params: dict[str, Any], lowers: Sequence[Path], place: Path) -> dict[str, Any]:
        """Run an action in `place`; its layer is there in `out/layer`. Returns the facts, or {"error": …}."""
        for name in ("out", "scratch"):
            (place / name).mkdir(parents=True)
        inputs = {f"packages/{p['file']}": str(self.file(p["file"])) for p in params["packages"]}
        job = {
            "kind": kind, "params": params, "inputs": inputs, "lowers": [str(path) for path in lowers],
            "out": str(place / "out"), "scratch": str(place / "scratch"), "sandbox": self.sandbox,
        }  # fmt: skip
        (place / "JOB.json").write_text(json.dumps(job))
        run([sys.executable, RUNNER, place / "JOB.json"], timeout=900, cwd=REPOSITORY, env=_path())
        facts: dict[str, Any] = json.loads((place / "FACTS.json").read_text())
        return facts

    def file(self, name: str) -> Path:
        """A package file: one made by the test, or one that apt fetched."""
        return self.made.get(name, self.apt.folder / "packages" / name)

    def over(self, folder: Path) -> Bench:
        """Another bench over the same layers, with a folder of its own."""
        return Bench(self.apt, folder, self.sandbox, [*self.fragments], [*self.configured], dict(self.made))

    def make(self, folder: Path, name: str, files: Mapping[str, str], version: str = "1", **control: str) -> Package:
        """A package made of texts, with the documentation folder that each package of Debian has; else as `bare`."""
        return self.bare(folder, name, {f"usr/share/doc/{name}/": "0755", **files}, version, **control)

    def bare(self, folder: Path, name: str, files: Mapping[str, str], version: str = "1", **control: str) -> Package:
        """A package of these files alone: path -> content ("-> x" is a link, a path ending in "/" a folder).

        control: `preinst`, `postinst`, `triggers`, … become control files, what begins with a capital a field.
        """
        root = folder / f"{name}-{version}"
        (root / "DEBIAN").mkdir(parents=True)
        for path, content in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                place.mkdir(mode=int(content, 8))
                place.chmod(int(content, 8))
            elif content.startswith("-> "):
                place.symlink_to(content[3:])
            else:
                place.write_text(content)
        fields = {key.replace("_", "-"): value for key, value in control.items() if key[0].isupper()}
        head = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "t <t@example.com>"}
        lines = [f"{key}: {value}\n" for key, value in {**head, **fields, "Description": "made by a test"}.items()]
        (root / "DEBIAN/control").write_text("".join(lines))
        for key, value in control.items():
            if not key[0].isupper():
                (root / "DEBIAN" / key).write_text(value)
                script = key in ("preinst", "postinst", "prerm", "postrm", "config")
                (root / "DEBIAN" / key).chmod(0o755 if script else 0o644)
        file = folder / f"{name}_{version}_all.deb"
        run([need("dpkg-deb"), "--root-owner-group", "-b", root, file])
        self.made[file.name] = file
        found = {"name": name, "version": version, "architecture": "all", "file": file.name}
        return {**found, "manual": True, "essential": False}

    def unpack(self, packages: Packages, *, first: bool = False, **more: Any) -> dict[str, Any]:
        """A group of packages as the next fragment folder."""
        place = self.folder / f"unpack{len(self.fragments)}"
        facts = self.do("unpack", {**COMMON, "packages": packages, "skeleton": first, **more}, (), place)
        assert "error" not in facts, facts
        self.fragments.append(place / "out" / "tree")
        return facts

    def configure(self, packages: Packages, way: str, name: str = "", **more: Any) -> tuple[dict[str, Any], Path]:
        """The last fragment folder's packages configured over all that is there. Returns facts and the folder."""
        place = self.folder / (name or f"configure{len(self.configured)}-{way}")
        last = len(self.fragments)
        params = {**COMMON, "packages": packages, "way": way, "own": [last - 1, last], "wave": last - 1, **more}
        facts = self.do("configure", params, [*self.fragments, *self.configured], place)
        if "error" not in facts:
            tree = place / "tree"
            tree.mkdir()
            with open(place / "out" / "layer", "rb") as layer:
                extract(layer, tree, whiteouts="device", name="layer")
        return facts, place

    def whole(self, target: Path) -> Path:
        """All layers so far applied one over the other into one folder."""
        target.mkdir()
        for path in [*self.fragments, *self.configured]:
            with open(
                path.with_name("layer") if path.parent.name == "out" else path.parent / "out/layer", "rb"
            ) as file:
                extract(file, target, whiteouts="apply", name="layer")
        return target


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def base(shared: Path) -> Bench:
    """Wave 0 of the apt variant, made once for a run, the fast way; every caller gets a bench of its own over it."""
    apt = Apt(shared / "debian")

    def make(folder: Path) -> None:
        bench = Bench(apt, folder)
        packages = base_packages(apt)
        bench.unpack(packages, first=True)
        facts, place = bench.configure(packages, "fast", "configure0", first=True)
        assert facts.get("way") == "fast", facts
        bench.configured.append(place / "tree")
        (folder / "packages.json").write_text(json.dumps(packages))

    folder = once(shared / "wave0", make)
    return Bench(apt, folder, fragments=[folder / "unpack0/out/tree"], configured=[folder / "configure0/tree"])


def base_packages(apt: Apt) -> Packages:
    """The essential packages of the host's release, and apt, on an empty system."""
    rows = run([need("dpkg-query"), "-W", "-f", "${Essential} ${Package}\\n"]).out.splitlines()
    essential = [row.split()[1] for row in rows if row.startswith("yes ")]
    apt.prepare()
    return apt.answer([*essential, "apt", "usr-is-merged"], apt.folder / "apt/nothing")


def split_into_waves(packages: Packages, folder: Path) -> list[Packages]:
    """As the lock would have them: one request here, split where Pre-Depends demand it."""
    by_name = {package["name"]: package for package in packages}
    fields: dict[str, dict[str, str]] = {}
    provides: dict[str, str] = {}
    for package in packages:
        with open_deb(folder / package["file"], data=False) as deb:
            fields[package["name"]] = next(stanzas(decode(deb.fields)), {})
        for group in relations(fields[package["name"]].get("provides", "")):
            provides.setdefault(group[0].name, package["name"])

    def needs(name: str, key: str) -> tuple[str, ...]:
        found = []
        for group in relations(fields[name].get(key, "")):
            names = [one.name if one.name in by_name else provides.get(one.name) for one in group]
            found += [one for one in names if one is not None][:1]
        return tuple(found)

    edges = {name: Edges(needs(name, "pre-depends"), needs(name, "depends")) for name in by_name}
    return [[by_name[name] for name in wave] for wave in waves(edges, [], [list(by_name)]) if wave]


def differences(left: Path, right: Path) -> list[str]:
    """Every path at which two folders differ: content, type, mode, owner, link target, device, xattrs, hard links."""
    one, other = _scan(left), _scan(right)
    return [
        f"{os.fsdecode(path)}: {one.get(path)} / {other.get(path)}"
        for path in sorted(one.keys() | other.keys())
        if one.get(path) != other.get(path)
    ]


def _scan(root: Path) -> dict[bytes, tuple[Any, ...]]:
    found: dict[bytes, tuple[Any, ...]] = {}
    base = os.fsencode(root)
    for folder, folders, files in os.walk(base):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: Any = status.st_rdev
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()[:16]
            xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in _xattrs(path))
            links = status.st_nlink if stat.S_ISREG(status.st_mode) else 1
            key = os.path.relpath(path, base)
            found[key] = (oct(status.st_mode), status.st_uid, status.st_gid, content, links, xattrs)
    return found


def _xattrs(path: bytes) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def inside(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command in a finished tree, by chroot."""
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["/usr/sbin/chroot", str(root), *argv], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
