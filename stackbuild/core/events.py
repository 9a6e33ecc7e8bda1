"""What happened, as versioned values for listeners; text for people is the listeners' job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

VERSION = 1  # of the JSON form: a field may be added; a changed meaning is a new version


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence that the user should read once: a relaxation, a gap, an advice. level: info | warning."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A stage of the whole command: "resolve", "plan", "build", "push", "start"."""

    phase: str


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    phase: str
    seconds: float
    summary: str = ""


@dataclass(frozen=True, slots=True)
class BytesFetched:
    """A download goes on. total: None if the server did not say. May come often."""

    name: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class BytesSent:
    """An upload goes on."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class PlanMade:
    """What will happen: how many steps are there, how many of them are known to be cached."""

    steps: int
    cached: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """One line that a step's command wrote, control characters made harmless, no newline."""

    step: str
    line: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    step: str
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    step: str
    what: str


@dataclass(frozen=True, slots=True)
class ImageBuilt:
    """An image is in the store. digest: of its manifest (or index)."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class ImagePushed:
    """sent, skipped: bytes of blobs that went over, and that were there already."""

    reference: str
    digest: str
    sent: int
    skipped: int


@dataclass(frozen=True, slots=True)
class ContainerStateChanged:
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
    | ImageBuilt
    | ImagePushed
    | ContainerStateChanged
)
Listener = Callable[[Event], None]  # must not raise, must not block


def nobody(event: Event) -> None:
    """A listener that does not listen."""


def is_of(step: str, *kinds: str) -> bool:
    """Whether a step, by its id, is of one of these kinds, for any platform and in any stage."""
    return any(part in kinds for part in step.split("/")[:-1])
