"""Settled stacks kept between commands: one whose files and variables are as they were is settled by `stat` alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild import __version__, settings
from stackbuild.core import stamps

if TYPE_CHECKING:
    from stackbuild.stack.question import Question
    from stackbuild.stack.stack import Stack

VALUES = frozenset(
    {
        ("pathlib", "PosixPath"),
        ("stackbuild.core.digest", "Digest"),
        ("stackbuild.core.origin", "Origin"),
        ("stackbuild.settings.levels", "Level"),
        ("stackbuild.settings.setting", "Choice"),
        ("stackbuild.settings.setting", "RESET"),
        ("stackbuild.settings.setting", "Said"),
        ("stackbuild.settings.setting", "Setting"),
        ("stackbuild.stack.place", "Place"),
        ("stackbuild.stack.place", "Quoted"),
        ("stackbuild.stack.quantities", "Port"),
        ("stackbuild.stack.quantities", "Tmpfs"),
        ("stackbuild.stack.quantities", "Ulimit"),
        ("stackbuild.stack.quantities", "Volume"),
        ("stackbuild.stack.request", "Request"),
        ("stackbuild.stack.request", "Term"),
        ("stackbuild.stack.settled", "SettledTable"),
        ("stackbuild.stack.stack", "Stack"),
    }
)
"""All that a settled stack is made of beside text, numbers, tuples, lists and tables. Nothing else is ever loaded."""


class KeptStacks:
    """The settled stacks of one store. area: a folder of its own there."""

    def __init__(self, area: Path) -> None:
        self._area = area

    def get(self, words: list[str], environ: Mapping[str, str]) -> Stack | None:
        """The stack that was kept under these words, if nothing that settling it read has changed since.

        words: see `words_of`. Cost: a `stat` of each of those files, and of ours that settle.
        """
        stamp = stamps.read(stamps.place(self._area, words))
        if stamp is None or not stamp.current(environ):
            return None
        return _stack_of(stamp)

    def last(self, words: list[str]) -> Stack | None:
        """The stack that was kept under these words, whatever has changed since: good for guesses only."""
        stamp = stamps.read(stamps.place(self._area, words))
        return _stack_of(stamp) if stamp is not None else None

    def made(self, words: list[str], environ: Mapping[str, str], code: str) -> Any:
        """What was made of the stack of these words by this file of ours (`put_made`); None if it is not known."""
        stamp = stamps.read(stamps.place(self._area, words))
        if stamp is None or not stamp.current(environ):
            return None
        signature, made = stamp.result.get("made", {}).get(code, (None, None))
        return made if signature == stamps.signature(code) else None

    def put_made(self, words: list[str], environ: Mapping[str, str], code: str, made: Any) -> None:
        """Keep something made of a kept stack, as JSON, beside it."""
        place = stamps.place(self._area, words)
        stamp = stamps.read(place)
        if stamp is not None and stamp.current(environ):
            others = stamp.result.get("made", {})
            result = {**stamp.result, "made": {**others, code: (stamps.signature(code), made)}}
            stamps.write(place, stamp._replace(result=result), mode=0o600)

    def put(self, words: list[str], environ: Mapping[str, str], stack: Stack, started: int) -> None:
        """Keep a stack. started: time.time_ns() before the first of its files was read.

        If one of them changed since then, it may have been read before: then nothing is kept.
        """
        text = base64.b64encode(dump(stack)).decode()
        stamp = stamps.take([*stack.read, *_own_files()], environ, stack.variables, {"stack": text})
        if stamp.older_than(started):
            stamps.write(stamps.place(self._area, words), stamp, mode=0o600)  # an env-file may hold passwords


def words_of(question: Question, pins: Mapping[str, str], image_level: Mapping[str, Any] | None) -> list[str]:
    """All that decides a settled stack and is neither a file nor a variable that it names."""
    environ = question.environ
    return [
        __version__,
        os.getcwd(),  # origins are shown relative to it and to the home
        os.path.expanduser("~"),
        str(question.file),
        *question.profiles,
        "--set",
        *question.sets,
        "--environment",
        *sorted(f"{name}={value}" for name, value in environ.items() if name.startswith("STACKBUILD__")),
        str(question.user_config),
        str(question.site_config),
        "--pins",
        *(f"{name}={digest}" for name, digest in sorted(pins.items())),
        hashlib.sha256(json.dumps(image_level, sort_keys=True).encode()).hexdigest(),
    ]


def _stack_of(stamp: stamps.Stamp) -> Stack | None:
    try:
        return load(base64.b64decode(stamp.result["stack"]))
    except (KeyError, TypeError, ValueError):
        return None


def dump(stack: Stack) -> bytes:
    """A settled stack as bytes for `load` of the same version of stackbuild."""
    return pickle.dumps(stack, protocol=5)


def load(data: bytes) -> Stack | None:
    """The stack of such bytes; None if they are anything else: no other code than the values' own is ever run."""
    try:
        found = _Values(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError):
        return None
    from stackbuild.stack.stack import Stack

    return found if isinstance(found, Stack) else None


class _Values(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in VALUES:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a settled stack")
        return super().find_class(module, name)


def _own_files() -> Iterator[str]:
    """The code that settles: another version of it may settle otherwise."""
    for folder in (os.path.dirname(__file__), os.path.dirname(settings.__file__)):
        yield from (entry.path for entry in os.scandir(folder) if entry.name.endswith((".py", ".toml")))
