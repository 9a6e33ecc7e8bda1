"""Several stacks in one command: which they are, their steps in one plan, what came of each."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.cli.fast import stack_file
from stackbuild.core.errors import Hint, HostError, StackError, StepError, UsageError

if TYPE_CHECKING:
    from stackbuild.build.image import BuiltImage
    from stackbuild.build.scheduler import Tools
    from stackbuild.cli.building import Work
    from stackbuild.cli.wiring import App
    from stackbuild.core.action import ActionResult
    from stackbuild.plan.forecast import Forecast
    from stackbuild.plan.graph import Plan
    from stackbuild.stack.stack import Stack

Stacks = list[tuple["App", Namespace]]


def stacks_of(app: App, args: Namespace) -> tuple[App, Namespace, Stacks]:
    """What a command line with -f and TARGETs means: the app and options of its only stack, or several of them.

    A TARGET that ends in .toml or is a folder with a stack.toml is a stack; STACK:NAME is a step of one, where STACK
    is such a target or the name of one that is given. Raises UsageError.
    """
    files: dict[str, list[str]] = {os.path.abspath(file): [] for file in getattr(args, "files", ())}
    rest: list[str] = []
    for target in args.target:
        head, colon, name = target.rpartition(":")
        if (file := stack_file(target)) is not None:
            files.setdefault(file, [])
        elif colon and (file := stack_file(head)) is not None:
            files.setdefault(file, []).append(name)
        else:
            rest.append(target)
    if len(rest) == len(args.target) and len(files) < 2:
        return app, args, []
    if len(files) == 1:
        [(file, targets)] = files.items()
        changed = Namespace(**{**vars(args), "file": file, "files": [file], "target": [*targets, *rest]})
        return app.child(changed), changed, []
    stacks = [
        (app.child(words), words)
        for file, targets in files.items()
        for words in [Namespace(**{**vars(args), "file": file, "files": [file], "target": targets})]
    ]
    app.family.several = True
    _by_name(stacks, rest)
    return app, args, stacks


def _by_name(stacks: Stacks, targets: Sequence[str]) -> None:
    """Give each STACK:NAME to its stack. Raises UsageError for names that two have, or none."""
    from stackbuild.cli.base_stack import by_name

    by_name(app for app, _ in stacks)
    names = {app.stack().name: args for app, args in stacks}
    for target in targets:
        stack, colon, name = target.partition(":")
        if not colon or stack not in names:
            raise UsageError(
                f"it is not clear which stack's `{target}` is meant" if not colon else f"there is no stack `{stack}`",
                hints=[Hint(f"write {stack}:{target if not colon else name}") for stack in list(names)[:3]],
            )
        names[stack].target.append(name)


@dataclass(frozen=True)
class Joined:
    """The one plan of all stacks. works: by stack's name. names: a stack's own id of a step, "STACK:ID" -> the id
    of the step of the plan that does this work."""

    works: Mapping[str, tuple[App, Work]]
    plan: Plan
    names: Mapping[str, str]
    tools: Tools
    forecast: Forecast

    def own(self, name: str, id: str) -> str:
        """The step of the plan that does the work of a stack's step."""
        from stackbuild.plan.several import within

        return self.names[within(name, id)]

    def goals(self, name: str) -> tuple[str, ...]:
        """The steps of the plan that a stack wants."""
        return tuple(self.own(name, goal) for goal in self.works[name][1].plan.goals)


def join(app: App, args: Namespace, stacks: Stacks) -> Joined:
    """Settle and lock each, then plan all of them together. Runs no step."""
    from stackbuild.build.several import several_tools
    from stackbuild.cli.base_stack import by_name
    from stackbuild.cli.building import described, looked_up
    from stackbuild.plan.several import joined

    works = {}
    for one, words in stacks:
        work = described(one, targets=words.target, locked=args.locked, args=words)
        works[work.stack.name] = one, work
    plan, names = joined({name: work.plan for name, (_, work) in works.items()})
    below = {name: one.base_tools for name, one in by_name(one for one, _ in stacks).items() if name not in works}
    tools = several_tools({**{name: work.tools for name, (_, work) in works.items()}, **below}, names)
    return Joined(works, plan, names, tools, looked_up(plan, tools, again=args.always_make))


def plan_all(app: App, args: Namespace, stacks: Stacks) -> None:
    """`plan` of several stacks."""
    from stackbuild.cli.planning import show_plan

    made = join(app, args, stacks)
    jobs = next(iter(made.works.values()))[1].stack.build.jobs
    show_plan(app, made.plan, made.forecast, made.tools, args, jobs, _stacks(made), [one for one, _ in stacks])


def _stacks(made: Joined) -> dict[str, Stack]:
    """Each stack of the plan, those below too, by the name in the ids of its steps."""
    from stackbuild.cli.base_stack import by_name

    return {name: one.stack() for name, one in by_name(app for app, _ in made.works.values()).items()}


@dataclass(frozen=True)
class Outcome:
    """What came of one stack: its image, an error, or neither (only steps were asked for)."""

    name: str
    image: BuiltImage | None = None
    error: StackError | None = None
    sent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcomes:
    """What `build` of several stacks prints."""

    all: tuple[Outcome, ...]

    def to_text(self) -> str:
        said = [(one, "FAILED" if one.error else one.image.digest if one.image else "done") for one in self.all]
        return "\n".join(f"{one.name} {word}" for one, word in said)

    def to_json(self) -> Any:
        from stackbuild.cli.output import error_json
        from stackbuild.cli.results import Built

        stacks: list[Any] = []
        for one in self.all:
            if one.error is not None:
                stacks.append({"name": one.name, "error": error_json(one.error)})
            elif one.image is not None:
                built = Built(one.image.name, one.image.digest, one.image.size, one.sent)
                stacks.append(built.to_json())
            else:
                stacks.append({"name": one.name})
        return {"v": 1, "stacks": stacks}


def build_all(app: App, args: Namespace, stacks: Stacks) -> None:
    """`build` of several stacks. With -k, what fails in one stops no other. Raises the first error at the end."""
    from stackbuild.cli.building import blobs_of, keep_to_size, metadata, remember, repaired

    if any(place.partition(":")[0] in ("rootfs", "oci-archive", "docker-archive") for place in args.to):
        raise UsageError(
            "--to FILE is for one stack",
            why="each of them would write the same file",
            hints=[Hint("build them one after the other, or send them to a registry with --push")],
        )
    app.workers.warm()
    made = join(app, args, stacks)
    outcomes = repaired(app, made, lambda now: _build(app, args, now), lambda: join(app, args, stacks))
    app.show(outcomes)
    images = {one.name: one.image for one in outcomes.all if one.image}
    if args.metadata_file:
        from stackbuild.core.files import write_file

        facts = {name: metadata(image) for name, image in images.items()}
        write_file(Path(os.path.abspath(args.metadata_file)), _json(facts))
    if errors := {id(one.error): one.error for one in outcomes.all if one.error}:
        raise next(iter(errors.values()))
    if len(images) == len(stacks):
        said = {"text": outcomes.to_text(), "json": outcomes.to_json(), "names": [f"{name}:latest" for name in images]}
        blobs = (blob for image in images.values() for blob in blobs_of(image))
        remember(app, [one for one, _ in stacks], blobs, args, said)
    keep_to_size(app, [one.stack() for one, _ in stacks])


def _json(value: Any) -> bytes:
    import json

    return json.dumps(value, indent=2).encode() + b"\n"


def _build(app: App, args: Namespace, made: Joined) -> Outcomes:
    """Carry the plan out, and see to each stack's image. Raises HostError for what is damaged, also with -k."""
    from stackbuild.cli.building import carried_out
    from stackbuild.cli.remote_cache import share

    failed: dict[str, StackError] = {}
    try:
        stacks = [work.stack for _, work in made.works.values()]
        results, ran = carried_out(app, stacks, made, args, failed)
    except StepError:
        for one, work in made.works.values():
            share(one, work, {})  # what did not fail need not be made again elsewhere
        raise
    for error in failed.values():
        if isinstance(error, HostError) and error.damaged:
            raise error
    return Outcomes(tuple(_outcome(name, args, made, results, ran, failed) for name in made.works))


def _outcome(
    name: str,
    args: Namespace,
    made: Joined,
    results: Mapping[str, ActionResult],
    ran: Mapping[str, float],
    failed: Mapping[str, StackError],
) -> Outcome:
    """Name, remember and send the image of one stack."""
    from stackbuild.cli.building import named, send
    from stackbuild.cli.kinds import history
    from stackbuild.cli.remote_cache import share
    from stackbuild.plan.forecast import Forecast

    app, work = made.works[name]
    goals = made.goals(name)
    if any(goal not in results for goal in goals):
        needed = made.plan.needed_by(goals)
        return Outcome(name, error=next(error for step, error in failed.items() if step in needed))
    own = {id: made.own(name, id) for id in work.plan.steps}
    forecast = Forecast({id: made.forecast.outlooks[done] for id, done in own.items()})
    work = replace(work, plan=replace(made.plan, goals=goals), forecast=made.forecast)
    share(app, work, results)
    if any(made.plan.steps[goal].kind != "assemble" for goal in goals):
        return Outcome(name)
    image = named(app, work, results)
    history(app).add(forecast, {id: ran[done] for id, done in own.items() if done in ran}, image.digest)
    try:
        return Outcome(name, image, sent=send(app, work.stack, image, args.to, push=args.push))
    except StackError as error:
        if not args.keep_going or (isinstance(error, HostError) and error.damaged):
            raise
        return Outcome(name, image, error)
