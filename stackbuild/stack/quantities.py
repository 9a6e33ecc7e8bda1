"""The small languages inside values ("256MiB", "2s", "8080:80/udp", "./data:/srv:ro"): text in, numbers and parts out.

All parsers raise ValueError with words for the user. No pydantic, no files.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from stackbuild.core.modes import apply_mode, check_mode

__all__ = [
    "Port",
    "Tmpfs",
    "Ulimit",
    "Volume",
    "apply_mode",
    "check_mode",
    "parse_bytes",
    "parse_expose",
    "parse_port",
    "parse_seconds",
    "parse_tmpfs",
    "parse_ulimit",
    "parse_volume",
]

_BYTES = re.compile(r"(\d+(?:\.\d+)?) *([a-zA-Z]*)\Z")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS[_letter] = _UNITS[_letter + "ib"] = 1024**_power  # Docker's "m" is MiB too
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ms|s|m|h|d)")


def parse_bytes(value: str | int) -> int:
    """Bytes of 1024, "256MiB" (1024²), "256MB" (1000²), "256m" (Docker's: 1024²)."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError('a size is a number of bytes or text such as "256MiB"')
    if isinstance(value, int):
        size = value
    else:
        found = _BYTES.match(value.strip())
        unit = _UNITS.get(found[2].lower()) if found else None
        if found is None or unit is None:
            raise ValueError(f'not a size: "{value}"; write "256MiB", "1.5GiB" or a number of bytes')
        size = int(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit
    if not 0 <= size < 1 << 62:
        raise ValueError(f"not a size: {value}")
    return size


def parse_seconds(value: str | int | float) -> float:
    """Seconds of 2, 0.5, "2s", "1m30s", "500ms"."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError('a time is a number of seconds or text such as "1m30s"')
    if isinstance(value, str):
        text = value.strip()
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f'not a time: "{value}"; write "500ms", "2s" or "1m30s"')
        value = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= value < 1e9:
        raise ValueError(f"not a time: {value}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Port:
    """A published port. host_port 0: any free one. host_ip "": all addresses of the host."""

    container_port: int
    host_port: int
    host_ip: str = ""
    protocol: str = "tcp"

    @property
    def name(self) -> str:
        """What it merges by: "8080/tcp"."""
        return f"{self.container_port}/{self.protocol}"


def _number(text: str) -> int:
    if "-" in text:
        raise ValueError(f'ranges of ports are not supported: "{text}"; list each port')
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError(f'not a port: "{text}" (1 to 65535)')
    return int(text)


def _protocol(text: str) -> tuple[str, str]:
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp"):
        raise ValueError(f'not a protocol: "{protocol}" (tcp or udp)')
    return rest, protocol


def parse_port(value: str | int) -> Port:
    """As docker's -p: "80", "8080:80", "127.0.0.1:8080:80/udp", "[::1]:8080:80", "127.0.0.1::80"."""
    rest, protocol = _protocol(str(value).strip())
    before, _, container = rest.rpartition(":")
    address, _, host = before.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if address:
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            raise ValueError(f'not an address: "{address}" in "{value}"; write "127.0.0.1:8080:80"') from None
    return Port(_number(container), _number(host) if host else 0, address, protocol)


def parse_expose(value: str | int) -> str:
    """ "8080/tcp" of 8080, "8080", "8080/tcp"; as keys of ExposedPorts in the OCI image config."""
    if isinstance(value, bool):
        raise ValueError("not a port")
    number, protocol = _protocol(str(value).strip())
    return f"{_number(number)}/{protocol}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A mount of a container. kind "path": `source` is a path of the host (relative: to the project);
    "named": a volume of the store; "anonymous": a new volume, source ""."""

    source: str
    target: str
    read_only: bool = False
    kind: str = "path"


def container_path(value: str) -> str:
    """An absolute path inside an image or container, as written. No "..", no NUL."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f'"{value}" must be an absolute path, such as "/srv/www"')
    if ".." in value.split("/"):
        raise ValueError(f'"{value}" may not hold ".."')
    if "\0" in value or "\n" in value:
        raise ValueError(f"a path may not hold NUL or a line break: {value!r}")
    return value


def parse_volume(value: str) -> Volume:
    """As docker's -v: "./data:/srv/data:ro", "cache:/var/cache", "/var/lib/data"."""
    parts = value.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError(f'not a volume: "{value}"; write "./data:/srv/data:ro" or "name:/srv/data"')
    options = parts.pop() if len(parts) == 3 else ""
    if options not in ("", "ro", "rw"):
        raise ValueError(f'not an option of a volume: "{options}" (ro or rw)')
    target = container_path(parts[-1])
    if target.strip("/") == "":
        raise ValueError("a volume cannot be mounted on /")
    if len(parts) == 1:
        return Volume("", target, False, "anonymous")
    source = parts[0]
    if source.startswith(("/", "./", "../")) or source in (".", ".."):
        return Volume(source, target, options == "ro", "path")
    if re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", source):
        return Volume(source, target, options == "ro", "named")
    raise ValueError(f'not a volume: "{value}"; a path starts with "/" or "./", a name has letters, digits and _.-')


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A file system in memory. size in bytes, None: the kernel's default (half of the memory)."""

    target: str
    size: int | None = None
    mode: int = 0o1777


def parse_tmpfs(value: str) -> Tmpfs:
    """As docker's --tmpfs: "/run", "/run:size=64m,mode=0755"."""
    target, _, options = value.partition(":")
    size, mode = None, 0o1777
    for option in filter(None, options.split(",")):
        key, _, text = option.partition("=")
        if key == "size":
            size = parse_bytes(text)
        elif key == "mode" and re.fullmatch("[0-7]{3,4}", text):
            mode = int(text, 8)
        else:
            raise ValueError(f'not an option of tmpfs: "{option}" (size=64m, mode=1777)')
    if container_path(target).strip("/") == "":
        raise ValueError("a tmpfs cannot be mounted on /")
    return Tmpfs(target, size, mode)


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit of setrlimit(2); -1 is unlimited."""

    soft: int
    hard: int


def parse_ulimit(value: object) -> Ulimit:
    """1024, "1024:2048", "unlimited". Raises ValueError."""
    words = str(value).split(":")
    if len(words) > 2 or not all(re.fullmatch(r"[0-9]{1,18}|-1|unlimited", word) for word in words):
        raise ValueError(f'not a limit: "{value}"; write 1024, "1024:2048" or "unlimited"')
    numbers = [-1 if word == "unlimited" else int(word) for word in words]
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(f'"{value}": the soft limit is above the hard one')
    return Ulimit(soft, hard)
