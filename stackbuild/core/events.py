"""What happened, as versioned values for listeners; text for people is the listeners' job."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

VERSION = 1  # of the JSON form: a field may be added; a changed meaning is a new version


class Note(NamedTuple):
    """A sentence that the user should read once: a relaxation, a gap, an advice. level: info | warning."""

    text: str
    level: str = "info"


class PhaseStarted(NamedTuple):
    """A stage of the whole command: "resolve", "plan", "build", "push", "start"."""

    phase: str


class PhaseFinished(NamedTuple):
    phase: str
    seconds: float
    summary: str = ""


class BytesFetched(NamedTuple):
    """A download goes on. total: None if the server did not say. May come often."""

    name: str
    done: int
    total: int | None


class BytesSent(NamedTuple):
    """An upload goes on."""

    name: str
    done: int
    total: int


class PlanMade(NamedTuple):
    """What will happen: how many steps are there, how many of them are known to be cached, about how many seconds."""

    steps: int
    cached: int
    expected: float = 0.0


class StepStarted(NamedTuple):
    """Why it runs, where the user said so ("stack.toml:12"), and about how many seconds it will take; None: unknown."""

    step: str
    reason: str = ""
    expected: float | None = None


class StepOutput(NamedTuple):
    """One line that a step's command wrote, control characters made harmless, no newline."""

    step: str
    line: str


class StepFinished(NamedTuple):
    step: str
    cached: bool
    seconds: float


class StepFailed(NamedTuple):
    step: str
    what: str


class ShellStarted(NamedTuple):
    """A shell in the tree of a step that failed has the terminal from here on."""

    step: str


class ShellEnded(NamedTuple):
    """The shell gave the terminal back."""

    step: str


class ImageBuilt(NamedTuple):
    """An image is in the store. digest: of its manifest (or index)."""

    name: str
    digest: str
    size: int


class ImagePushed(NamedTuple):
    """sent, skipped: bytes of blobs that went over, and that were there already."""

    reference: str
    digest: str
    sent: int
    skipped: int


class ContainerStateChanged(NamedTuple):
    """state: created | running | healthy | unhealthy | restarting | exited."""

    name: str
    state: str
    detail: str = ""


Event = (
    Note
    | PhaseStarted
    | PhaseFinished
    | BytesFetched
    | BytesSent
    | PlanMade
    | StepStarted
    | StepOutput
    | StepFinished
    | StepFailed
    | ShellStarted
    | ShellEnded
    | ImageBuilt
    | ImagePushed
    | ContainerStateChanged
)
Listener = Callable[[Event], None]  # must not raise, must not block


def nobody(event: Event) -> None:
    """A listener that does not listen."""


def is_of(step: str, *kinds: str) -> bool:
    """Whether a step, by its id, is of one of these kinds, for any platform and in any stage or stack."""
    return any(part.rpartition(":")[2] in kinds for part in step.split("/")[:-1])
