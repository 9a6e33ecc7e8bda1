"""Expected failures, in one shape: what, where, why, what to do. One subclass per exit code, no deeper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stackbuild.core.origin import Origin


class Hint(NamedTuple):
    """One thing that the user can do about an error."""

    text: str
    command: str = ""  # can be pasted into a shell as it stands


class StackError(Exception):
    """An expected failure: what failed (a sentence), where, why (the field's words), what to do.

    errors: the several mistakes of one file, if this error stands for more than one.
    output: the last lines that a failed child process wrote, if that is what failed.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: Origin | None = None,
        why: str = "",
        hints: Sequence[Hint] = (),
        output: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hints = tuple(hints)
        self.output = output
        self.errors: tuple[StackError, ...] = ()

    def __str__(self) -> str:
        text = self.what
        if self.where is not None:
            text = f"{self.where}: {text}"
        if self.why:
            text += f": {self.why}"
        return text


class StepError(StackError):
    """A step or a container failed; a secret was found in a result."""

    exit_code = 1


class UsageError(StackError):
    """Bad usage, a wrong stack file, a stale lock."""

    exit_code = 2

    @classmethod
    def of(cls, errors: Sequence[StackError]) -> UsageError:
        """One error that stands for all of these (at least one); a single one is itself."""
        if len(errors) == 1 and isinstance(errors[0], UsageError):
            return errors[0]
        whole = cls(f"{len(errors)} mistakes", where=errors[0].where)
        whole.errors = tuple(errors)
        return whole


class ResolutionError(StackError):
    """The requests have no solution."""

    exit_code = 3


class NetworkError(StackError):
    """A registry, mirror or network failed; a signature or digest is wrong."""

    exit_code = 4


class HostError(StackError):
    """The runtime, the host, the disk or the store cannot do it.

    damaged: an object of the store was not what its name says. It was dropped: to do the same again makes it anew.
    """

    exit_code = 5
    damaged = False


class Interrupted(StackError):
    """The user asked to stop (Ctrl-C, SIGTERM)."""

    exit_code = 130
