"""`stackbuild plan [TARGET…]`: what would run, and why."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("target", nargs="*", metavar="TARGET", help="a step or layer name (default: the image)")
    parser.add_argument("-B", "--always-make", action="store_true", help="as if nothing were cached")
    parser.add_argument("--locked", action="store_true", help="fail if stack.lock is stale instead of resolving")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.building import prepare
    from stackbuild.report.explain import PlanReport

    work = prepare(app, targets=args.target, again=args.always_make, locked=args.locked)
    seconds = {step.id: work.tools.cache.last_seconds(step) for step in work.plan.steps.values()}
    app.show(PlanReport(work.forecast, seconds))
