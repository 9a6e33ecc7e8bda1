"""`stackbuild plan [TARGET…]`: what would run, and why."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("target", nargs="*", metavar="TARGET", help="a step or layer name (default: the image)")
    parser.add_argument("-B", "--always-make", action="store_true", help="as if nothing were cached")
    parser.add_argument("--locked", action="store_true", help="fail if stack.lock is stale instead of resolving")
    parser.add_argument("--graph", choices=("dot", "mermaid", "svg"), help="draw it")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.building import prepare
    from stackbuild.plan.estimate import guess, span
    from stackbuild.report.explain import PlanReport

    work = prepare(app, targets=args.target, again=args.always_make, locked=args.locked)
    if getattr(args, "graph", None):
        from stackbuild.cli.results import Said
        from stackbuild.report.graph import draw

        text = draw(work.plan, work.forecast, args.graph)
        app.show(Said(text, {"v": 1, "form": args.graph, "text": text}))
        return
    seconds = {step.id: work.tools.cache.last_seconds(step) for step in work.plan.steps.values()}
    running = [o.step for o in work.forecast.outlooks.values() if o.state in ("run", "depends")]
    expected = {step.id: guess(work.plan, step, seconds[step.id]) for step in running}
    jobs = getattr(args, "jobs", None) or work.stack.build.jobs or os.cpu_count() or 1
    app.show(PlanReport(work.forecast, seconds, expected, span(work.plan, expected, jobs)))
