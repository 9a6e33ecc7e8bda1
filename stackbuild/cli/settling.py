"""Settles the project's stack file with all levels above and below it; the image level is the base's own config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stackbuild.core import paths

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.stack.image_tables import Registry
    from stackbuild.stack.stack import Stack


def settle_project(app: App) -> Stack:
    """The settled stack of this command. A base image is looked up for its config: in the lock, else where it is."""
    from stackbuild.stack.settle import settle

    question: dict[str, Any] = {
        "profiles": app.args.profile or (),
        "sets": app.args.sets or (),
        "environ": app.environ,
        "user_config": paths.user_config(app.environ),
        "site_config": paths.site_config(),
    }
    stack = settle(app.project_file, **question)
    app.before_base = stack
    if stack.base.image:
        from stackbuild.cli.base_image import base_config

        config = base_config(app, stack)
        stack = settle(app.project_file, image_level=config, **question)
    return stack


def registries(app: App) -> Mapping[str, Registry]:
    """`[registries]` as far as it is settled: a base image is looked up with what is known before it is read."""
    if app.before_base is not None:
        return app.before_base.registries
    if app.has_project:
        return app.stack().registries
    return {}
