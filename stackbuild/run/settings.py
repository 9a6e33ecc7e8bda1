"""Image config and settled container settings become a RuntimeSpec. Pure: looks at no file and no machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import Hint, UsageError
from stackbuild.host.syscalls import CAPABILITIES
from stackbuild.run.spec import DEFAULT_CAPABILITIES, DEFAULT_PATH, Health, Limits, Mount, Port, RuntimeSpec
from stackbuild.settings.levels import Level
from stackbuild.stack.stack import Stack

if TYPE_CHECKING:
    from stackbuild.stack.container_tables import Container


def runtime_spec(
    image: Mapping[str, Any],
    container: Container,
    name: str,
    *,
    project: Path,
    digest: str = "",
    command: Sequence[str] = (),
    terminal: bool = False,
    soft: Sequence[str] = (),
) -> RuntimeSpec:
    """User over image over engine: what to start.

    image: the OCI image config document, or its inner "config" object alone. container: settled, the engine's
    defaults in it. project: what relative volume paths are relative to. digest: the image's, to know a changed
    one. command: replaces the image's Cmd. soft: names of settings that nobody asked for (RuntimeSpec.soft).
    Raises UsageError.
    """
    config = image.get("config", image) or {}
    env = {"PATH": DEFAULT_PATH}
    env.update(one.partition("=")[::2] for one in config.get("Env") or ())
    env.update(container.env)
    if terminal:
        env.setdefault("TERM", "xterm")
    added, capabilities = _capabilities(container)
    return RuntimeSpec(
        name=name,
        argv=_argv(config, command),
        env=env,
        cwd=config.get("WorkingDir") or "/",
        user=str(container.user if container.user is not None else config.get("User") or ""),
        hostname=name[:63].rstrip("-"),
        mounts=_mounts(config, container, project, name),
        ports=_ports(container),
        network=container.network,
        capabilities=capabilities,
        added=added,
        no_new_privs=container.no_new_privileges,
        read_only=container.read_only,
        limits=Limits(container.resources.memory, container.resources.cpus, container.resources.pids),
        rlimits={limit: (value.soft, value.hard) for limit, value in container.ulimits.items()},
        init=container.init,
        terminal=terminal,
        health=_health(config, container),
        restart=container.restart,
        stop_signal=stop_signal(config.get("StopSignal") or "SIGTERM"),
        stop_grace=container.stop_grace_period,
        labels=dict(config.get("Labels") or {}),
        runtime=container.runtime,
        image=digest,
        soft=tuple(soft),
    )


def soft_settings(stack: Stack) -> tuple[str, ...]:
    """The limits that only the engine's defaults ask for (RuntimeSpec.soft)."""
    limits = ("resources.memory", "resources.cpus", "resources.pids")
    return tuple(one for one in limits if stack.origin("container", *one.split(".")).level == Level.ENGINE.value)


def _argv(config: Mapping[str, Any], command: Sequence[str]) -> tuple[str, ...]:
    argv = (*(config.get("Entrypoint") or ()), *(command or config.get("Cmd") or ()))
    if not argv:
        raise UsageError(
            "the image says no command to run",
            hints=(Hint('set image.entrypoint or image.cmd in stack.toml, such as cmd = ["nginx"]'),),
        )
    return argv


def _ports(container: Container) -> tuple[Port, ...]:
    ports = tuple(Port(p.container_port, p.host_port, p.host_ip, p.protocol) for p in container.ports)
    if ports and container.network == "none":
        raise UsageError(
            'ports cannot be published with network = "none"', hints=(Hint('use network = "private", or no ports'),)
        )
    if container.network == "host":
        for port in ports:
            if port.host_port not in (0, port.container_port):
                raise UsageError(
                    f'port {port.container_port} cannot become {port.host_port} with network = "host"',
                    why="the service listens on the host itself",
                    hints=(Hint('use network = "private", or the same number on both sides'),),
                )
        return tuple(port._replace(host_port=port.container_port) for port in ports)
    return ports


def stop_signal(text: str | int) -> int:
    """The number of "SIGQUIT", "QUIT", "3". Raises UsageError."""
    word = str(text).upper()
    if word.isdigit() and 0 < int(word) < signal.NSIG:
        return int(word)
    found = getattr(signal.Signals, word if word.startswith("SIG") else "SIG" + word, None)
    if found is None:
        raise UsageError(f"`{text}` is not a signal", hints=(Hint("such as SIGTERM, SIGQUIT or 15"),))
    return int(found)


def _capabilities(container: Container) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(those asked for, all that the container has): the default set without cap-drop, then with cap-add."""
    added = [one.upper().removeprefix("CAP_") for one in container.cap_add]
    dropped = [one.upper().removeprefix("CAP_") for one in container.cap_drop]
    for one in (*added, *dropped):
        if one != "ALL" and one not in CAPABILITIES:
            raise UsageError(f"`{one}` is not a capability", hints=(Hint("their names are in capabilities(7)"),))
    if "ALL" in added:
        added = list(CAPABILITIES)
    kept = () if "ALL" in dropped else (one for one in DEFAULT_CAPABILITIES if one not in dropped)
    whole = {*kept, *(one for one in added if one not in dropped)}
    in_order = tuple(one for one in CAPABILITIES if one in whole)
    return tuple(one for one in in_order if one in added), in_order


def _mounts(config: Mapping[str, Any], container: Container, project: Path, name: str) -> tuple[Mount, ...]:
    mounts = {}
    for target in sorted(config.get("Volumes") or {}):
        mounts[_plain(target)] = Mount("volume", _plain(target), _anonymous(name, target))
    for tmpfs in container.tmpfs:
        mounts[_plain(tmpfs.target)] = Mount("tmpfs", _plain(tmpfs.target), size=tmpfs.size, mode=tmpfs.mode)
    for volume in container.volumes:
        target = _plain(volume.target)
        if volume.kind == "path":
            source = os.path.normpath(project / volume.source)
            mounts[target] = Mount("bind", target, source, volume.read_only)
        else:
            source = volume.source if volume.kind == "named" else _anonymous(name, target)
            mounts[target] = Mount("volume", target, source, volume.read_only)
    return tuple(mounts[target] for target in sorted(mounts))  # an outer one before those within it


def _plain(path: str) -> str:
    return "/" + os.path.normpath(path).strip("/")


def _anonymous(name: str, target: str) -> str:
    """The volume of a target that has no name: the same one each time this container is made anew."""
    return f"{name}-{digest_of(target.encode())[7:15]}"


def _health(config: Mapping[str, Any], container: Container) -> Health | None:
    """The container's check, else the image's (Docker's extension of the config, times in nanoseconds)."""
    own = container.healthcheck
    if own is not None and own.test == ("NONE",):
        return None
    said = {} if own is None else {"interval": own.interval, "timeout": own.timeout, "retries": own.retries}
    if own is not None:
        said["start_period"] = own.start_period
    times: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if own is not None and own.kind is not None:
        what = own.test if own.kind == "test" else (getattr(own, own.kind),)
        return Health(own.kind, tuple(what or ()), **times)
    image = config.get("Healthcheck") or {}
    test = tuple(image.get("Test") or ())
    if not test or test[0] == "NONE":
        return None
    names = {"interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod"}
    times.update({key: image[theirs] / 1e9 for key, theirs in names.items() if image.get(theirs)})
    if image.get("Retries"):
        times["retries"] = image["Retries"]
    return Health("test", test, **times)
