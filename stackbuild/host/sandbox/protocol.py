"""The seam of build sandboxes: unpacked lower folders in, commands run, changes out. Knows no layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stackbuild.core.changes import Changes
from stackbuild.core.errors import StepError


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host to be seen at `target` (absolute). Its mount point leaves no trace."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command in the tree, as its root user.

    env: complete; nothing is inherited. timeout: seconds, None for the sandbox's own bound.
    stdin: bytes handed to it. network: False means no network but an own loopback.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    binds: tuple[Bind, ...] = ()
    network: bool = False
    timeout: float | None = None
    stdin: bytes = b""
    terminal: bool = False  # for a shell: the caller's own terminal, no capture
    tmpfs: tuple[str, ...] = field(default=("/run", "/tmp"))  # private, empty, gone afterwards


class Box(Protocol):
    """A tree made of lower folders and what was changed in it since."""

    root: Path
    """The tree as this process sees it: may be read and written (never follow links in it blindly)."""

    def run(self, command: Command, output: Callable[[bytes], None]) -> int:
        """Run to the end; stdout and stderr (one stream) go to `output` as they come.

        Returns the exit code (128 + N after signal N). Every process it left is killed.
        Raises StepError after a timeout or too much output, HostError if it could not be started.
        """

    def insert(self, lowers: Sequence[Path], at: int) -> None:
        """Put more folders (lowest first) into the stack of lowers, the first at index `at`.

        What was changed so far stays on top, but a non-directory entry of the inserted folders
        takes the place of a changed entry of the same path.
        """

    def changes(self, base: Sequence[Path] | None = None) -> Changes:
        """What differs now from the lowers (those inserted included), or from another stack of folders."""


class NoRoom(StepError):
    """A box that was to be small had no room for what was changed in it."""


class Sandbox(Protocol):
    """A way to run build commands. The same commands give the same changes in every sandbox."""

    name: str
    gaps: tuple[str, ...]
    """What of DESIGN section 10's promises this one does not give, in the user's words."""

    def open(self, lowers: Sequence[Path], scratch: Path, *, small: bool = False) -> AbstractContextManager[Box]:
        """A box over these folders, lowest first, at least one. `scratch`: an empty folder for its own use.

        small: commands will change little, so the changes may be kept in memory where there is plenty. What fails
        because there was too little after all raises NoRoom; the same without `small` may do.

        Lowers are folders of two kinds of entries: plain ones, and whiteouts. A whiteout is a
        character device 0:0, or (where the host may not make devices) an empty file `.wh.NAME`.
        """
