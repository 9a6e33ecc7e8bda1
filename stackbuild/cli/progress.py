"""Events for people and programs on stderr: plain lines, JSON lines, or (live.py) a live view. Data goes elsewhere."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import RLock
from typing import TextIO, assert_never

from stackbuild.cli.output import write
from stackbuild.core.events import (
    VERSION,
    BytesFetched,
    BytesSent,
    ContainerStateChanged,
    Event,
    ImageBuilt,
    ImagePushed,
    Listener,
    Note,
    PhaseFinished,
    PhaseStarted,
    PlanMade,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    is_of,
)
from stackbuild.core.text import harmless

TRANSFER_LINE = 5.0  # seconds between two lines about a transfer that goes on


@contextmanager
def make(
    progress: str = "auto", *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None
) -> Iterator[Listener]:
    """The listener for one command. auto: the live view on a terminal that can, else plain lines.

    quiet: warnings and failures alone (JSON: no output lines and no transfers). verbose: cached steps and
    the live view's step output as well. Events may come from any thread. Leaving ends the live view, so that
    what is written next has the terminal for itself.
    """
    stream = sys.stderr if stream is None else stream
    if progress == "json":
        yield guarded(Json(stream, quiet))
    elif quiet:
        yield guarded(Quiet(stream))
    elif progress == "tty" or (progress == "auto" and live_terminal(stream)):
        with ExitStack() as stack:
            yield guarded(Late(lambda: stack.enter_context(_live_view(stream, verbose))))
    else:
        yield guarded(Plain(stream, verbose))


def make_plain(progress: str, *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None) -> Listener:
    """A listener that needs no live view: for commands that are over in a blink."""
    stream = sys.stderr if stream is None else stream
    if progress == "json":
        return guarded(Json(stream, quiet))
    return guarded(Quiet(stream) if quiet else Plain(stream, verbose))


def _live_view(stream: TextIO, verbose: bool) -> AbstractContextManager[Listener]:
    from stackbuild.cli.live import live_view  # rich takes 50 ms to import

    return live_view(stream, verbose)


class Late:
    """A listener that is made at the first event: a command that has nothing to tell does not pay for it."""

    def __init__(self, make: Callable[[], Listener]) -> None:
        self._make = make
        self._listener: Listener | None = None

    def __call__(self, event: Event) -> None:
        self._listener = self._listener or self._make()
        self._listener(event)


def live_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which lines can be redrawn, and no CI's log."""
    import os

    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")


def guarded(listener: Listener) -> Listener:
    """One event at a time; a reader of stderr that went away does not end the build."""
    lock = RLock()

    def listen(event: Event) -> None:
        with lock:
            try:
                listener(event)
            except (OSError, ValueError):  # ValueError: the stream is closed
                pass

    return listen


def kind(event: Event) -> str:
    """The "type" of an event in JSON: StepFinished is "step_finished"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


class Json:
    """One JSON object per line: "v", "type" and the fields of the event."""

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet

    def __call__(self, event: Event) -> None:
        if self._quiet and isinstance(event, StepOutput | BytesFetched | BytesSent):
            return
        write(self._stream, json.dumps({"v": VERSION, "type": kind(event), **event._asdict()}) + "\n")


class Quiet:
    """What the user must not miss."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        if (isinstance(event, Note) and event.level == "warning") or isinstance(event, StepFailed):
            for line in sentence(event):
                write(self._stream, line + "\n")


class Plain:
    """Lines for a log: what began, what it wrote, what came of it.

    Without `verbose` the many small steps stay out of it, and so does what maintainer scripts say; when one
    fails, the error shows it.
    """

    def __init__(self, stream: TextIO, verbose: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._verbose, self._now = stream, verbose, now
        self._transfers = Transfers()
        self._next_line = now() + TRANSFER_LINE

    def __call__(self, event: Event) -> None:
        if isinstance(event, BytesFetched | BytesSent):
            self._transfers.add(event)
            if self._now() < self._next_line:
                return
            self._next_line = self._now() + TRANSFER_LINE
            write(self._stream, f"=> {self._transfers}\n")
            return
        if isinstance(event, PhaseStarted | PhaseFinished):
            self._transfers = Transfers()
        if not self._verbose and is_noise(event):
            return
        for line in sentence(event):
            write(self._stream, line + "\n")


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
            yield f"=> {event.steps} steps, {event.cached} cached{expectation(event.expected)}"
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


def size(value: int) -> str:
    """A number of bytes in decimal units: "51.2 MB"."""
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= bytes_in_it:
            return f"{value / bytes_in_it:.1f} {unit}"
    return f"{value} B"
