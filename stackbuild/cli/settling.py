"""Settles the project's stack file with all levels above and below it; the image level is the base's own config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core import paths

if TYPE_CHECKING:
    from stackbuild.cli.sending import Host
    from stackbuild.cli.wiring import App
    from stackbuild.core.digest import Digest
    from stackbuild.core.origin import Origin
    from stackbuild.net.client import Client
    from stackbuild.stack.find_recipe import Fetched, Remote
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
        "pins": _pins(app),
        "remote": remote_recipes(app),
    }
    app.settling = True
    stack = settle(app.project_file, **question)
    app.settling = False
    app.before_base = stack
    if stack.base.image:
        from stackbuild.cli.base_image import base_config

        config = base_config(app, stack)
        stack = settle(app.project_file, image_level=config, **question)
    return stack


def _pins(app: App) -> Mapping[str, Digest]:
    """The lock's digests of remote recipes; none if this command is to move them."""
    from stackbuild.lock.lock import LockFile
    from stackbuild.stack.question import Question

    if app.args.command == "lock" and app.args.update == []:
        return {}
    question = Question(app.project_file, tuple(app.args.profile or ()))
    lock = LockFile(question.lock_file).read()
    moving = app.args.update or () if app.args.command == "lock" else ()
    return {name: digest for name, digest in (lock.recipes if lock else {}).items() if name not in moving}


def remote_recipes(app: App) -> Remote:
    """How recipes from git and registries are brought here."""
    return _Late(app)


class _Late:
    """Remote recipes, made when the first is asked for: most stacks use none, and a client is much to import."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._remote: Remote | None = None

    def __call__(self, reference: str, pin: Digest | None, where: Origin | None) -> Fetched:
        if self._remote is None:
            from stackbuild.stack.remote_recipe import RemoteRecipes

            app = self._app
            self._remote = RemoteRecipes(app.paths.recipes, lambda: _plain_client(app), app.environ, app.args.offline)
        return self._remote(reference, pin, where)


def _plain_client(app: App) -> Client:
    """A client with what the user and the machine say of registries: the stack's own words are not settled yet."""
    from stackbuild.cli.network import make_client

    return make_client(app)


def registries(app: App) -> Mapping[str, Registry | Host]:
    """`[registries]` as far as it is settled: a base image is looked up with what is known before it is read."""
    if app.sending is not None:
        return app.sending.registries
    if app.before_base is not None:
        return app.before_base.registries
    if app.settling or not app.has_project:
        from stackbuild.stack.levels import machine_registries
        from stackbuild.stack.question import Question

        return machine_registries(
            Question(Path(), user_config=paths.user_config(app.environ), site_config=paths.site_config())
        )
    return app.stack().registries
