"""A container on disk: its spec, its state, its folders. Starts and stops nothing; imports little."""

from __future__ import annotations

import fcntl
import json
import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stackbuild.core.errors import Hint, HostError, UsageError
from stackbuild.core.files import write_file
from stackbuild.core.values import plain
from stackbuild.run.spec import Port, RuntimeSpec

ALIVE = ("created", "running", "restarting")
PAUSE = 0.005  # seconds between two looks at what nothing tells


class State(NamedTuple):
    """What a container does. status: created | running | restarting | exited.

    pid: the main process as the machine sees it, 0: none. start: its start time in clock ticks (proc(5)), by
    which a pid that was given to another process is known. health: none | starting | healthy | unhealthy;
    report: the last words of the health check. started, finished: seconds since 1970.
    detail: why it is not running, if the exit code alone does not say. stopped: by the user.
    """

    status: str = "created"
    pid: int = 0
    start: int = 0
    supervisor: int = 0
    health: str = "none"
    report: str = ""
    exit_code: int | None = None
    started: float = 0.0
    finished: float = 0.0
    restarts: int = 0
    ports: tuple[Port, ...] = ()
    runtime: str = ""
    detail: str = ""
    stopped: bool = False
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(plain(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> State:
        """Raises ValueError if it is not one."""
        try:
            tree: dict[str, Any] = json.loads(data)
            tree["ports"] = tuple(Port(**port) for port in tree["ports"])
            tree["notes"] = tuple(tree["notes"])
            return cls(**tree)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a container's state: {error!r}") from error


class Launch(NamedTuple):
    """What of this machine a container is started with; the other half of its spec, in no comparison but `lowers`.

    lowers: unpacked layer folders, lowest first. programs: name -> path ("bwrap", "runc", ...).
    """

    runtime: str
    lowers: tuple[str, ...]
    programs: Mapping[str, str]
    volumes: str
    locks: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(plain(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Launch:
        """Raises ValueError if it is not one."""
        try:
            tree: dict[str, Any] = json.loads(data)
            return cls(**{**tree, "lowers": tuple(tree["lowers"]), "notes": tuple(tree["notes"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a launch: {error!r}") from error


class Container:
    """One container's folder, `StorePaths.containers/NAME`.

    spec.json, launch.json, seccomp.bpf: written before the start, by the command. state.json, log, log.1,
    supervisor.log, control (a socket): by the supervisor, which holds a lock on `live` as long as it lives.
    upper, work: the container's own changes; rootfs: where the supervisor, and nobody else, sees them mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def group(self) -> str:
        """What its control group is called: names are unique in a store, a machine may have many."""
        info = self.folder.stat()
        return f"{self.name}-{info.st_dev:x}-{info.st_ino:x}"

    @property
    def exists(self) -> bool:
        return self.path("spec.json").exists()

    @property
    def spec(self) -> RuntimeSpec:
        """Raises HostError if it is not there or broken."""
        return RuntimeSpec.from_json(self._read("spec.json"))

    @property
    def launch(self) -> Launch:
        """Raises HostError if it is not there or broken."""
        return Launch.from_json(self._read("launch.json"))

    def _read(self, name: str) -> bytes:
        try:
            data = self.path(name).read_bytes()
            json.loads(data)
            return data
        except (OSError, ValueError) as error:
            hint = Hint("remove it and start it anew", f"stackbuild down {self.name}")
            raise HostError(f"container {self.name} cannot be read", why=str(error), hints=(hint,)) from error

    def state(self) -> State:
        """What it does, as far as this moment knows: a supervisor that was killed has left an old state."""
        state = self._last_state()
        if state.status in ALIVE and not self.supervised():
            state = self._last_state()  # it may have ended in order since the first look
            if state.status in ALIVE:
                return state._replace(status="exited", health="none", exit_code=137, detail="its supervisor was killed")
        return state

    def _last_state(self) -> State:
        """What its supervisor wrote last."""
        try:
            return State.from_json(self.path("state.json").read_bytes())
        except (OSError, ValueError):
            return State("exited", detail="never started")

    def write_state(self, state: State) -> None:
        write_file(self.path("state.json"), state.to_json())

    def supervised(self) -> bool:
        """Whether its supervisor lives."""
        try:
            fd = os.open(self.path("live"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def wait_unsupervised(self, seconds: float) -> bool:
        """Wait until its supervisor is gone; False if it is still there when the time is over."""
        deadline = time.monotonic() + seconds
        while self.supervised():
            left = deadline - time.monotonic()
            if left < 0:
                return False
            try:
                pidfd = os.pidfd_open(self.state().supervisor)
            except OSError:  # it has only begun, or is just ending
                time.sleep(PAUSE)
                continue
            if self.supervised():  # so it is this process, and no other that got its number
                select.select([pidfd], [], [], left)
            os.close(pidfd)
        return True


def container_name(stack_name: str, project: Path) -> str:
    """The stack's name and eight hexadecimal digits of its project's path."""
    from stackbuild.core.digest import digest_of  # OpenSSL; a supervisor has no need for it

    return f"{stack_name}-{digest_of(os.fsencode(project))[7:15]}"


def containers(area: Path) -> tuple[Container, ...]:
    """All containers of a store's `containers` area, by name."""
    try:
        names = sorted(os.listdir(area))
    except OSError:
        return ()
    found = (Container(area / name) for name in names if not name.startswith("."))
    return tuple(one for one in found if one.exists)


def find(area: Path, name: str) -> Container:
    """The container of this name. Raises UsageError that names the others."""
    container = Container(area / name)
    if name and "/" not in name and not name.startswith(".") and container.exists:
        return container
    others = ", ".join(one.name for one in containers(area))
    hint = Hint(f"there are: {others}") if others else Hint("start one", "stackbuild up")
    raise UsageError(f"there is no container `{name}`", hints=(hint,))


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
