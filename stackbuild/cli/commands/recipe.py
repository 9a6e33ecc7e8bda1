"""`stackbuild recipe list|show|test|push`: what recipes there are, what one takes, whether it works, sending it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.stack.find_recipe import Shelves


def options(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "show", "test", "push"))
    parser.add_argument("name", nargs="?", metavar="NAME|DIR", help="show: a name or reference; test, push: a folder")
    parser.add_argument("to", nargs="?", metavar="oci://HOST/PATH:TAG", help="push: where to")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import Hint, UsageError

    if (args.name is None) != (args.action == "list") or (args.to is None) != (args.action != "push"):
        takes = {"list": "nothing", "show": "NAME", "test": "DIR", "push": "DIR and oci://HOST/PATH:TAG"}[args.action]
        raise UsageError(f"recipe {args.action} takes {takes}", hints=(Hint("see all", "stackbuild recipe --help"),))
    {"list": _list, "show": _show, "test": _test, "push": _push}[args.action](app, args)


def _shelves(app: App) -> Shelves:
    from stackbuild.cli.settling import remote_recipes
    from stackbuild.core import paths
    from stackbuild.stack.find_recipe import shelves

    app.settling = True  # no stack is read here: registries are the user's and the machine's
    project = Path(app.args.file).parent if app.args.file else Path()
    return shelves(project, paths.user_config(app.environ), paths.site_config(), remote=remote_recipes(app))


def _list(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import StackError
    from stackbuild.report.recipe import RecipeList
    from stackbuild.stack.uses import read_header

    places = _shelves(app)
    found = []
    for name, place in sorted(places.names().items()):
        try:
            header = read_header(places.find(name, None).saying)
            if header is not None:
                found.append((name, place, header.description))
        except StackError as error:
            found.append((name, place, f"(broken: {error.what})"))
    app.show(RecipeList(tuple(found)))


def _show(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import UsageError
    from stackbuild.report.recipe import ShownRecipe
    from stackbuild.stack.uses import read_header

    recipe = _shelves(app).find(args.name, None)
    header = read_header(recipe.saying)
    if header is None:
        raise UsageError(f"{recipe.saying.place.shown} is not a recipe", why="it has no [recipe] table")
    app.show(ShownRecipe(recipe, header))


def _test(app: App, args: Namespace) -> None:
    from stackbuild.cli.settling import remote_recipes
    from stackbuild.report.recipe import Tested
    from stackbuild.stack.try_recipe import try_recipe

    app.settling = True
    app.show(Tested(try_recipe(Path(args.name), remote_recipes(app))))


def _push(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import UsageError
    from stackbuild.oci.reference import parse_reference
    from stackbuild.report.recipe import PushedRecipe
    from stackbuild.stack.remote_recipe import push_recipe
    from stackbuild.stack.try_recipe import header_of

    if not args.to.startswith("oci://"):
        raise UsageError(f"{args.to} is not a place for recipes", why="it is oci://HOST/PATH:TAG")
    app.settling = True
    header = header_of(Path(args.name))
    reference = parse_reference(args.to.removeprefix("oci://"))
    notes = {"org.opencontainers.image.title": header.name, "org.opencontainers.image.description": header.description}
    digest = push_recipe(Path(args.name), reference, app.client, {key: words for key, words in notes.items() if words})
    app.show(PushedRecipe(str(reference), digest))
