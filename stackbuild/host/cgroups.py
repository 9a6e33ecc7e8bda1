"""Control groups, version 1 and 2: one group for a container, with limits. Only where this process may write them."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PARENT = "stackbuild"
_PERIOD = 100_000  # microseconds over which processor time is measured
ROOT = Path("/sys/fs/cgroup")


class Group(NamedTuple):
    """A container's groups: one folder (version 2), or for each controller one that may be missing (version 1)."""

    folders: tuple[Path, ...]

    @property
    def procs(self) -> tuple[str, ...]:
        """The files that a process writes "0" to in order to join what is there."""
        return tuple(str(folder / "cgroup.procs") for folder in self.folders if folder.exists())

    def remove(self, seconds: float = 2.0) -> None:
        """End what is still in it, then remove it. Best effort: a group that stays harms nobody."""
        deadline, pause = time.monotonic() + seconds, 0.0002
        for folder in self.folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        break
                    _kill(folder)
                    time.sleep(pause)
                    pause = min(2 * pause, 0.005)


def _kill(folder: Path) -> None:
    try:
        pids = (folder / "cgroup.procs").read_text().split()
    except OSError:
        return
    for pid in map(int, pids):
        if pid > 0:  # 0 stands for one that is just ending; to kill(2) it would be our own process group
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def _controllers() -> tuple[str, ...]:
    """What is mounted as version 1, in the order in which we use it."""
    return tuple(name for name in ("memory", "pids", "cpu") if (ROOT / name / "cgroup.procs").exists())


def unified() -> bool:
    """Whether version 2 has all controllers."""
    return (ROOT / "cgroup.controllers").exists()


def lacking(*, memory: bool, cpus: bool, pids: bool) -> tuple[str, ...]:
    """Which of these limits cannot be set here, by name. Cheap; makes nothing."""
    wanted = tuple(name for name, on in (("memory", memory), ("cpu", cpus), ("pids", pids)) if on)
    if unified():
        try:
            there = (ROOT / "cgroup.controllers").read_text().split() if os.access(ROOT, os.W_OK) else []
        except OSError:
            there = []
        return tuple(name for name in wanted if name not in there)
    here = [name for name in _controllers() if os.access(ROOT / name, os.W_OK)]
    return tuple(name for name in wanted if name not in here)


def group(name: str, only: str = "") -> Group:
    """The folders that a container of this name has or would have. only: the one controller that is wanted."""
    if unified():
        return Group((ROOT / PARENT / name,))
    return Group(tuple(ROOT / one / PARENT / name for one in _controllers() if only in ("", one)))


def create(name: str, *, memory: int | None, cpus: float | None, pids: int | None, only: str = "") -> Group:
    """Make the groups and set the limits: bytes, processors, processes. only: as in `group`. Raises OSError."""
    made = group(name, only)
    if unified():
        parent = ROOT / PARENT
        parent.mkdir(exist_ok=True)
        for folder in (ROOT, parent):
            for controller in ("memory", "cpu", "pids"):
                try:
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")
                except OSError:
                    pass  # what is then missing shows when the limit is written
    for file, value in _files(memory, cpus, pids).items():
        folder = _folder_of(file, made.folders)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(value)
    return made


def _folder_of(file: str, folders: tuple[Path, ...]) -> Path:
    """Which of the groups a setting belongs to: version 1 has a folder for each controller."""
    controller = file.partition(".")[0]
    for folder in folders:
        if unified() or folder.parts[len(ROOT.parts)] == controller:
            return folder
    raise FileNotFoundError(errno.ENOENT, "no such controller", file)


def procs_of(pid: int) -> tuple[str, ...]:
    """The `cgroup.procs` files of the groups that a process is in and we are not, where we may write them."""
    found = []
    try:
        with open(f"/proc/{pid}/cgroup") as theirs, open("/proc/self/cgroup") as ours:
            lines = set(theirs.read().splitlines()) - set(ours.read().splitlines())
    except OSError:
        return ()
    for line in sorted(lines):
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=") or ("" if unified() else "unified")
        file = ROOT / name / path.lstrip("/") / "cgroup.procs"
        if os.access(file, os.W_OK):
            found.append(str(file))
    return tuple(found)


def _files(memory: int | None, cpus: float | None, pids: int | None) -> Mapping[str, str]:
    files = {}
    if memory is not None:
        files["memory.max" if unified() else "memory.limit_in_bytes"] = str(memory)
    if cpus is not None:
        quota = max(1000, int(cpus * _PERIOD))
        files["cpu.max" if unified() else "cpu.cfs_quota_us"] = f"{quota} {_PERIOD}" if unified() else str(quota)
    if pids is not None:
        files["pids.max"] = str(pids)
    return files
