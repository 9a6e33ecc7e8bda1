"""`stackbuild plan [TARGET…]`: what would run, and why."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="*", metavar="TARGET", help="a step or layer name, a stack (file or folder), or STACK:NAME"
    )
    parser.add_argument("-B", "--always-make", action="store_true", help="as if nothing were cached")
    parser.add_argument("--locked", action="store_true", help="fail if stack.lock is stale instead of resolving")
    parser.add_argument("--graph", choices=("dot", "mermaid", "svg"), help="draw it")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.building import prepare
    from stackbuild.cli.planning import show_plan
    from stackbuild.cli.several import plan_all, stacks_of

    app, args, several = stacks_of(app, args)
    if several:
        plan_all(app, args, several)
        return
    work = prepare(app, targets=args.target, again=args.always_make, locked=args.locked)
    show_plan(app, work.plan, work.forecast, work.tools, args, work.stack.build.jobs, app.stacks(), [app])
