"""Image config and settled container settings become a RuntimeSpec. Pure: looks at no file and no machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import Hint, UsageError
from stackbuild.host.syscalls import CAPABILITIES
from stackbuild.run.spec import DEFAULT_CAPABILITIES, DEFAULT_PATH, Health, Limits, Mount, Port, RuntimeSpec

if TYPE_CHECKING:
    from pathlib import Path

    from stackbuild.stack.container_tables import Container
    from stackbuild.stack.stack import Stack


class Wanted(NamedTuple):
    """What settings say of a container, as values with a JSON form: laid over an image's config it is a RuntimeSpec.

    spec: all but what an image has a say in; a volume without a name has the source "". user: None: the image's.
    health: None: no check, even if the image has one; else fields of Health that were said, and with "kind" and "what"
    it is the container's own check.
    """

    spec: RuntimeSpec
    user: str | None
    health: Mapping[str, Any] | None

    def to_tree(self) -> dict[str, Any]:
        return {"spec": self.spec.to_json().decode(), "user": self.user, "health": self.health}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Wanted:
        """Raises ValueError or KeyError if it is not one."""
        return cls(RuntimeSpec.from_json(tree["spec"].encode()), tree["user"], tree["health"])


def wanted(container: Container, project: Path, soft: Sequence[str] = ()) -> Wanted:
    """Of settled settings, the engine's defaults in them. Raises UsageError.

    project: what relative volume paths are relative to. soft: names of settings that nobody asked for
    (RuntimeSpec.soft).
    """
    added, capabilities = _capabilities(container)
    spec = RuntimeSpec(
        name="",
        argv=(),
        env=dict(container.env),
        mounts=_mounts(container, project),
        ports=_ports(container),
        network=container.network,
        capabilities=capabilities,
        added=added,
        no_new_privs=container.no_new_privileges,
        read_only=container.read_only,
        limits=Limits(container.resources.memory, container.resources.cpus, container.resources.pids),
        rlimits={limit: (value.soft, value.hard) for limit, value in container.ulimits.items()},
        init=container.init,
        restart=container.restart,
        stop_grace=container.stop_grace_period,
        runtime=container.runtime,
        soft=tuple(soft),
    )
    return Wanted(spec, None if container.user is None else str(container.user), _health_said(container))


def runtime_spec(
    image: Mapping[str, Any],
    wanted: Wanted,
    name: str,
    *,
    digest: str = "",
    command: Sequence[str] = (),
    terminal: bool = False,
) -> RuntimeSpec:
    """User over image over engine: what to start.

    image: the OCI image config document, or its inner "config" object alone. digest: the image's, to know a changed
    one. command: replaces the image's Cmd. Raises UsageError.
    """
    config = image.get("config", image) or {}
    env = {"PATH": DEFAULT_PATH}
    env.update(one.partition("=")[::2] for one in config.get("Env") or ())
    env.update(wanted.spec.env)
    if terminal:
        env.setdefault("TERM", "xterm")
    return wanted.spec._replace(
        name=name,
        argv=_argv(config, command),
        env=env,
        cwd=config.get("WorkingDir") or "/",
        user=str(config.get("User") or "") if wanted.user is None else wanted.user,
        hostname=name[:63].rstrip("-"),
        mounts=_with_volumes(config, wanted.spec.mounts, name),
        terminal=terminal,
        health=_health(config, wanted.health),
        stop_signal=stop_signal(config.get("StopSignal") or "SIGTERM"),
        labels=dict(config.get("Labels") or {}),
        image=digest,
    )


def soft_settings(stack: Stack) -> tuple[str, ...]:
    """The limits that only the engine's defaults ask for (RuntimeSpec.soft)."""
    from stackbuild.settings.levels import Level

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


def _mounts(container: Container, project: Path) -> tuple[Mount, ...]:
    mounts = {}
    for tmpfs in container.tmpfs:
        mounts[_plain(tmpfs.target)] = Mount("tmpfs", _plain(tmpfs.target), size=tmpfs.size, mode=tmpfs.mode)
    for volume in container.volumes:
        target = _plain(volume.target)
        if volume.kind == "path":
            source = os.path.normpath(project / volume.source)
            mounts[target] = Mount("bind", target, source, volume.read_only)
        else:
            mounts[target] = Mount("volume", target, volume.source if volume.kind == "named" else "", volume.read_only)
    return tuple(mounts.values())


def _with_volumes(config: Mapping[str, Any], own: Sequence[Mount], name: str) -> tuple[Mount, ...]:
    """The mounts, and volumes where the image wants some and there is nothing else; an outer one before those in it."""
    mounts = {_plain(target): Mount("volume", _plain(target)) for target in config.get("Volumes") or ()}
    mounts.update((one.target, one) for one in own)
    named = (
        one if one.source or one.kind != "volume" else one._replace(source=_anonymous(name, one.target))
        for one in mounts.values()
    )
    return tuple(sorted(named, key=lambda one: one.target))


def _plain(path: str) -> str:
    return "/" + os.path.normpath(path).strip("/")


def _anonymous(name: str, target: str) -> str:
    """The volume of a target that has no name: the same one each time this container is made anew."""
    return f"{name}-{digest_of(target.encode())[7:15]}"


def _health_said(container: Container) -> dict[str, Any] | None:
    own = container.healthcheck
    if own is None:
        return {}
    if own.test == ("NONE",):
        return None
    times = ("interval", "timeout", "retries", "start_period")
    said: dict[str, Any] = {name: getattr(own, name) for name in times if getattr(own, name) is not None}
    if own.kind is not None:
        said |= {"kind": own.kind, "what": list(own.test or ()) if own.kind == "test" else [getattr(own, own.kind)]}
    return said


def _health(config: Mapping[str, Any], said: Mapping[str, Any] | None) -> Health | None:
    """The container's check, else the image's (Docker's extension of the config, times in nanoseconds)."""
    if said is None:
        return None
    if "kind" in said:
        return Health(**{**said, "what": tuple(said["what"])})
    image = config.get("Healthcheck") or {}
    test = tuple(image.get("Test") or ())
    if not test or test[0] == "NONE":
        return None
    names = {"interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod"}
    times = dict(said) | {key: image[theirs] / 1e9 for key, theirs in names.items() if image.get(theirs)}
    if image.get("Retries"):
        times["retries"] = image["Retries"]
    return Health("test", test, **times)
