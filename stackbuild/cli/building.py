"""The sentence that build, plan and up share: settle, lock, plan, forecast, carry out, name, send."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, HostError, StackError, StepError, UsageError
from stackbuild.core.events import Note, PhaseFinished, PhaseStarted
from stackbuild.core.files import write_file
from stackbuild.core.origin import Origin
from stackbuild.core.words import count, size

if TYPE_CHECKING:
    from stackbuild.build.image import BuiltImage
    from stackbuild.build.scheduler import Tools
    from stackbuild.build.slots import Resources
    from stackbuild.cli.wiring import App
    from stackbuild.core.action import ActionResult
    from stackbuild.lock.lock import Lock
    from stackbuild.plan.estimate import Ran
    from stackbuild.plan.forecast import Forecast
    from stackbuild.plan.graph import Plan
    from stackbuild.stack.stack import Stack


@dataclass(frozen=True)
class Work:
    """What a command is about to do."""

    stack: Stack
    lock: Lock
    plan: Plan
    tools: Tools
    forecast: Forecast


class Planned(Protocol):
    """What is carried out: the work of one stack or of several together."""

    @property
    def plan(self) -> Plan: ...
    @property
    def tools(self) -> Tools: ...
    @property
    def forecast(self) -> Forecast: ...


P = TypeVar("P", bound=Planned)
Made = TypeVar("Made")


def prepare(
    app: App, *, targets: Sequence[str] = (), again: bool = False, locked: bool = False, args: Namespace | None = None
) -> Work:
    """Settle, lock (resolving only if the requests changed), plan and look what is cached. Runs no step."""
    work = described(app, targets=targets, locked=locked, args=args)
    return replace(work, forecast=looked_up(work.plan, work.tools, again=again))


def described(app: App, *, targets: Sequence[str] = (), locked: bool = False, args: Namespace | None = None) -> Work:
    """Settle, lock and plan, and look for nothing yet: the forecast is empty."""
    from stackbuild.build.several import several_tools
    from stackbuild.cli.base_stack import by_name
    from stackbuild.cli.locking import lock_for
    from stackbuild.plan.forecast import Forecast
    from stackbuild.store.scratch import sweep

    stack = app.stack()
    app.protect()
    lock = lock_for(app, stack, locked=locked)
    plan = _for_platforms(app, app.plan.towards(targets) if targets else app.plan)
    secrets = read_secrets(getattr(args, "secret", []), app)
    tools = app.tools(secrets, shell=bool(getattr(args, "shell_on_failure", False)))
    below = {name: one.base_tools for name, one in by_name([app]).items() if one is not app}
    if below:
        tools = several_tools({"": tools, stack.name: tools, **below})
    sweep(app.paths.scratch)
    return Work(stack, lock, plan, tools, Forecast())


def _for_platforms(app: App, plan: Plan) -> Plan:
    """The part of a plan that --platform asks for. Raises UsageError for one that the stack is not for."""
    asked = getattr(app.args, "platform", ())
    known = tuple(app.stack().image.platforms)
    for platform in asked:
        if platform not in known:
            raise UsageError(
                f"--platform {platform}: {app.stack().name} is not for it",
                where=app.stack().origin("image", "platforms"),
                why=f"it is for {', '.join(known)}",
                hints=[Hint("add it to image.platforms, then lock")],
            )
    return plan.towards(goal for goal in plan.goals if plan.steps[goal].platform in asked) if asked else plan


def looked_up(plan: Plan, tools: Tools, *, again: bool) -> Forecast:
    """What is cached of a plan, and what would run. again: as if nothing were cached."""
    from stackbuild.plan.forecast import forecast

    return forecast(plan, tools.kinds, tools.cache.lookup, tools.cache.last, again=again)


def build(app: App, work: Work, args: Namespace) -> BuiltImage | None:
    """Carry the work out and tag the image; None if only steps were asked for. Raises StackError."""
    done = build_then(app, work, args, lambda now, image: None)
    return None if done is None else done[0]


def build_then(
    app: App, work: Work, args: Namespace, use: Callable[[Work, BuiltImage], Made]
) -> tuple[BuiltImage, Made] | None:
    """As `build`, and what `use` makes of the image: it reads what the build has only seen to be there.

    An object of the store that turns out to be damaged is made again, and what needs it goes on.
    """

    def attempt(now: Work) -> tuple[BuiltImage, Made] | None:
        image = _build(app, now, args)
        return None if image is None else (image, use(now, image))

    def renewed() -> Work:
        return prepare(app, targets=getattr(args, "target", ()), again=args.always_make, locked=args.locked, args=args)

    return repaired(app, work, attempt, renewed)


def repaired(app: App, work: P, attempt: Callable[[P], Made], renewed: Callable[[], P]) -> Made:
    """What an attempt at some work gives, repeated with the work as it is then when the store drops what is damaged."""
    tries = len(work.plan.steps)
    while True:
        try:
            return attempt(work)
        except HostError as error:
            tries -= 1
            if not error.damaged or not tries:
                raise
            app.listener(Note(error.what, "warning"))
            for one in {id(one): one for one in (app, *app.family.apps.values())}.values():
                if one.__dict__.get("remote_cache") is not None:
                    one.__dict__["remote_cache"].stop_reading()
            work = renewed()


def _build(app: App, work: Work, args: Namespace) -> BuiltImage | None:
    from stackbuild.cli.kinds import history
    from stackbuild.cli.remote_cache import share

    try:
        results, ran = carried_out(app, [work.stack], work, args)
    except StepError:
        share(app, work, {})  # what did not fail need not be made again elsewhere
        raise
    share(app, work, results)
    if any(work.plan.steps[goal].kind != "assemble" for goal in work.plan.goals):
        return None
    image = named(app, work, results)
    history(app).add(work.forecast, ran, image.digest)
    from stackbuild.cli.sending import Sending

    facts = {"name": f"{image.name}:latest", "digest": image.digest, "size": image.size}
    remember(app, [app], blobs_of(image), args, {**facts, "sending": Sending.of(work.stack).to_json()})
    keep_to_size(app, [work.stack])
    return image


def carried_out(
    app: App, stacks: Sequence[Stack], work: Planned, args: Namespace, failed: dict[str, StackError] | None = None
) -> tuple[Mapping[str, ActionResult], Mapping[str, float]]:
    """Run what must run, and tell of it: results by step, and the seconds of each that ran.

    stacks: whose work it is. failed: gets what fails, by step, instead of an error, if --keep-going is said.
    """
    from stackbuild.build.image import carry_out
    from stackbuild.plan.estimate import Ran

    if getattr(args, "fail_if_run", False):
        forbid(work.forecast)
    allowed = allowed_for(app, stacks[0], args)
    started = time.monotonic()
    app.listener(PhaseStarted("build"))
    for path, origin in (one for stack in stacks for one in stack.overrides()):
        app.listener(Note(f"{'.'.join(path)} is set by {origin}: this is not the image that the project describes"))
    _tell_gaps(app, work)
    results, ran = carry_out(
        work.plan,
        work.forecast,
        work.tools,
        resources=allowed,
        keep_going=bool(getattr(args, "keep_going", False)),
        again=args.always_make,
        failed=failed,
    )
    app.listener(PhaseFinished("build", time.monotonic() - started))
    _tell_times(app, work, Ran(ran, time.monotonic() - started, allowed.jobs))
    _tell_skipped(app, work, results)
    return results, ran


def allowed_for(app: App, stack: Stack, args: Namespace) -> Resources:
    """What a build may use at once, by -j, the stack's `[build]` and make. Raises UsageError."""
    from stackbuild.build.slots import resources

    if args.jobs is not None and args.jobs < 1:
        raise UsageError("-j needs a number from 1 up")
    said = stack.build
    found = resources(
        app.environ, asked=args.jobs, setting=said.jobs, sandboxes=said.sandboxes, downloads=said.downloads
    )
    if found.note:
        app.listener(Note(found.note))
    return found


def named(app: App, work: Work, results: Mapping[str, ActionResult]) -> BuiltImage:
    """The image that the plan's goals made, under its name in the store."""
    from stackbuild.build.image import announce, image_of

    image = image_of(work.plan, results, app.blobs, work.stack.name)
    app.layout.add(image.document, tag=f"{work.stack.name}:latest")
    announce(image, work.tools)
    return image


def keep_to_size(app: App, stacks: Sequence[Stack]) -> None:
    """See to build.max-cache-size, the largest that is said. The image is made: no failure here is one of the build."""
    from stackbuild.cli.keeping import keep_to_size as prune

    limits = [stack.build.max_cache_size for stack in stacks if stack.build.max_cache_size is not None]
    try:
        gone = prune(app, max(limits, default=None))
    except StackError as error:
        app.listener(Note(f"nothing was pruned: {error}", "warning"))
        return
    if gone and gone.items:
        app.listener(Note(f"freed {size(gone.size)} of the store, as build.max-cache-size asks"))


def forbid(forecast: Forecast) -> None:
    """--fail-if-run: raises StepError, before anything runs, if anything would."""
    from stackbuild.report.explain import state

    found = [outlook for outlook in forecast.outlooks.values() if outlook.state in ("run", "depends")]
    found = [outlook for outlook in found if outlook.step.kind != "fetch"] or found
    if found:
        first = "; ".join(f"{outlook.step.id} {state(outlook)}" for outlook in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise StepError(
            f"{count(len(found), 'step')} would run, and --fail-if-run forbids it",
            why=first + more,
            hints=[Hint("see all", "stackbuild plan")],
        )


def _tell_times(app: App, work: Planned, ran: Ran) -> None:
    """What ran, the chain that took longest, and what would have made it faster."""
    from stackbuild.plan.estimate import advice, critical_path

    if ran.total < 0.5 or not ran.seconds:
        return
    path = critical_path(work.plan, ran.seconds)
    chain = ", ".join(f"{id} {took:.1f} s" for id, took in sorted(path, key=lambda one: -one[1])[:3])
    length = sum(took for _, took in path)
    steps = f"{len(ran.seconds)} of {len(work.plan.steps)} steps ran"
    app.listener(Note(f"{steps}; critical path {length:.1f} s of {ran.total:.1f} s, most of it: {chain}"))
    if sentence := advice(work.plan, ran):
        app.listener(Note(f"faster with {sentence}"))


def _tell_gaps(app: App, work: Planned) -> None:
    """Say once what the sandbox of this machine does not give, if a step will run in it."""
    if not any(o.state in ("run", "depends") and o.step.tree for o in work.forecast.outlooks.values()):
        return
    from stackbuild.host.sandbox import gaps_of

    if gaps := gaps_of(app.sandbox):
        app.listener(Note(f"steps run in the {app.sandbox} sandbox, which does not give: {'; '.join(gaps)}"))


def _tell_skipped(app: App, work: Planned, results: Mapping[str, ActionResult]) -> None:
    """Say, when it is made, which packages of an image without scripts have scripts that nothing makes up for."""
    for id, result in results.items():
        if "skipped" not in result.facts or work.forecast.outlooks[id].state == "cached":
            continue
        lost = [f"{package} ({', '.join(names)})" for package, names in sorted(result.facts["skipped"].items())]
        if lost:
            app.listener(Note(f"scripts are skipped, and nothing stands in for those of {', '.join(lost)}"))
        for package, lines in sorted(result.facts["unclear"].items()):
            app.listener(Note(f"{package} registers alternatives in a way that is not understood: {'; '.join(lines)}"))


def remember(
    app: App, stacks: Iterable[App], blobs: Iterable[Digest], args: Namespace, result: Mapping[str, Any]
) -> None:
    """Keep what a command on these stacks read, so that the next one can tell by `stat` that there is nothing to do.

    blobs: of their images, which are all there. result: what the next one is to say.
    """
    from stackbuild.cli import fast
    from stackbuild.cli.base_stack import by_name
    from stackbuild.lock.local import read_by

    all_stacks = by_name(stacks).values()
    fast.remember(
        args,
        app.environ,
        started=app.started,
        read=[file for one in all_stacks for file in (*read_by(one.stack()), *one.project_files.looked_at)],
        written=[*(one.stack().lock_file for one in all_stacks), *map(app.blobs.path, dict.fromkeys(blobs))],
        variables=[name for one in all_stacks for name in one.stack().variables],
        result=result,
    )
    names = result.get("names") or ([result["name"]] if "name" in result else [])  # of images; a plan makes none
    if not {*names} <= {tag for tag, _ in app.images()}:  # `rmi` was quicker: the next build is to name them again
        fast.forget(args, app.environ)


def blobs_of(image: BuiltImage) -> Iterator[Digest]:
    """Its layers and manifests."""
    yield from (Digest(layer["digest"]) for one in image.layers for layer in _layers(one))
    yield from (manifest.digest for manifest in image.manifests)


def _layers(result: ActionResult) -> list[dict[str, Any]]:
    if "layers" in result.facts:
        return list(result.facts["layers"])
    return [{"digest": result.outputs["layer"].digest}]


def write_metadata(file: str, image: BuiltImage) -> None:
    """The facts of a build as a JSON file."""
    write_file(Path(os.path.abspath(file)), json.dumps(metadata(image), indent=2).encode() + b"\n")


def metadata(image: BuiltImage) -> dict[str, Any]:
    """The facts of a build, under the key names that buildx users know."""
    return {
        "image.name": f"{image.name}:latest",
        "containerimage.digest": image.digest,
        "containerimage.descriptor": {
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": len(image.document),
        },
    }


def send(app: App, stack: Stack, image: BuiltImage, to: Sequence[str], *, push: bool) -> tuple[str, ...]:
    """Write the image to each of its destinations. Returns the places."""
    from stackbuild.cli.network import copy_out
    from stackbuild.cli.sending import destinations

    places = destinations(to, stack.push.to, stack.origin("push", "to"), push=push)
    for place in places:
        copy_out(app, image.digest, place)
    return places


def read_secrets(words: Sequence[str], app: App) -> dict[str, Path]:
    """--secret id=NAME,src=FILE or id=NAME,env=VARIABLE: name -> a file that only we can read. Raises UsageError."""
    secrets: dict[str, Path] = {}
    for word in words:
        parts = dict(part.partition("=")[::2] for part in word.split(","))
        name = parts.get("id", "")
        if not name or set(parts) - {"id", "src", "source", "env", "type"}:
            raise UsageError(f"--secret {parts.get('id', '')}: write id=NAME,src=FILE or id=NAME,env=VARIABLE")
        source = parts.get("src") or parts.get("source")
        if source:
            file = Path(os.path.abspath(source))
            if not file.is_file():
                raise UsageError(f"the secret `{name}` has no file", where=Origin("command line", str(file)))
            secrets[name] = file
            continue
        variable = parts.get("env") or name
        if variable not in app.environ:
            raise UsageError(f"the secret `{name}` is not there", why=f"the environment has no {variable}")
        secrets[name] = _in_memory(app.environ[variable])
    return secrets


def _in_memory(text: str) -> Path:
    """A file of this process alone that is on no disk (memfd_create(2)); children open it through /proc."""
    fd = os.memfd_create("secret", os.MFD_CLOEXEC)
    os.write(fd, text.encode("utf-8", "surrogateescape"))
    return Path(f"/proc/{os.getpid()}/fd/{fd}")
