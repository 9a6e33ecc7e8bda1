"""Watch a container from a command: its log, its health, its end. Starts nothing; stops one when it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

from stackbuild.core.errors import Hint, StepError
from stackbuild.core.events import ContainerStateChanged, Listener, nobody
from stackbuild.run.asked import Asked
from stackbuild.run.container import ALIVE, Container, State
from stackbuild.run.log import LogReader
from stackbuild.run.requests import POLL, News, ask_to_stop

HOPELESS = 5
"""Restarts in a row after which nobody waits any longer for a container to become healthy."""

SETTLED = 1.0
"""Seconds after which a container that would be started again, and has no check, counts as one that stays."""

Output = Callable[[str, bytes], None]
"""Gets (stream, bytes) as a container wrote them; stream: "stdout" | "stderr"."""


def wait_healthy(container: Container, timeout: float, listener: Listener = nobody) -> None:
    """Wait until the health check passes; without one, until it runs (for a while, if it would be started again).

    Raises StepError if the container ends, becomes unhealthy or is restarted over and over, or when `timeout` seconds
    are over.
    """
    deadline = time.monotonic() + timeout
    with News(container) as news:
        while not _is_healthy(container, listener):
            left = deadline - time.monotonic()
            if left < 0:
                report = container.state().report
                why = f"after {timeout:g} s" + (f": {report}" if report else "")
                raise _failed(container, "is not healthy yet", why)
            news.wait(min(left, SETTLED))


def _is_healthy(container: Container, listener: Listener) -> bool:
    """Whether it runs and its check, if it has one, passes. Raises StepError if there is no hope."""
    state = container.state()
    if state.status == "exited":
        raise _ended(container, state)
    if state.status == "restarting" and state.restarts >= HOPELESS:
        raise _failed(container, "keeps ending", f"{_why(state)}, and {state.restarts} restarts did not help")
    if state.health in ("healthy", "unhealthy"):
        listener(ContainerStateChanged(container.name, state.health, state.report))
    if state.health == "unhealthy":
        raise _failed(container, "is unhealthy", state.report)
    if state.status == "running" and state.health == "none":
        return container.spec.restart == "no" or time.time() - state.started >= SETTLED
    return state.health == "healthy"


def _failed(container: Container, what: str, why: str) -> StepError:
    hint = Hint("see what it wrote", f"stackbuild logs {container.name}")
    return StepError(f"{container.name} {what}", why=why, hints=(hint,), output=tail(container))


def _ended(container: Container, state: State) -> StepError:
    return StepError(f"{container.name} has ended", why=_why(state), output=tail(container))


def _why(state: State) -> str:
    return state.detail or f"exit code {state.exit_code}"


def tail(container: Container, lines: int = 20) -> str:
    """The last lines of its log."""
    with LogReader(container.path("log")) as reader:
        data = b"".join(entry.data for entry in reader.read())
    return "\n".join(data.decode(errors="replace").splitlines()[-lines:])


def logs(
    container: Container,
    output: Output,
    *,
    follow: bool = False,
    last: int | None = None,
    since: float = 0.0,
) -> None:
    """Hand its log to `output`: all, or the last lines; then, with `follow`, what comes until it ends."""
    with LogReader(container.path("log")) as reader:
        entries = [entry for entry in reader.read() if entry.seconds >= since]
        if last is not None:
            ends = [number for number, entry in enumerate(entries) if entry.data.endswith(b"\n")]
            entries = entries[ends[-last - 1] + 1 :] if 0 <= last < len(ends) else entries
        for entry in entries:
            output(entry.stream, entry.data)
        with News(container) as news:
            while follow:
                over = container.state().status not in ALIVE
                for entry in reader.read():
                    output(entry.stream, entry.data)
                if over:
                    return
                news.wait()


def attach(
    container: Container,
    output: Output,
    listener: Listener = nobody,
    *,
    since: float | None = None,
    asked: Asked | None = None,
    until: Callable[[], bool] | None = None,
) -> int | None:
    """In the foreground: stream its log until it ends, and give back its exit code; None when `until` says so first.

    since: seconds since 1970 from which on the log is shown; None: from this start on. asked: signals that
    are counted since just before the container was started, by a caller that has entered it. SIGINT and SIGTERM stop
    the container, a second one at once. Only for the main thread.
    """
    first = container.state()
    with (
        nullcontext(asked) if asked else Asked() as signals,
        LogReader(container.path("log")) as reader,
        News(container) as news,
    ):
        # It may be healthy before anybody looks: that is news all the same.
        shown = since if since is not None else asked.since if asked else first.started
        done, healthy = 0, ""
        while True:
            state = container.state()
            if state.health != healthy and state.health in ("healthy", "unhealthy"):
                healthy = state.health
                listener(ContainerStateChanged(container.name, healthy, state.report))
            for entry in reader.read():
                if entry.seconds >= shown:
                    output(entry.stream, entry.data)
            if state.status not in ALIVE:
                break
            if (times := signals.heard()) > done:
                done = times
                ask_to_stop(container, 0.0 if done > 1 else None)
            elif not done and until and until():
                return None
            news.wait(POLL if until else None, signals.woken)
    listener(ContainerStateChanged(container.name, "exited", _why(state)))
    return 137 if state.exit_code is None else state.exit_code
