"""How much memory a build may borrow, and a file system in it. Measures; decides nothing."""

from __future__ import annotations

import os
from pathlib import Path

from stackbuild.host.overlay import unmount, xattr_prefix
from stackbuild.host.syscalls import mount

_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Of the control group that a container shows as the root, version 2 and 1."""


def spare() -> int:
    """Bytes that nobody uses: of the machine, and of the container that we may be in. 0 if it cannot be told."""
    try:
        with open("/proc/meminfo") as file:
            left = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return 0
    for limit, used in _LIMITS:
        try:
            left = min(left, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # there is none ("max"), or no such file
            continue
    return max(left, 0)


def in_memory(folder: Path, size: int) -> bool:
    """Mount a file system in memory, of `size` bytes at most, at an empty folder.

    False, and no mount, where such a one cannot hold all that a layer may.
    """
    try:
        mount("tmpfs", folder, "tmpfs", 0, f"mode=0700,size={size}")
    except OSError:
        return False
    probe = folder / "probe"
    try:
        probe.touch()
        for name in (xattr_prefix() + "probe", "user.probe"):  # the latter since Linux 6.6
            os.setxattr(probe, name, b"y")
        probe.unlink()
        return True
    except OSError:
        unmount(folder)
        return False
