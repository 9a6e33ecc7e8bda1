"""All that a container needs before its first start, and that a restart finds ready. Runs in the supervisor.

The ports' sockets, the mount namespace and the tree, the network namespace, who the user is, the limits.
"""

from __future__ import annotations

import resource
import socket
from pathlib import Path
from typing import NamedTuple

from stackbuild.core.errors import Hint, HostError
from stackbuild.host import syscalls
from stackbuild.host.enter import attainable
from stackbuild.run import network, rootfs
from stackbuild.run.container import Container, Launch
from stackbuild.run.ports import listen
from stackbuild.run.runtimes.protocol import Box
from stackbuild.run.spec import Port, RuntimeSpec


class Prepared(NamedTuple):
    """listening: the published ports, on the host. helper: the process that carries its packets, or 0."""

    box: Box
    listening: tuple[tuple[Port, socket.socket], ...]
    helper: int
    notes: tuple[str, ...]


def prepare(container: Container, spec: RuntimeSpec, launch: Launch) -> Prepared:
    """From here on this process has a mount namespace and, unless it is the host's, a network of its own.

    Raises StackError.
    """
    limited, notes = _limits(spec)
    listening = () if spec.network == "host" else tuple(listen(spec.ports))  # there the service itself listens
    _private_mounts()
    root = rootfs.mount_root(container, launch)
    connected = _network(container, spec, launch)
    rootfs.network_files(container, spec, connected.address, connected.servers)
    if connected.note:
        notes += (f"the container has no way out of its network: {connected.note}",)
    return Prepared(_box(container, limited, launch, root), listening, connected.helper, notes)


def _limits(spec: RuntimeSpec) -> tuple[RuntimeSpec, tuple[str, ...]]:
    """With limits that we may set; our own one of open files is as high as it goes, for the ports."""
    limits = {"nofile": resource.getrlimit(resource.RLIMIT_NOFILE), **spec.rlimits}
    possible = {name: attainable(name, limit) for name, limit in limits.items()}
    notes = tuple(
        f"ulimits.{name} is {soft}:{hard}: more than that is not allowed here"
        for name, (soft, hard) in possible.items()
        if (soft, hard) != tuple(limits[name])
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, attainable("nofile", (1 << 20, 1 << 20)))
    return spec._replace(rlimits=possible), notes


def _private_mounts() -> None:
    """A mount namespace in which what we mount is seen by nobody else; what the host unmounts goes here too."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
    except OSError as error:
        raise HostError("cannot make a mount namespace", why=error.strerror or str(error)) from error


def _network(container: Container, spec: RuntimeSpec, launch: Launch) -> network.Network:
    if spec.network == "host":
        return network.Network()
    try:
        return network.isolate(spec.network, launch.programs, Path(launch.locks), container.path("network.json"))
    except OSError as error:
        raise HostError("cannot make a network for the container", why=str(error)) from error


def _box(container: Container, spec: RuntimeSpec, launch: Launch, root: Path) -> Box:
    who = rootfs.identity(root, spec.user)
    for name in ("/proc", "/dev", "/sys"):
        rootfs.place(root, name, folder=True)
    placed = rootfs.mounts(container, spec, launch, root)
    mounted = any(f"{spec.cwd}/".startswith(one.target.rstrip("/") + "/") for one in placed)
    cwd = spec.cwd if mounted else rootfs.place(root, spec.cwd, folder=True, owner=(who.uid, who.gid))
    return Box(
        container=container,
        spec=spec,
        programs=launch.programs,
        root=root,
        identity=who,
        placed=placed,
        env={"HOME": who.home, "HOSTNAME": spec.hostname or spec.name, **spec.env},
        cwd=cwd,
        seccomp=_filter(container) if spec.seccomp else b"",
        sysfs=_sysfs(container, spec),
        stdio=(0, 1, 2),
    )


def _filter(container: Container) -> bytes:
    """What was made with the container. Never b"", which would be no filter at all."""
    made = container.path("seccomp.bpf").read_bytes()
    if not made:
        raise HostError(
            f"the seccomp filter of {container.name} is empty", hints=(Hint("make it anew", "stackbuild up"),)
        )
    return made


def _sysfs(container: Container, spec: RuntimeSpec) -> str:
    """A sysfs that shows the container's network and not the host's; the host's own where that is its network."""
    if spec.network == "host":
        return "/sys"
    target = container.path("sys")
    target.mkdir(exist_ok=True)
    flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("sysfs", target, "sysfs", flags)
    except OSError:
        return ""
    return str(target)
