"""Containers by an OCI runtime (runc, crun), from a bundle that it is handed; each is probed by really running one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stackbuild.core.errors import HostError, StepError
from stackbuild.core.text import harmless
from stackbuild.host import cgroups
from stackbuild.host.overlay import in_user_namespace
from stackbuild.run.bundle import config
from stackbuild.run.container import Container
from stackbuild.run.runtimes.pause import Held, hold, program
from stackbuild.run.runtimes.protocol import Box, Lack, Process
from stackbuild.run.spec import RuntimeSpec

SECONDS = 30.0
_EMPTY = ("--unshare-ipc", "--unshare-uts", "--tmpfs", "/", "--proc", "/proc")


class OciRuntime:
    """A program with the command line of runc."""

    def __init__(self, name: str) -> None:
        self.name = name

    def probe(self, programs: Mapping[str, str]) -> str:
        if self.name not in programs:
            return f"not found (Debian: apt-get install {self.name})"
        with tempfile.TemporaryDirectory(prefix="stackbuild-probe-") as folder:
            root = Path(folder, "rootfs")
            root.mkdir()
            for name in ("proc", "dev"):
                (root / name).mkdir()
            (root / "exit").write_bytes(program("exit"))
            (root / "exit").chmod(0o755)
            Path(folder, "config.json").write_text(json.dumps(_probe_config()))
            argv = [programs[self.name], "--root", f"{folder}/state", "run", "--bundle", folder, f"probe-{os.getpid()}"]
            try:
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
            text = done.stderr.decode(errors="replace").strip()
            return "" if done.returncode == 0 else harmless(text[-300:].replace("\n", "; ") or "it fails")

    def lacks(self, spec: RuntimeSpec) -> tuple[Lack, ...]:
        if not in_user_namespace():
            return ()
        limits = spec.limits
        wanted = {"memory": limits.memory is not None, "cpus": limits.cpus is not None, "pids": limits.pids is not None}
        names = {"memory": "memory", "cpu": "cpus", "pids": "pids"}
        missing = cgroups.lacking(**wanted)
        return tuple(Lack(f"resources.{names[one]}", f"no control group `{one}` can be made here") for one in missing)

    def start(self, box: Box) -> Process:
        folder = box.container.path("oci")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        rootless = in_user_namespace()
        limits = not (rootless and cgroups.lacking(memory=True, cpus=True, pids=True))
        held = _init(box) if box.spec.init else None
        try:
            document = config(box, init=held.init if held else 0, rootless=rootless, limits=limits)
            (folder / "config.json").write_text(json.dumps(document))
            terminal = self._run(box, folder)
            pid = int((folder / "pid").read_text())
        except BaseException:
            if held is not None:
                Process(0, held.init).kill_all()
                os.waitpid(held.monitor, 0)
            raise
        return Process(pid, held.init if held else 0, held.monitor if held else 0, terminal)

    def _run(self, box: Box, folder: Path) -> int:
        """Start it detached: its process then is a child of this subreaper. Returns the terminal or -1."""
        words = ["--root", f"{folder}/state", "--log", f"{folder}/runtime.log", "--log-format", "json"]
        words += ["run", "--detach", "--bundle", str(folder), "--pid-file", f"{folder}/pid"]
        console = None
        if box.spec.terminal:
            console = _Console(folder)
            words += ["--console-socket", console.path]
        argv = [box.programs[self.name], *words, box.spec.name]
        try:
            stdin, stdout, stderr = box.stdio
            child = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd=folder)
            try:
                code = child.wait(SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise HostError(f"{self.name} does not come to an end") from None
            if code != 0:
                raise _failure(self.name, folder, box.spec.argv)
            return console.receive() if console else -1
        finally:
            if console:
                console.close()

    def clear(self, container: Container, programs: Mapping[str, str]) -> None:
        folder = container.path("oci")
        if self.name in programs and (folder / "state" / container.name).exists():
            argv = [programs[self.name], "--root", f"{folder}/state", "delete", "--force", container.name]
            try:
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
            except (OSError, subprocess.TimeoutExpired):
                pass
        shutil.rmtree(folder, ignore_errors=True)
        cgroups.group(container.group).remove()


class _Console:
    """Where the runtime hands us the other end of the container's terminal."""

    def __init__(self, folder: Path) -> None:
        self._folder = tempfile.mkdtemp(prefix="stackbuild-")  # short: a socket's name has at most 107 bytes
        self.path = f"{self._folder}/console"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.bind(self.path)
        self._sock.listen(1)
        self._sock.settimeout(5)

    def receive(self) -> int:
        with self._sock.accept()[0] as line:
            line.settimeout(5)
            fds = socket.recv_fds(line, 4096, 1)[1]
        if not fds:
            raise HostError("the runtime gave no terminal")
        os.set_inheritable(fds[0], False)
        return fds[0]

    def close(self) -> None:
        self._sock.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _init(box: Box) -> Held:
    if "bwrap" not in box.programs:
        raise HostError("init = true needs bubblewrap", why="bwrap was not found")
    return hold(box.programs["bwrap"], _EMPTY)


def _failure(name: str, folder: Path, argv: Sequence[str]) -> StepError | HostError:
    """The last error of the runtime's log, in the words of whoever it concerns."""
    text = ""
    try:
        for line in (folder / "runtime.log").read_text(errors="replace").splitlines():
            entry = json.loads(line)
            text = entry["msg"] if entry.get("level") in ("error", "fatal") else text
    except (OSError, ValueError, KeyError, TypeError):
        pass
    text = harmless(text.replace("\n", "; ")[-1000:])
    for words in ("executable file not found", "no such file or directory", "permission denied", "exec format error"):
        if "exec" in text and words in text.lower():
            return StepError(f"cannot execute `{argv[0]}` in the container", why=text)
    return HostError(f"{name} cannot start the container", why=text or "it gives no reason")


def _probe_config() -> dict[str, object]:
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/exit"], "cwd": "/", "noNewPrivileges": True},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }
