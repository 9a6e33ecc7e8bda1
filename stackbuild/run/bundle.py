"""A Box becomes the config.json of an OCI bundle (runtime-spec 1.0). Pure, but for what of /proc is there."""

from __future__ import annotations

from typing import Any

from stackbuild.host.cgroups import PARENT
from stackbuild.host.seccomp import oci_profile
from stackbuild.run.rootfs import Placed
from stackbuild.run.runtimes.protocol import Box, rights

_PERIOD = 100_000
_DEV = ["nosuid", "strictatime", "mode=755", "size=65536k"]


def config(box: Box, *, init: int = 0, rootless: bool = False, limits: bool = True) -> dict[str, Any]:
    """The document. init: process 1 of the PID namespace to join, 0: make a new one. limits: set them."""
    spec = box.spec
    linux: dict[str, Any] = {
        "namespaces": [
            {"type": "pid", **({"path": f"/proc/{init}/ns/pid"} if init else {})},
            *({"type": kind} for kind in ("ipc", "uts", "mount", "cgroup")),  # the network is this process's own
        ],
        "maskedPaths": list(spec.masked),
        "readonlyPaths": list(spec.read_only_paths),
    }
    if limits:
        linux["resources"] = _resources(box)
        linux["cgroupsPath"] = f"/{PARENT}/{box.container.group}"
    if box.seccomp:
        linux["seccomp"] = oci_profile(spec.capabilities)
    return {
        "ociVersion": "1.0.2",
        "process": _process(box),
        "root": {"path": str(box.root), "readonly": spec.read_only},
        "hostname": spec.hostname or spec.name,
        "mounts": [*_system_mounts(box, rootless), *map(_mount, box.placed)],
        "linux": linux,
    }


def _process(box: Box) -> dict[str, Any]:
    spec, who = box.spec, box.identity
    may = rights(spec, who.uid, b"")
    sets = {"bounding": may.bounding, "effective": may.effective, "permitted": may.effective}
    sets |= {"inheritable": may.ambient, "ambient": may.ambient}
    return {
        "terminal": spec.terminal,
        "user": {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups), "umask": 0o022},
        "args": list(spec.argv),
        "env": [f"{name}={value}" for name, value in box.env.items()],
        "cwd": box.cwd,
        "capabilities": {kind: [f"CAP_{name}" for name in names] for kind, names in sets.items()},
        "rlimits": [
            {"type": f"RLIMIT_{name.upper()}", "soft": soft & (2**64 - 1), "hard": hard & (2**64 - 1)}
            for name, (soft, hard) in sorted(spec.rlimits.items())
        ],
        "noNewPrivileges": spec.no_new_privs,
    }


def _system_mounts(box: Box, rootless: bool) -> list[dict[str, Any]]:
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": _DEV},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
    ]
    if box.sysfs:
        options = ["rbind" if rootless else "bind", "nosuid", "noexec", "nodev", "ro"]
        mounts.append({"destination": "/sys", "type": "bind", "source": box.sysfs, "options": options})
    return mounts


def _mount(placed: Placed) -> dict[str, Any]:
    if placed.tmpfs is not None:
        options = ["nosuid", "nodev", f"mode={placed.tmpfs.mode:o}"]
        options += [] if placed.tmpfs.size is None else [f"size={placed.tmpfs.size}"]
        return {"destination": placed.target, "type": "tmpfs", "source": "tmpfs", "options": options}
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro" if placed.read_only else "rw"]
    return {"destination": placed.target, "type": "bind", "source": placed.source, "options": options}


def _resources(box: Box) -> dict[str, Any]:
    limits = box.spec.limits
    devices = [("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 0), ("c", 5, 2)]
    allowed = [{"allow": True, "type": t, "major": a, "minor": b, "access": "rwm"} for t, a, b in devices]
    found: dict[str, Any] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            *allowed,
            {"allow": True, "type": "c", "major": 136, "access": "rwm"},
        ]
    }
    if limits.memory is not None:
        found["memory"] = {"limit": limits.memory}
    if limits.cpus is not None:
        found["cpu"] = {"quota": max(1000, int(limits.cpus * _PERIOD)), "period": _PERIOD}
    if limits.pids is not None:
        found["pids"] = {"limit": limits.pids}
    return found
