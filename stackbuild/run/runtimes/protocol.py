"""What every container runtime does for us, and the values that pass. Implementations: bwrap.py, oci_runtime.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from stackbuild.host.enter import Rights
    from stackbuild.run.container import Container
    from stackbuild.run.rootfs import Identity, Placed
    from stackbuild.run.spec import RuntimeSpec


class Lack(NamedTuple):
    """A setting that a runtime cannot honour here. setting: its key in stack.toml, without "container."."""

    setting: str
    why: str


class Box(NamedTuple):
    """A container that is ready to start: its tree is mounted, this process is in its network namespace.

    env: complete. cwd: exists. seccomp: BPF instructions, b"" for none. sysfs: where a sysfs of the container's
    network is mounted, "" if there can be none. stdio: the main process's descriptors.
    """

    container: Container
    spec: RuntimeSpec
    programs: Mapping[str, str]
    root: Path
    identity: Identity
    placed: tuple[Placed, ...]
    env: Mapping[str, str]
    cwd: str
    seccomp: bytes
    sysfs: str
    stdio: tuple[int, int, int]


class Process(NamedTuple):
    """A started container. pid: its main process, a child of the supervisor. init: process 1 if that is another.

    monitor: a child of the supervisor that ends when nothing is left in the container, or 0 if `pid` is process 1.
    terminal: the supervisor's end of its pseudo-terminal, or -1.
    """

    pid: int
    init: int = 0
    monitor: int = 0
    terminal: int = -1

    def hears(self, number: int) -> bool:
        """Whether a signal would reach its main process now.

        The kernel drops what process 1 of a namespace does not catch, so one that has just started may miss it.
        """
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return True
        said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        masks = int(said["SigCgt"], 16) | int(said["SigIgn"], 16)
        return bool(masks >> (number - 1) & 1) or said["NSpid"].split()[1:][-1:] != ["1"]

    def kill_all(self) -> None:
        """SIGKILL to process 1: the kernel ends all others of the container with it."""
        for pid in filter(None, (self.init, self.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Runtime(Protocol):
    """One way to start containers. `start` runs in a supervisor: a subreaper in a mount namespace of its own."""

    name: str

    def probe(self, programs: Mapping[str, str]) -> str:
        """Why it does not work on this machine; "" if it does. Really runs something (tens of milliseconds)."""

    def lacks(self, spec: RuntimeSpec) -> tuple[Lack, ...]:
        """The settings of `spec` that it cannot honour on this machine."""

    def start(self, box: Box) -> Process:
        """Start the main process. Raises StackError if it cannot be executed."""

    def clear(self, container: Container, programs: Mapping[str, str]) -> None:
        """Remove what a start left behind, also after kill -9. The processes have ended already."""


def rights(spec: RuntimeSpec, uid: int, seccomp: bytes) -> Rights:
    """What a process of the container may do as this user: root has all its capabilities, others those asked for."""
    from stackbuild.host.enter import Rights  # a command only asks which runtime there is

    own = spec.capabilities if uid == 0 else spec.added
    return Rights(spec.capabilities, own, () if uid == 0 else spec.added, seccomp, spec.no_new_privs)
