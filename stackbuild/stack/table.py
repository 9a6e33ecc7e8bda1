"""The base of all tables that a person writes, and the types of their values; no table itself.

The same models read one level (nothing is required) and the settled whole. A field whose default is
UNSAID is filled by stack/engine.toml, or is checked in stack/settle.py to be there: in a settled Stack it has a
value of the annotated type. A field typed `X | None` may be absent there too. An absent list or table is empty.
Only things that the user makes (a layer, an account, an entry of a list) have defaults here: no level could say them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict, WithJsonSchema

from stackbuild.core.modes import check_mode
from stackbuild.stack import quantities as q
from stackbuild.stack.request import Request, parse_request
from stackbuild.stack.settled import kebab

UNSAID: Any = None
T = TypeVar("T")
Several = Annotated[tuple[T, ...], Strict(False)]  # an array of TOML, as a value that nobody can change


class Table(BaseModel):
    """An unknown key is an error, a value never changes, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=kebab)


_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
}


def read_by(parse: Callable[[Any], Any], schema: str | tuple[str, ...]) -> Any:
    """pydantic's annotations for a value that `parse` reads from TOML. schema: JSON Schema's names of its types."""
    kinds = [schema] if isinstance(schema, str) else list(schema)
    types = tuple(kind for name in kinds for kind in _KINDS[name][0])

    def read(value: Any) -> Any:
        if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
            return parse(value)
        if len(kinds) == 1:
            return value  # pydantic's own finding is enough
        raise ValueError(f"it must be {' or '.join(_KINDS[name][1] for name in kinds)}")

    return BeforeValidator(read), WithJsonSchema({"type": kinds[0] if len(kinds) == 1 else kinds})


def text_of(value: str | int | float) -> str:
    """Text, or a number or boolean as the text that an environment variable holds ("true", "8080")."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and "\0" in value:
        raise ValueError("text may not hold NUL")
    return value if isinstance(value, str) else str(value)


def project_path(value: str) -> str:
    """A path relative to the project and inside it, as written. Lexical: links are the copy step's business."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path relative to the folder of the stack file is needed")
    if value.startswith(("/", "~")) or ".." in value.split("/"):
        raise ValueError(f'"{value}" leaves the project; name a path inside the folder of the stack file')
    return value


def matching(pattern: str, words: str) -> Callable[[Any], str]:
    """A check that text has a form; `words` say which."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f'"{value}" is not {words}')
        return value

    return check


def _capability(value: Any) -> str:
    name = str(value).upper().removeprefix("CAP_")
    if name != "ALL" and name not in _CAPABILITIES.split():
        raise ValueError(f'"{value}" is not a capability; capabilities(7) lists them, "ALL" is all')
    return name


def _plain(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("text that is not empty is needed")
    return value


def _line(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("text without NUL is needed")
    return value


_CAPABILITIES = (
    "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
    "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
    "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT "
    "SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
)

ACCOUNT = r"[a-zA-Z0-9_][a-zA-Z0-9_.\-]{0,31}\$?"

# Each name below is a type for mypy and a validator for pydantic: Annotated[type, how to read it].
Text = Annotated[str, *read_by(text_of, ("string", "number", "boolean"))]
Plain = Annotated[str, *read_by(_plain, "string")]
Argument = Annotated[str, *read_by(_line, "string")]
ProjectPath = Annotated[str, *read_by(project_path, "string")]
ContainerPath = Annotated[str, *read_by(q.container_path, "string")]
Owner = Annotated[
    str, *read_by(matching(rf"{ACCOUNT}(:{ACCOUNT})?", 'an owner; write "user", "user:group" or ids'), "string")
]
Account = Annotated[str, *read_by(matching(ACCOUNT, "the name of a user or group"), "string")]
Mode = Annotated[
    str,
    *read_by(
        lambda value: check_mode(oct(value)[2:].rjust(4, "0") if type(value) is int else value), ("string", "integer")
    ),
]
Sha256 = Annotated[str, *read_by(matching("[0-9a-f]{64}", "a SHA-256: 64 hexadecimal digits"), "string")]
Url = Annotated[
    str, *read_by(matching(r"(https?|file)://\S+|file:/\S+", "a URL (http://, https:// or file:///)"), "string")
]
ArchiveUrl = Annotated[
    str,
    *read_by(
        matching(
            r"(mirror\+)?(https?|file)://\S+|(mirror\+)?file:/\S+|mirror://\S+",
            "a URL (http://, https:// or file:///; of a mirror list: mirror+http://…)",
        ),
        "string",
    ),
]
VariableName = Annotated[
    str, *read_by(matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable"), "string")
]
Bytes = Annotated[int, *read_by(q.parse_bytes, ("string", "integer"))]
Seconds = Annotated[float, *read_by(q.parse_seconds, ("string", "number"))]
PublishedPort = Annotated[q.Port, *read_by(q.parse_port, ("string", "integer"))]
ExposedPort = Annotated[str, *read_by(q.parse_expose, ("string", "integer"))]
VolumeMount = Annotated[q.Volume, *read_by(q.parse_volume, "string")]
TmpfsMount = Annotated[q.Tmpfs, *read_by(q.parse_tmpfs, "string")]
PackageRequest = Annotated[Request, *read_by(parse_request, "string")]
Capability = Annotated[str, *read_by(_capability, "string")]

Variables = Mapping[str, Text]
