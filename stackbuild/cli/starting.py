"""From a built image to its running container: what `up` does after `build`."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from stackbuild.core.errors import Hint, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from stackbuild.cli.wiring import App
    from stackbuild.core.digest import Digest
    from stackbuild.run.lifecycle import Started
    from stackbuild.run.spec import RuntimeSpec
    from stackbuild.stack.stack import Stack


Ready = tuple["RuntimeSpec", list["Path"]]
"""What is to run, and the unpacked layers of its image, lowest first."""


def get_ready(app: App, args: Namespace) -> Ready:
    """Build (unless --no-build): the spec of the project's container and its image's layers."""
    return _last_image(app) if args.no_build else _built_image(app, args)


def start(app: App, args: Namespace, ready: Ready) -> Started:
    """See to it that the project's container runs the image as settled."""
    from stackbuild.cli.fast import remember_container
    from stackbuild.run.lifecycle import up

    started = up(*ready, app.paths, app.listener)
    remember_container(args, app.environ, started.container)
    return started


def _built_image(app: App, args: Namespace) -> Ready:
    from stackbuild.build.image import folders_of
    from stackbuild.cli.building import build_then, prepare

    app.stack()
    app.workers.warm()
    work = prepare(app, again=args.always_make, locked=args.locked, args=args)
    done = build_then(app, work, args, lambda now, image: folders_of(image, now.tools))
    assert done is not None  # no targets were given
    image, folders = done
    return _spec(app, work.stack, image.config, image.digest), folders


def last_build(app: App, stack: str) -> tuple[str, Digest]:
    """Name and digest of the image in the store of the stack of that name. Raises UsageError if there is none."""
    name = f"{stack}:latest"
    for tag, descriptor in app.images():
        if tag == name:
            return name, descriptor.digest
    raise UsageError(f"{name} was never built", hints=[Hint("build it", "stackbuild build")])


def _last_image(app: App) -> Ready:
    from stackbuild.cli.base_image import image_config_and_folders

    stack = app.stack()
    app.protect()
    name, _ = last_build(app, stack.name)
    digest, config, folders = image_config_and_folders(app, name)
    return _spec(app, stack, config, digest), folders


def _spec(app: App, stack: Stack, config: Any, digest: str) -> RuntimeSpec:
    """User over image over engine."""
    from stackbuild.run.settings import runtime_spec, wanted

    own = wanted(stack.container, stack.project, engine_defaults(stack))
    return runtime_spec(config, own, app.container_name(), digest=digest)


def engine_defaults(stack: Stack) -> list[str]:
    """Keys of `container` that nobody set: "resources.pids"."""
    return [
        ".".join(path[1:])
        for path, setting in stack.settings.items()
        if path[0] == "container" and setting.last.origin.level == "engine"
    ]
