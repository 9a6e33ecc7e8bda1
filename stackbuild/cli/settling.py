"""Settles the project's stack file with all levels above and below it; the image level is what the base says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
    from stackbuild.stack.question import Question
    from stackbuild.stack.stack import Stack


def settle_project(app: App) -> Stack:
    """The settled stack of this command. A base image is looked up for its config: in the lock, else where it is;
    a base stack is settled first."""
    question = _question(app, app.project_file, profiles=app.args.profile or ())
    pins = _pins(app, question)
    app.settling = True
    stack = _settled(app, question, pins=pins)
    app.settling = False
    app.before_base = stack
    if any(one.base.stack for one in (stack, *stack.stages.values())):
        from stackbuild.cli.base_stack import settled_base

        below = settled_base(app, stack)
        return _settled(app, question, pins=pins, below=below) if below else stack
    if stack.base.image:
        from stackbuild.cli.base_image import base_config

        stack = _settled(app, question, pins=pins, image_level=base_config(app, stack))
    return stack


def settle_nothing(app: App, sets: Sequence[str] = ()) -> Stack:
    """A stack of nothing, in which only the engine, the site, the user and the command line have a say."""
    return _settled(app, _about_nothing(app, sets))


def made_of_nothing(app: App, sets: Sequence[str], make: Callable[[Stack], Any], code: str) -> Any:
    """What `make`, in the file `code`, makes of `settle_nothing`'s stack: JSON, kept beside it."""
    from stackbuild.stack.kept import KeptStacks, words_of

    kept = KeptStacks(app.paths.stamps / "settled")
    words = words_of(_about_nothing(app, sets), {}, None)
    if (made := kept.made(words, app.environ, code)) is None:
        made = make(settle_nothing(app, sets))
        kept.put_made(words, app.environ, code, made)
    return made


def _about_nothing(app: App, sets: Sequence[str]) -> Question:
    from stackbuild import stack

    return _question(app, Path(stack.__file__).with_name("nothing.toml"), sets=sets)


def _question(app: App, file: Path, profiles: Sequence[str] = (), sets: Sequence[str] = ()) -> Question:
    from stackbuild.stack.question import Question

    sets = (*(app.args.sets or ()), *sets)
    return Question(file, tuple(profiles), sets, app.environ, paths.user_config(app.environ), paths.site_config())


def _settled(
    app: App,
    question: Question,
    pins: Mapping[str, Digest] | None = None,
    image_level: Mapping[str, Any] | None = None,
    below: Stack | None = None,
) -> Stack:
    """As an earlier command settled it, if nothing has changed since; else settled now, and kept."""
    from stackbuild.stack.image_level import outline
    from stackbuild.stack.kept import KeptStacks, words_of

    kept = KeptStacks(app.paths.stamps / "settled")
    words = words_of(question, pins or {}, outline(below) if below else image_level)
    if (stack := kept.get(words, app.environ)) is not None:
        return stack
    from stackbuild.cli.beside import be_ready, settled_beside

    def settle_now(remote: Remote | None = None) -> Stack:
        from stackbuild.stack.settle import settle

        return settle(question, image_level=image_level, below=below, pins=pins, remote=remote)

    started = time.time_ns()
    builds = app.args.command in ("build", "up", "plan", "lock")  # others import pydantic anyway
    stack = settled_beside(settle_now, lambda: be_ready(app, question.lock_file, kept.last(words))) if builds else None
    stack = stack or settle_now(remote_recipes(app))
    kept.put(words, app.environ, stack, started)
    return stack


def _pins(app: App, question: Question) -> Mapping[str, Digest]:
    """The lock's digests of remote recipes; none if this command is to move them."""
    from stackbuild.lock.lock import LockFile

    if app.args.command == "lock" and app.args.update == []:
        return {}
    moving = app.args.update or () if app.args.command == "lock" else ()
    return {n: digest for n, digest in LockFile(question.lock_file).recipes().items() if n not in moving}


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
