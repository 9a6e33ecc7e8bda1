"""Runs dpkg and maintainer scripts in a box, in one fixed environment, and says which script failed."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stackbuild.core.errors import Hint, StepError
from stackbuild.host.sandbox.protocol import Bind, Box, Command
from stackbuild.packages.deb.database import STATUS, is_pending
from stackbuild.packages.deb.tree import Tree
from stackbuild.packages.deb.triggers import UNINCORPORATED
from stackbuild.packages.deb.wave import Package, Wave

_TAIL = 16 << 10
_DPKG_ERROR = re.compile(r"^dpkg: error processing (?:package|archive) (\S+) \(([^)]*)\):\n((?: .*\n?)+)", re.M)
_SCRIPT_ERROR = re.compile(r"^stackbuild: the (\S+) of (\S+) exited with (\d+)$", re.M)
FIRST = ("base-passwd", "base-files")
"""Configured before all others of a first wave, as debootstrap does: everybody needs accounts and basic folders."""
POLICY = "/usr/sbin/policy-rc.d"
PACKAGES = "/run/stackbuild/packages"
CONTROL = "/run/stackbuild/control"

# dpkg(1): the result is thrown away after a crash, so nothing needs to be safe against one
# and nobody is there to be asked about an edited conffile: it is kept
DPKG = ("dpkg", "--force-unsafe-io", "--force-confdef", "--force-confold")


def environment(epoch: int) -> dict[str, str]:
    """What maintainer scripts see, complete."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "SHELL": "/bin/sh",
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "DEBCONF_NOWARNINGS": "yes",
        "SOURCE_DATE_EPOCH": str(epoch),
    }


class Shell:
    """A box together with what every command in it gets: the environment, and the binds that keep services down."""

    def __init__(self, box: Box, wave: Wave, scratch: Path, output: Callable[[bytes], None]) -> None:
        self._box, self._output = box, output
        self._env = environment(wave.epoch)
        self._tail = b""
        self._configured: set[str] = set()
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch = scratch
        self.binds: list[Bind] = []
        policy = scratch / "policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")  # invoke-rc.d: the action is forbidden
        policy.chmod(0o755)
        if not any((folder / POLICY[1:]).exists() for folder in wave.own):
            self.binds.append(Bind(policy, POLICY))
        (scratch / "hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\tstackbuild\n")
        self._hosts = Bind(scratch / "hosts", "/etc/hosts")  # the sandbox's name must resolve, as in any engine
        self.binds.append(self._hosts)

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
        """Run to the end. Returns the last 16 KiB of output. Raises StepError with them if it fails."""
        self._tail = b""
        command = Command(tuple(argv), {**self._env, **(env or {})}, binds=tuple(self.binds), stdin=stdin)
        code = self._box.run(command, self._take)
        if code:
            raise failure(argv, code, self._tail.decode("utf-8", "replace"))
        return self._tail

    def _take(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_TAIL:]
        self._output(data)

    def dpkg(self, *arguments: str) -> None:
        """Run the tree's own dpkg."""
        self.run((*DPKG, *arguments))

    def configure(self, packages: Sequence[Package], *options: str) -> None:
        """Configure those of the packages that are not yet, in this order: ids are given out in it."""
        todo = [package.selector for package in packages if package.selector not in self._configured]
        if _MAKES_HOSTS in todo:
            self.binds.remove(self._hosts)
            self.dpkg(*options, "--configure", _MAKES_HOSTS)
            self.binds.append(self._hosts)
            self._configured.add(_MAKES_HOSTS)
            todo.remove(_MAKES_HOSTS)
        if todo:
            self.dpkg(*options, "--configure", *todo)
            self._configured.update(todo)

    def finish(self, wave: Wave) -> None:
        """Configure the rest of the wave, and run what triggers are left: mostly none, and a sandbox is not free."""
        self.configure(wave.packages)
        with Tree(self._box.root) as tree:
            pending = is_pending(tree.read(STATUS) or b"") or tree.read(UNINCORPORATED)
        if pending:
            self.dpkg("--configure", "--pending")

    def preinsts(self, wave: Wave, packages: Sequence[Package], then: Sequence[Package] = ()) -> bool:
        """The preinst of each package that has one, as dpkg runs it before it unpacks a new package. Had any one?

        then: configured after their own preinsts, whatever they depend on; the first of `packages`.
        """
        chosen = [package for package in packages if "preinst" in package.control]
        if not chosen and not then:
            return False
        folder = self._scratch / "control"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lines = [_PREINST]
        for number, package in enumerate(chosen):
            inner = folder / str(number)
            inner.mkdir(mode=0o755)
            for key, file in package.control.items():
                (inner / key).write_bytes(file.content)
                (inner / key).chmod(file.mode)
            lines.append(f"one {number} {package.name} {package.architecture}\n")
        if then:
            words = (*DPKG, "--force-depends", "--configure", *(package.selector for package in then))
            lines.insert(1 + sum(package in then for package in chosen), f"{shlex.join(words)} || exit 1\n")
            self._configured.update(package.selector for package in then)
        version = wave.package("dpkg")
        running = {"DPKG_RUNNING_VERSION": version.version} if version else {}
        before = list(self.binds)
        self.binds.append(Bind(folder, CONTROL))
        try:
            self.run(("/bin/sh", "-c", "".join(lines)), env={**_MAINTAINER, **running})
        finally:
            self.binds = before
        return True

    def answers(self, wave: Wave) -> None:
        """Tell debconf the answers to questions of this wave, before anybody asks."""
        if lines := answers(wave):
            self.run(("debconf-set-selections",), stdin="".join(lines).encode())


_MAKES_HOSTS = "netbase"  # writes /etc/hosts where there is none, so it must not meet ours; it depends on nothing
_MAINTAINER = {"DPKG_ROOT": "", "DPKG_ADMINDIR": "/var/lib/dpkg", "DPKG_MAINTSCRIPT_DEBUG": "0"}
_PREINST = f"""\
rm -rf /var/lib/dpkg/tmp.ci
one() {{
    cp -R {CONTROL}/$1 /var/lib/dpkg/tmp.ci
    DPKG_MAINTSCRIPT_PACKAGE=$2 DPKG_MAINTSCRIPT_ARCH=$3 DPKG_MAINTSCRIPT_NAME=preinst \\
    DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 /var/lib/dpkg/tmp.ci/preinst install </dev/null
    code=$?
    rm -rf /var/lib/dpkg/tmp.ci
    if [ $code != 0 ]; then
        echo "stackbuild: the preinst of $2 exited with $code" >&2
        exit 1
    fi
}}
"""


def answers(wave: Wave) -> list[str]:
    """What debconf-set-selections reads: the answers that the stack gives to questions of this wave."""
    lines = []
    for question, (owner, kind) in questions(wave).items():
        if question in wave.debconf:
            value = wave.debconf[question].replace("\n", "\\n")
            lines.append(f"{owner} {question} {kind} {value}\n")
    return lines


def questions(wave: Wave) -> dict[str, tuple[str, str]]:
    """The debconf questions of a wave: name -> (package, type), from the templates in the .debs."""
    found: dict[str, tuple[str, str]] = {}
    for package in wave.packages:
        file = package.control.get("templates")
        if file is None:
            continue
        name = ""
        for line in file.content.decode("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key == "Template":
                name = value.strip()
            elif key == "Type" and name:
                found.setdefault(name, (package.name, value.strip()))
    return found


def failure(argv: Sequence[str], code: int, tail: str) -> StepError:
    """What to tell about a command that failed, as exactly as its output allows."""
    shown = "\n".join(tail.splitlines()[-40:])
    if script := _SCRIPT_ERROR.search(tail):
        what = f"the {script[1]} script of package {script[2]} failed"
        return StepError(what, why=f"it exited with {script[3]}", output=shown, hints=_hints(script[2]))
    if error := _DPKG_ERROR.search(tail):
        package, why = error[1].rpartition("/")[2].partition("_")[0], " ".join(error[3].split())
        if found := re.search(r"(pre-installation|post-installation|pre-removal|post-removal) script", why):
            script_name = {"pre-i": "preinst", "post-i": "postinst", "pre-r": "prerm", "post-r": "postrm"}
            key = next(value for start, value in script_name.items() if found[1].startswith(start))
            what = f"the {key} script of package {package} failed"
        else:
            what = f"dpkg cannot install package {package}"
        return StepError(what, why=why, output=shown, hints=_hints(package))
    words = " ".join(argv[:3]) if argv[0] != "/bin/sh" else "the preinst scripts"
    return StepError(f"{words} failed", why=f"exit code {code}", output=shown)


def _hints(package: str) -> tuple[Hint, ...]:
    return (
        Hint("look at the tree as it was", "stackbuild build --shell-on-failure"),
        Hint(f"if {package} asks a question, answer it in packages.debconf"),
    )
