"""From a built image to its running container: what `up` does after `build`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.events import Note

if TYPE_CHECKING:
    from pathlib import Path

    from stackbuild.cli.wiring import App
    from stackbuild.run.lifecycle import Started
    from stackbuild.run.spec import RuntimeSpec
    from stackbuild.stack.stack import Stack


def start_project(app: App, args: Namespace) -> Started:
    """Build (unless --no-build) and see to it that the project's container runs the image as settled."""
    from stackbuild.run.lifecycle import up

    spec, folders = _last_image(app) if args.no_build else _built_image(app, args)
    return up(spec, folders, app.paths, app.listener)


def _built_image(app: App, args: Namespace) -> tuple[RuntimeSpec, list[Path]]:
    from stackbuild.build.image import folders_of
    from stackbuild.cli.building import build, prepare

    work = prepare(app, again=args.always_make, locked=args.locked, args=args)
    image = build(app, work, args)
    assert image is not None  # no targets were given
    return _spec(app, work.stack, image.config, image.digest), folders_of(image, work.tools)


def _last_image(app: App) -> tuple[RuntimeSpec, list[Path]]:
    from stackbuild.cli.base_image import image_config_and_folders

    stack = app.stack()
    name = f"{stack.name}:latest"
    if not any(tag == name for tag, _ in _tags(app)):
        raise UsageError(f"{name} was never built", hints=[Hint("build it", "stackbuild build")])
    digest, config, folders = image_config_and_folders(app, name)
    return _spec(app, stack, config, digest), folders


def _tags(app: App) -> Any:
    return app.layout.images() if (app.layout.path / "index.json").exists() else ()


def _spec(app: App, stack: Stack, config: Any, digest: str) -> RuntimeSpec:
    """User over image over engine."""
    from stackbuild.run.settings import runtime_spec

    return runtime_spec(
        config, stack.container, app.container_name(), project=stack.project, digest=digest, soft=engine_defaults(stack)
    )


def engine_defaults(stack: Stack) -> list[str]:
    """Keys of `container` that nobody set: "resources.pids"."""
    return [
        ".".join(path[1:])
        for path, setting in stack.settings.items()
        if path[0] == "container" and setting.last.origin.level == "engine"
    ]


@dataclass(frozen=True)
class Reachable:
    """What `up -d` prints."""

    name: str
    how: str
    addresses: tuple[str, ...]

    def to_text(self) -> str:
        where = f" at {', '.join(self.addresses)}" if self.addresses else ""
        return f"{self.name} is running{where}"

    def to_json(self) -> Any:
        return {"v": 1, "name": self.name, "how": self.how, "addresses": list(self.addresses)}


def tell_where(app: App, started: Started) -> None:
    """The container's name and where its published ports are, on stdout."""
    if started.how == "unchanged":
        app.listener(Note(f"{started.container.name} is already running, and nothing has changed"))
    app.show(Reachable(started.container.name, started.how, addresses(started)))


def addresses(started: Started) -> tuple[str, ...]:
    """A URL for each published TCP port, as somebody on this machine would type it."""
    found = []
    for port in started.container.state().ports:
        host = "localhost" if port.host_ip in ("", "0.0.0.0", "::") else port.host_ip
        place = f"{host}:{port.host_port}"
        found.append(f"http://{place}/" if port.protocol == "tcp" else f"{place}/{port.protocol}")
    return tuple(found)


def attach_to(app: App, started: Started) -> int:
    """Stream its log until it ends; Ctrl-C stops it. Returns the container's own exit code."""
    from stackbuild.core.events import ContainerStateChanged, Event
    from stackbuild.run.watch import attach

    def listen(event: Event) -> None:
        app.listener(event)
        if isinstance(event, ContainerStateChanged) and event.state == "healthy":
            app.listener(Note(f"{started.container.name} is healthy at {', '.join(addresses(started)) or 'no port'}"))

    since = None if started.how != "unchanged" else 0.0
    return attach(started.container, write_log, listen, since=since)


def write_log(stream: str, data: bytes) -> None:
    """Bytes of a container's log to our own stdout or stderr, as they are."""
    out = sys.stdout if stream == "stdout" else sys.stderr
    out.flush()
    view = memoryview(data)
    while view:
        view = view[os.write(out.fileno(), view) :]
