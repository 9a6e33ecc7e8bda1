"""Shows the plan of one stack or of several, as text, JSON or a drawing; makes none."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.build.scheduler import Tools
    from stackbuild.cli.wiring import App
    from stackbuild.plan.forecast import Forecast
    from stackbuild.plan.graph import Plan
    from stackbuild.report.explain import PlanReport
    from stackbuild.stack.stack import Stack


def show_plan(
    app: App,
    plan: Plan,
    forecast: Forecast,
    tools: Tools,
    args: Namespace,
    jobs: int,
    stacks: Mapping[str, Stack],
    apps: Sequence[App],
) -> None:
    """The plan of one stack or of several, as `args` ask for it. jobs: as the settings say; 0: one per processor.

    stacks: by the name in the ids of their steps, "" for steps that name none; to say where their settings stand.
    apps: of the stacks that were asked for.
    """
    from stackbuild.build.slots import processors
    from stackbuild.plan.estimate import guesses, span
    from stackbuild.report.explain import PlanReport

    if getattr(args, "graph", None):
        from stackbuild.cli.results import Said
        from stackbuild.report.graph import draw

        text = draw(plan, forecast, args.graph)
        app.show(Said(text, {"v": 1, "form": args.graph, "text": text}))
        return
    shown = [outlook.step for outlook in forecast.outlooks.values() if outlook.state != "unneeded"]
    seconds = {step.id: tools.cache.last_seconds(step) for step in shown}
    expected = guesses(plan, forecast, lambda step: seconds[step.id])
    jobs = getattr(args, "jobs", None) or jobs or processors()
    report = PlanReport(forecast, seconds, expected, span(plan, expected, jobs), stacks)
    app.show(report)
    if (
        args.command == "plan"
        and not args.always_make
        and all(step.id in plan.goals for step in shown)
        and not expected
    ):
        _remember(app, forecast, args, report, apps)


def _remember(app: App, forecast: Forecast, args: Namespace, report: PlanReport, apps: Sequence[App]) -> None:
    """All images are there, and nothing would run: that holds until a file changes or a blob goes."""
    from stackbuild.build.entries import entry_blobs
    from stackbuild.cli.building import remember

    results = [outlook.result for outlook in forecast.outlooks.values() if outlook.result is not None]
    if all("layers" in result.facts for result in results):  # images, not steps that were asked for
        blobs = (blob.digest for result in results for blob in entry_blobs(result))
        remember(app, apps, blobs, args, {"text": report.to_text(), "json": report.to_json()})
