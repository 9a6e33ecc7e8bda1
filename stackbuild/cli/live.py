"""The live view of a terminal: finished work scrolls by above, what runs now is redrawn below it. Imports rich."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stackbuild.cli.wording import Transfers, expectation, is_noise, seconds, sentence
from stackbuild.core.events import (
    BytesFetched,
    BytesSent,
    Event,
    Listener,
    Note,
    PhaseFinished,
    PhaseStarted,
    PlanMade,
    ShellStarted,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    is_of,
)
from stackbuild.core.text import harmless

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass
class Running:
    """A step under way."""

    since: float
    reason: str = ""
    expected: float | None = None
    line: str = ""


@contextmanager
def live_view(stream: TextIO, verbose: bool = False) -> Iterator[Listener]:
    """A listener that draws on the stream while something runs; then only what finished stays on the screen.

    When nothing runs, and after a failure, the terminal is left alone: data, a log or a shell may follow.
    """
    # Width and colour are rich's to find out; it is told nothing but that this is a terminal.
    console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
    view = View(console, verbose)
    try:
        yield view
    finally:
        view.rest()


class View:
    """What the terminal shows; events change it, rich's own thread draws it."""

    def __init__(self, console: Console, verbose: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._verbose, self._now = console, verbose, now
        self._lock = RLock()
        self._running: dict[str, Running] = {}
        self._phase, self._phase_since = "", now()
        self._steps = self._finished = self._cached = 0
        self._expected = 0.0
        self._transfers = Transfers()
        self._ascii = "utf" not in (console.encoding or "").lower()
        self._live: Live | None = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._take(event)
            begins = isinstance(event, PhaseStarted | StepStarted | BytesFetched | BytesSent)
            busy = bool(self._phase or self._running or self._transfers)
        if begins and self._live is None:
            self._draw()
        elif isinstance(event, StepFailed | ShellStarted) or not busy:
            self.rest()

    def _draw(self) -> None:
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def rest(self) -> None:
        """Take what is redrawn off the screen. Not under the lock: rich's thread may be waiting for it."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _take(self, event: Event) -> None:
        match event:
            case PhaseStarted():
                self._phase, self._phase_since = event.phase, self._now()
                self._transfers = Transfers()
            case PhaseFinished():
                self._phase = ""
                self._transfers = Transfers()
                self._done(event.phase, seconds(event.seconds), event.summary)
            case PlanMade():
                self._steps, self._finished, self._cached, self._expected = event.steps, 0, 0, event.expected
            case StepStarted():
                self._running[event.step] = Running(self._now(), harmless(event.reason), event.expected)
                if self._verbose:
                    self._print(next(sentence(event)).replace("=>", " ", 1), "dim")
            case StepOutput():
                self._output(event)
            case StepFinished():
                self._step_finished(event)
            case StepFailed():
                self._running.pop(event.step, None)
                self._print(f"{self._mark('✘', 'x')} {harmless(event.step)}  {harmless(event.what)}", "red")
            case BytesFetched() | BytesSent():
                self._transfers.add(event)
            case ShellStarted():
                self._print(next(sentence(event)).removeprefix("=> "), "red")
            case Note():
                self._print(next(sentence(event)), "yellow" if event.level == "warning" else "dim")
            case _:
                for line in sentence(event):
                    self._print(f"{self._mark('✔', '*')} {line.removeprefix('=> ')}", "")

    def _output(self, event: StepOutput) -> None:
        if event.step in self._running and (line := harmless(event.line).strip()):
            self._running[event.step].line = line
        if self._verbose:
            self._print(f"  {harmless(event.step)} | {harmless(event.line)}", "dim")

    def _step_finished(self, event: StepFinished) -> None:
        self._finished += 1
        self._cached += event.cached
        self._running.pop(event.step, None)
        if self._verbose or not is_noise(event):
            self._done(event.step, "cached" if event.cached else seconds(event.seconds))

    def _mark(self, mark: str, ascii_mark: str) -> str:
        return ascii_mark if self._ascii else mark

    def _done(self, name: str, took: str, summary: str = "") -> None:
        text = Text(f"{self._mark('✔', '*')} ", "green")
        text.append(harmless(name), "default")
        text.append(f"  {took}", "dim")
        if summary:
            text.append(f"  {harmless(summary)}", "default")
        self._console.print(text, soft_wrap=True)

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(line, style), soft_wrap=True)

    def render(self) -> RenderableType:
        """What runs now: the phase, its transfers, one row per running step, cut to the terminal."""
        with self._lock:
            return Group(*self._rows())

    def _rows(self) -> Iterator[RenderableType]:
        now = self._now()
        if self._phase:
            build = self._phase == "build" and self._steps
            count = f"  {self._finished}/{self._steps}, {self._cached} cached" if build else ""
            expected = self._expected if build else None
            yield self._row(f"{self._spin(now)} {harmless(self._phase)}{count}", now - self._phase_since, expected)
        if self._transfers:
            yield self._transfer_row()
        room = max(1, self._console.height - 5)
        shown = [(n, s) for n, s in self._running.items() if self._verbose or not is_of(n, "fetch", "facet")]
        for name, step in shown[:room]:
            said = (step.reason, step.line)
            yield self._row(f"  {self._spin(now)} {harmless(name)}", now - step.since, step.expected, *said)
        if len(shown) > room:
            yield self._cut(Text(f"    and {len(shown) - room} more", "dim"))

    def _spin(self, now: float) -> str:
        return "-\\|/"[int(now * 10) % 4] if self._ascii else SPINNER[int(now * 10) % len(SPINNER)]

    def _row(self, left: str, elapsed: float, expected: float | None, reason: str = "", line: str = "") -> Text:
        """One thing under way: its time so far and about the whole, why it runs, what it said last."""
        text = Text(left)
        text.append(f"  {seconds(elapsed)}", "cyan")
        text.append(expectation(expected).replace(",", " of", 1), "cyan")
        if reason:
            text.append(f"  {reason}", "yellow")
        if line:
            text.append(f"  {line}", "dim")
        return self._cut(text)

    def _cut(self, text: Text) -> Text:
        """A row of one line, whatever the width: a wrapped one would break the redraw."""
        text.no_wrap = True
        text.truncate(max(1, self._console.width - 1), overflow="ellipsis")
        return text

    def _transfer_row(self) -> RenderableType:
        words = f"  {self._mark('↓', 'v')} {self._transfers}"
        if self._transfers.total is None or self._console.width < 50:
            return self._cut(Text(words))
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._transfers.total, completed=self._transfers.done, width=24)
        row.add_row(Text(words, no_wrap=True), bar)
        return row
