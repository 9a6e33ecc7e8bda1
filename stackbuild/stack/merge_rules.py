"""Which lists of a stack merge by which name, and of which keys exactly one may stand; merging itself is settings/."""

from __future__ import annotations

from typing import Any

from stackbuild.settings.flatten import Rules
from stackbuild.stack import quantities as q
from stackbuild.stack.request import parse_request
from stackbuild.stack.stack import source_name


def _source(item: Any) -> str:
    return source_name(item["url"], item.get("suites", []))


def _own(item: Any) -> str:
    return str(item["name"])


def _port(item: Any) -> str:
    return q.parse_port(item).name


def _target(item: Any) -> str:
    return q.parse_volume(item).target if ":" in item else q.container_path(item)


RULES = Rules(
    names={
        ("packages", "install"): lambda item: parse_request(item).name,
        ("packages", "source"): _source,
        ("sources", "*"): _source,
        ("layer",): _own,
        ("stages", "*", "packages", "install"): lambda item: parse_request(item).name,
        ("stages", "*", "packages", "source"): _source,
        ("stages", "*", "layer"): _own,
        ("image", "expose"): q.parse_expose,  # a map in the OCI config: they add up, as in Docker
        ("image", "volumes"): lambda item: q.container_path(item).rstrip("/") or "/",
        ("container", "ports"): _port,
        ("container", "volumes"): _target,
        ("container", "tmpfs"): lambda item: q.parse_tmpfs(item).target,
    },
    choices={
        ("base",): ("distro", "image", "stack", "scratch"),
        ("layer", "*"): ("copy", "files", "remove", "fetch", "run"),
        ("stages", "*", "base"): ("distro", "image", "stack", "scratch"),
        ("stages", "*", "layer", "*"): ("copy", "files", "remove", "fetch", "run"),
        ("container", "healthcheck"): ("http", "tcp", "test"),
    },
)

UNIQUE = (
    ("layer",),
    ("stages", "*", "layer"),
    ("container", "ports"),
    ("container", "volumes"),
    ("container", "tmpfs"),
)
"""Lists in which one file may say a name once only. (Of two requests for one package the later replaces.)"""
