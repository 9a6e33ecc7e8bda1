"""RuntimeSpec: all that a container is started with, as one value with a JSON form. Decides nothing, imports little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from stackbuild.core.values import plain

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("NET_BIND_SERVICE", "SYS_CHROOT", "SETFCAP"),
)
"""What containers-common gives, in the order of their numbers."""
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Mount(NamedTuple):
    """kind "bind": `source` is an absolute path of the host; "volume": the name of a volume of the store;
    "tmpfs": size in bytes (None: the kernel's default), mode of its root. target: absolute, in the container."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    size: int | None = None
    mode: int = 0o1777


class Port(NamedTuple):
    """A published port. host_port 0: any free one. host_ip "": all addresses. protocol: tcp | udp."""

    container_port: int
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "tcp"

    def __str__(self) -> str:
        address = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "0.0.0.0"
        return f"{address}:{self.host_port}->{self.container_port}/{self.protocol}"


class Health(NamedTuple):
    """A check. kind "http": (URL,); "tcp": (host:port,); "test": ("CMD", argv…) or ("CMD-SHELL", line). Seconds."""

    kind: str
    what: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0


class Limits(NamedTuple):
    """memory in bytes; cpus in processors; pids: processes and threads; None: unlimited."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None


class RuntimeSpec(NamedTuple):
    """What a container is: pure, no path of the store, so two equal ones are the same container.

    user: "name|uid[:name|gid]", looked up in the tree when it starts. restart: no | always | on-failure[:N] |
    unless-stopped. added: capabilities that were asked for, which a user other than root gets too.
    soft: settings that are the engine's own defaults: a runtime that lacks them leaves them out and says so.
    image: digest of the manifest, or "".
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = {}
    cwd: str = "/"
    user: str = ""
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    network: str = "private"
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    added: tuple[str, ...] = ()
    seccomp: bool = True
    no_new_privs: bool = True
    masked: tuple[str, ...] = MASKED_PATHS
    read_only_paths: tuple[str, ...] = READ_ONLY_PATHS
    read_only: bool = False
    limits: Limits = Limits()
    rlimits: Mapping[str, tuple[int, int]] = {}
    init: bool = True
    terminal: bool = False
    health: Health | None = None
    restart: str = "no"
    stop_signal: int = 15
    stop_grace: float = 10.0
    labels: Mapping[str, str] = {}
    runtime: str = "auto"
    image: str = ""
    soft: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Canonical: keys sorted."""
        return json.dumps(plain(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RuntimeSpec:
        """Raises ValueError if it is not one."""
        try:
            tree: dict[str, Any] = json.loads(data)
            tree["mounts"] = tuple(Mount(**one) for one in tree["mounts"])
            tree["ports"] = tuple(Port(**one) for one in tree["ports"])
            health = tree["health"]
            tree["health"] = Health(**{**health, "what": tuple(health["what"])}) if health else None
            tree["limits"] = Limits(**tree["limits"])
            tree["rlimits"] = {name: (soft, hard) for name, (soft, hard) in tree["rlimits"].items()}
            for name in ("argv", "capabilities", "added", "masked", "read_only_paths", "soft"):
                tree[name] = tuple(tree[name])
            return cls(**tree)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a runtime spec: {error!r}") from error
