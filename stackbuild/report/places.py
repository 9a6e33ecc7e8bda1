"""Where in the user's files a reason stands: at the setting, if the stack is known, else where the step does."""

from __future__ import annotations

from collections.abc import Iterable

from stackbuild.core.origin import Origin
from stackbuild.plan.forecast import Outlook
from stackbuild.plan.reasons import Reason
from stackbuild.stack.stack import Stack

IMAGE = {
    "Env": "env",
    "Entrypoint": "entrypoint",
    "Cmd": "cmd",
    "User": "user",
    "WorkingDir": "workdir",
    "ExposedPorts": "expose",
    "Volumes": "volumes",
    "StopSignal": "stop-signal",
    "Labels": "labels",
}
TABLES = ("env", "labels", "annotations")
SETTINGS = {
    "compression": ("image", "compression"),
    "epoch": ("image", "source-date-epoch"),
    "debconf": ("packages", "debconf"),
    "generated": ("packages", "generated"),
    "exclude": ("packages", "path-exclude"),
    "include": ("packages", "path-include"),
}


def place(stack: Stack | None, outlook: Outlook, reason: Reason) -> Origin | None:
    """The origin of the setting that a reason names; None for what is no setting (a file, a package's version)."""
    if reason.name in outlook.inputs.reads or reason.name == "builder version":
        return None
    if reason.before is None and reason.after is None:
        return None
    key = _key(outlook, reason)
    found = stack.origin(*key) if key and stack else outlook.step.origin
    return found if found and found.line else None


def called(name: str) -> str:
    """The name of a thing that was hashed, as stack.toml calls it: "image.env.TZ" for "image.config.Env.TZ"."""
    first, *rest = name.split(".")
    if first == "image" and rest[:1] == ["config"] and len(rest) > 1 and rest[1] in IMAGE:
        return ".".join(["image", IMAGE[rest[1]], *rest[2:]])
    return ".".join(["run", *rest]) if first == "script" else name


def _key(outlook: Outlook, reason: Reason) -> tuple[str, ...]:
    """The key in stack.toml; () if the step's own origin is the best that is known."""
    first, *rest = reason.name.split(".")
    if outlook.step.kind == "assemble":
        kind, *more = called(reason.name).split(".")[1:] or [""]
        if kind not in TABLES or not more:
            return ("image", kind) if kind in IMAGE.values() else ()
        return ("image", kind, ".".join(more)) if reason.after is not None else ()
    if outlook.step.kind == "users" and first == "users" and rest:
        return ("users", rest[0])
    if first == "packages" and len(rest) > 1:
        # The version is the lock's; that the package is there at all is a request's doing.
        return ("packages", "install") if reason.before is None or reason.after is None else ()
    if outlook.step.kind in ("copy", "files", "facet", "remove", "run") and first not in ("compression", "epoch"):
        return ()
    return SETTINGS.get(first, ())


def places(stack: Stack | None, outlook: Outlook, reasons: Iterable[Reason]) -> tuple[str, ...]:
    """ "stack.toml:12" for each setting that the reasons name, each once."""
    found = (place(stack, outlook, reason) for reason in reasons)
    return tuple(dict.fromkeys(f"{origin.file or origin.level}:{origin.line}" for origin in found if origin))
