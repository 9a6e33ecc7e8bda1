"""Events for people and programs on stderr: plain lines, JSON lines, or (live.py) a live view. Data goes elsewhere."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import RLock
from typing import TextIO

from stackbuild.cli.output import write
from stackbuild.cli.wording import Transfers, is_noise, sentence
from stackbuild.core.events import (
    VERSION,
    BytesFetched,
    BytesSent,
    Event,
    Listener,
    Note,
    PhaseFinished,
    PhaseStarted,
    ShellEnded,
    ShellStarted,
    StepFailed,
    StepOutput,
)

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
            yield guarded(Patient(Late(lambda: stack.enter_context(_live_view(stream, verbose)))))
    else:
        yield guarded(Patient(Plain(stream, verbose)))


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


class Patient:
    """While a shell has the terminal, what happens elsewhere waits to be told."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._shell = False
        self._waiting: list[Event] = []

    def __call__(self, event: Event) -> None:
        if self._shell and not isinstance(event, ShellEnded):
            self._waiting.append(event)
            return
        self._shell = isinstance(event, ShellStarted)
        self._listener(event)
        waiting, self._waiting = self._waiting, []
        for late in waiting:
            self(late)


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
        if (isinstance(event, Note) and event.level == "warning") or isinstance(event, StepFailed | ShellStarted):
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
