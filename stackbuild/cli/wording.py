"""Events in words, for logs and for the live view: what is worth a line, and that line. Writes nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from stackbuild.core.events import (
    BytesFetched,
    BytesSent,
    ContainerStateChanged,
    Event,
    ImageBuilt,
    ImagePushed,
    Note,
    PhaseFinished,
    PhaseStarted,
    PlanMade,
    ShellEnded,
    ShellStarted,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    is_of,
)
from stackbuild.core.text import harmless
from stackbuild.core.words import count, size


def is_noise(event: Event) -> bool:
    """Whether only `-v` shows it: the start and end of small or cached steps, the output of dpkg and its scripts."""
    if isinstance(event, StepFinished) and event.cached:
        return True
    if isinstance(event, StepStarted | StepFinished):
        return is_of(event.step, "fetch", "facet")
    return isinstance(event, StepOutput) and is_of(event.step, "configure", "unpack")


class Transfers:
    """What has been fetched and sent in this phase, over all names."""

    def __init__(self) -> None:
        self._all: dict[str, tuple[int, int | None]] = {}
        self._verb = "fetched"

    def add(self, event: BytesFetched | BytesSent) -> None:
        self._all[event.name] = (event.done, event.total)
        self._verb = "fetched" if isinstance(event, BytesFetched) else "sent"

    def __bool__(self) -> bool:
        return any(total is None or done < total for done, total in self._all.values())

    @property
    def done(self) -> int:
        return sum(done for done, _ in self._all.values())

    @property
    def total(self) -> int | None:
        """None as soon as one size is unknown."""
        totals = [total for _, total in self._all.values()]
        return None if None in totals else sum(total or 0 for total in totals)

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {size(self.total)}"
        return f"{self._verb} {size(self.done)}{of}"


def sentence(event: Event) -> Iterator[str]:
    """The plain lines of an event; no control character of its text survives."""
    match event:
        case Note():
            yield f"{'warning' if event.level == 'warning' else 'note'}: {harmless(event.text)}"
        case PhaseStarted():
            yield f"=> {harmless(event.phase)}"
        case PhaseFinished():
            summary = f" ({harmless(event.summary)})" if event.summary else ""
            yield f"=> {harmless(event.phase)} done {seconds(event.seconds)}{summary}"
        case PlanMade():
            yield f"=> {count(event.steps, 'step')}, {event.cached} cached{expectation(event.expected)}"
        case StepStarted():
            reason = f" ({harmless(event.reason)})" if event.reason else ""
            yield f"=> {harmless(event.step)}{reason}{expectation(event.expected)}"
        case StepOutput():
            yield f"   {harmless(event.step)} | {harmless(event.line)}"
        case StepFinished():
            how = "cached" if event.cached else f"done {seconds(event.seconds)}"
            yield f"=> {harmless(event.step)} {how}"
        case StepFailed():
            yield f"=> {harmless(event.step)} FAILED: {harmless(event.what)}"
        case ShellStarted():
            yield f"=> {harmless(event.step)} failed; a shell in its tree as it was (leave it with exit):"
        case ShellEnded():
            pass
        case ImageBuilt():
            yield f"=> image {harmless(event.name)} {event.digest} ({size(event.size)})"
        case ImagePushed():
            counts = f"{size(event.sent)} sent, {size(event.skipped)} already there"
            yield f"=> pushed {harmless(event.reference)} {event.digest} ({counts})"
        case ContainerStateChanged():
            detail = f": {harmless(event.detail)}" if event.detail else ""
            yield f"=> container {harmless(event.name)} {event.state}{detail}"
        case BytesFetched() | BytesSent():
            of = "" if event.total is None else f" of {size(event.total)}"
            yield f"=> {harmless(event.name)} {size(event.done)}{of}"
        case _:
            assert_never(event)


def expectation(value: float | None) -> str:
    """ ", about 2.0s" for an estimate that is worth a word."""
    return f", about {seconds(value)}" if value and value >= 0.05 else ""


def seconds(value: float) -> str:
    """A duration: "0.4s", "2m 05s"."""
    if value < 60:
        return f"{value:.1f}s"
    return f"{int(value) // 60}m {int(value) % 60:02d}s"
