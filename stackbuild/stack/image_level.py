"""The base image's own config (OCI image-spec, config.md) as a level of settings; reads no image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stackbuild.settings.flatten import RESET_KEY
from stackbuild.settings.levels import Level
from stackbuild.settings.setting import beneath
from stackbuild.stack.place import Place, Quoted, Saying
from stackbuild.stack.stack import Stack

INHERITED = (
    *("entrypoint", "cmd", "user", "workdir", "stop-signal"),
    *("env", "expose", "volumes", "labels", "healthcheck"),
)
"""The keys of `[image]` that are in an image's config document."""


def image_said(config: Mapping[str, Any], reference: str) -> Saying:
    """What a base image says.

    config: its config document, or the `config` object in it. reference: how the user calls the image.
    Whatever is not of the spec's type is left out here or refused by the models.
    """
    inner = config.get("config") if "rootfs" in config else config
    found: dict[str, Any] = dict(inner) if isinstance(inner, Mapping) else {}
    image: dict[str, Any] = {}
    for key, name in (("Entrypoint", "entrypoint"), ("Cmd", "cmd")):
        if _texts(found.get(key)):
            image[name] = list(found[key])
    if isinstance(found.get("User"), str) and found["User"]:
        image["user"] = found["User"]
    if isinstance(found.get("WorkingDir"), str) and found["WorkingDir"]:
        image["workdir"] = "/" + found["WorkingDir"].lstrip("/")
    if isinstance(found.get("StopSignal"), str) and found["StopSignal"]:
        image["stop-signal"] = found["StopSignal"].upper()
    if _texts(found.get("Env")):
        pairs = (entry.partition("=") for entry in found["Env"])
        image["env"] = {name: value for name, equals, value in pairs if equals and name}
    for key, name in (("ExposedPorts", "expose"), ("Volumes", "volumes")):
        if isinstance(found.get(key), Mapping):
            image[name] = list(found[key])
    if isinstance(found.get("Labels"), Mapping):
        image["labels"] = {str(name): str(value) for name, value in found["Labels"].items()}
    if isinstance(found.get("Healthcheck"), Mapping):
        image["healthcheck"] = _healthcheck(found["Healthcheck"])
    return Saying(Place(Level.IMAGE, reference), {"image": image} if image else {})


def base_stack_said(below: Stack) -> Saying:
    """What a base stack says: what would be in its image's config, each value from where its own files say it."""
    said = {key: value for key, value in below.tree.get("image", {}).items() if key in INHERITED}
    image = {
        key: {name: one for name, one in value.items() if name != RESET_KEY} if isinstance(value, Mapping) else value
        for key, value in said.items()
    }
    image = {key: value for key, value in image.items() if value}
    said_at = {path: setting.last.origin for path, setting in beneath(below.settings, ("image",)).items()}
    return Saying(Quoted(Level.IMAGE, below.name, said=said_at), {"image": image} if image else {})


def outline(below: Stack) -> Mapping[str, Any]:
    """All of a base stack that the settings on top of it depend on, as JSON values."""
    said = base_stack_said(below)
    origins = [[*path, str(origin)] for path, origin in cast(Quoted, said.place).said.items()]
    return {"image": said.tree.get("image"), "distro": below.distro, "name": below.name, "origins": origins}


def _healthcheck(found: Mapping[str, Any]) -> dict[str, Any]:
    """Docker's extension: times in nanoseconds, 0 is "not said"."""
    made: dict[str, Any] = {}
    if _texts(found.get("Test")):
        made["test"] = list(found["Test"])
    for key, name in (("Interval", "interval"), ("Timeout", "timeout"), ("StartPeriod", "start-period")):
        value = found.get(key)
        if isinstance(value, int) and value > 0:
            made[name] = value / 1e9
    if isinstance(found.get("Retries"), int) and found["Retries"] > 0:
        made["retries"] = found["Retries"]
    return made


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
