"""`stackbuild init [RECIPE]`: writes a commented stack.toml, or with --ci a pipeline; asks nothing."""

from __future__ import annotations

import os
import tomllib
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="what to start from; default: what fits the folder")
    parser.add_argument("--with", dest="with_", action="append", metavar="KEY=VALUE", help="a parameter of the recipe")
    parser.add_argument("--from", dest="from_", metavar="DOCKERFILE", help="translate a Dockerfile")
    parser.add_argument(
        "--target", metavar="STAGE", help="with --from: the stage that becomes the image; default: the last"
    )
    parser.add_argument("--ci", choices=("gitlab", "github"), help="write the pipeline that builds the stack instead")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.settling import remote_recipes
    from stackbuild.core import paths
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.core.events import Note
    from stackbuild.core.files import new_file
    from stackbuild.stack.find_recipe import shelves
    from stackbuild.stack.fitting import Fits, fitting
    from stackbuild.stack.scaffold import scaffold, stack_name

    if args.ci is not None:
        _pipeline(app, args)
        return
    file = Path(args.file or "stack.toml")
    if os.path.lexists(file):
        look = Hint("look at what it settles to", "stackbuild config")
        raise UsageError(f"{file} is there already", hints=(look, Hint("or write another file: -f NAME.toml")))
    if args.from_ is not None:
        _import(app, args, file)
        return
    app.settling = True
    folder = Path(os.path.abspath(file)).parent
    places = shelves(folder, paths.user_config(app.environ), paths.site_config(), remote=remote_recipes(app))
    fits = Fits(args.recipe) if args.recipe else fitting(folder, places.names())
    given = {**fits.given, **dict(_pair(text) for text in args.with_ or ())}
    command = " ".join(["stackbuild init", *([fits.use] if fits.use else [])])
    if fits.file:
        app.listener(Note(f"{fits.file} is there: {fits.use} fits (`stackbuild recipe show {fits.use}`)"))
    if not args.recipe and (folder / "Dockerfile").is_file():
        if not fits.use and not args.with_ and find_spec("dockerfile"):
            app.listener(Note("Dockerfile is there: it is translated, as by `stackbuild init --from Dockerfile`"))
            args.from_ = os.path.relpath(folder / "Dockerfile")
            _import(app, args, file)
            return
        app.listener(Note("there is a Dockerfile: `stackbuild init --from Dockerfile` translates it instead"))
    text = scaffold(stack_name(folder), fits.use, given, places, command)
    with new_file(file, durable=False) as out:
        out.write(text.encode())
    for todo in fits.todo:
        app.listener(Note(todo))
    app.listener(Note(f"{file} is written; next: stackbuild up"))


def _pipeline(app: App, args: Namespace) -> None:
    """`--ci`: the pipeline beside the stack that is there."""
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.core.events import Note
    from stackbuild.core.files import new_file
    from stackbuild.stack.pipeline import PLACES, pipeline

    if args.recipe or args.with_ or args.from_:
        raise UsageError("--ci writes the pipeline alone", hints=(Hint("write the stack first", "stackbuild init"),))
    stack = app.stack()
    file = stack.project / PLACES[args.ci]
    shown = os.path.relpath(file)
    if os.path.lexists(file):
        raise UsageError(f"{shown} is there already", hints=(Hint("nothing is written over it: move it away first"),))
    file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file, durable=False) as out:
        out.write(pipeline(args.ci, stack).encode())
    app.listener(Note(f"{shown} is written; commit it with the lock: stackbuild lock"))


def _import(app: App, args: Namespace, file: Path) -> None:
    """`--from`: says how much was carried over and what a person has to look at."""
    from stackbuild.core.errors import UsageError
    from stackbuild.core.events import Note
    from stackbuild.core.files import new_file
    from stackbuild.stack.from_dockerfile.read import read_dockerfile
    from stackbuild.stack.from_dockerfile.translate import translate
    from stackbuild.stack.from_dockerfile.write import write
    from stackbuild.stack.scaffold import stack_name

    if args.recipe or args.with_:
        raise UsageError("--from takes no recipe", why="a Dockerfile says all by itself")
    source = Path(args.from_)
    imported = translate(read_dockerfile(source / "Dockerfile" if source.is_dir() else source), args.target or "")
    text = write(imported, stack_name(Path(os.path.abspath(file)).parent), f"stackbuild init --from {args.from_}")
    with new_file(file, durable=False) as out:
        out.write(text.encode())
    for line, what in imported.todo():
        app.listener(Note(f"{imported.file}:{line}: {what}"))
    app.listener(Note(f"{file} is written; next: stackbuild build"))


def _pair(text: str) -> tuple[str, Any]:
    """KEY=VALUE; the value as TOML if it is TOML, else as text."""
    from stackbuild.core.errors import Hint, UsageError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--with {text} is not KEY=VALUE", hints=(Hint("such as --with port=8080"),))
    try:
        return name, tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return name, value
