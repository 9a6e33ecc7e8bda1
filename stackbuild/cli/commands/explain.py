"""`stackbuild explain STEP`: what a step is made of, and what differs from any earlier build."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("step", metavar="STEP", help="a step or layer name")
    parser.add_argument(
        "--against", default="1", metavar="N", help="the build to compare with: 1 is the last, 2 the one before, …"
    )
    parser.add_argument("--locked", action="store_true", help="fail if stack.lock is stale instead of resolving")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.building import prepare
    from stackbuild.cli.kinds import history
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.plan.reasons import reasons
    from stackbuild.report.step import StepReport

    work = prepare(app, locked=args.locked)
    [*_, id] = work.plan.towards([args.step]).goals
    outlook = work.forecast.outlooks[id]
    past = history(app)
    builds = past.builds()
    if not args.against.isdigit() or not 1 <= int(args.against) <= max(1, len(builds)):
        hints = (Hint(f"{len(builds)} builds of this stack are known, 1 is the last"),)
        raise UsageError(f"--against {args.against} is no build", hints=hints)
    against, differs, ran = "", None, False
    if builds:
        build = builds[int(args.against) - 1]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(build.at))
        against = f"{'the last build' if args.against == '1' else f'build {args.against}'}, {when}"
        before = past.inputs(build.keys[id]) if id in build.keys else None
        differs = None if before is None else reasons(before, outlook.inputs)
        ran = id in build.ran
    app.show(StepReport(outlook, work.tools.cache.last_seconds(outlook.step), against, differs, ran))
