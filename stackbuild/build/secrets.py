"""Looks for secrets in what a step wrote: hides them in its output, finds them in its result. Keeps nothing."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stackbuild.core.changes import Changes
from stackbuild.core.errors import Hint, StepError, UsageError
from stackbuild.core.follow import show
from stackbuild.oci.tree_read import TreeReader

SHORTEST = 4
"""Bytes. What is shorter would be found everywhere."""
_LINE = 12  # a line of a longer secret counts by itself from here on
_CHUNK = 1 << 20
HIDDEN = b"***"


class Needles:
    """The byte strings that give a secret away, each with the secret's name."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        """Raises UsageError for a secret that is too short to be looked for."""
        found: dict[bytes, str] = {}
        for name, value in secrets.items():
            if len(value.strip()) < SHORTEST:
                raise UsageError(
                    f"the secret `{name}` is too short",
                    why=f"it has {len(value.strip())} bytes, and its result could not be searched for it",
                    hints=[Hint(f"a secret has at least {SHORTEST} bytes")],
                )
            for form in _forms(value):
                found.setdefault(form, name)
        self._forms = dict(sorted(found.items(), key=lambda item: (-len(item[0]), item[0])))
        self.longest = max(map(len, self._forms), default=0)

    def find(self, data: bytes) -> str | None:
        """The name of a secret that the data holds."""
        return next((name for form, name in self._forms.items() if form in data), None)

    def hide(self, data: bytes) -> bytes:
        """The data with each secret replaced."""
        for form in self._forms:
            if form in data:
                data = data.replace(form, HIDDEN)
        return data

    def pending(self, data: bytes) -> int:
        """How many bytes at the end may be the begin of a secret."""
        for length in range(min(self.longest - 1, len(data)), 0, -1):
            end = data[-length:]
            if any(form.startswith(end) for form in self._forms):
                return length
        return 0


def _forms(value: bytes) -> Iterator[bytes]:
    """As it is, line by line if it has several, and as base64, in a URL and in JSON."""
    whole = value.strip()
    lines = [line.strip() for line in whole.splitlines()]
    pieces = [whole, *(line for line in lines if len(lines) > 1 and len(line) >= _LINE and not line.startswith(b"--"))]
    for piece in pieces:
        yield piece
        yield urllib.parse.quote_from_bytes(piece, safe="").encode()
        try:
            yield json.dumps(piece.decode())[1:-1].encode()
        except UnicodeDecodeError:
            pass
        if len(piece) >= _LINE:
            yield from _base64(piece)


def _base64(piece: bytes) -> Iterator[bytes]:
    """The digits that base64 has for it wherever it stands in what was encoded (user:PASSWORD)."""
    for before in range(3):
        digits = base64.b64encode(bytes(before) + piece)
        first = (0, 2, 3)[before]
        last = len(digits) - (0, 3, 2)[(before + len(piece)) % 3]
        yield digits[first:last]
        yield digits[first:last].translate(bytes.maketrans(b"+/", b"-_"))


class Hiding:
    """An output that hides secrets, also those that come in two pieces."""

    def __init__(self, needles: Needles, output: Callable[[bytes], None]) -> None:
        self._needles, self._output = needles, output
        self._kept = b""

    def write(self, data: bytes) -> None:
        data = self._needles.hide(self._kept + data)
        pending = self._needles.pending(data)
        self._kept = data[len(data) - pending :]
        if len(data) > pending:
            self._output(data[: len(data) - pending])

    def flush(self) -> None:
        """What was kept back is no secret: nothing more comes."""
        if self._kept:
            self._output(self._kept)
        self._kept = b""


def refuse_secrets(changes: Changes, needles: Needles) -> None:
    """Raises StepError if a changed name, link, attribute or content holds a secret. Reads all of it."""
    if not needles.longest:
        return
    with TreeReader(changes.root) as tree:
        for path in (*changes.present, *changes.deleted):
            if (name := needles.find(path)) is not None:
                raise _found(name, "the name of a file")
        for path in changes.present:
            with tree.open(path) as node:
                attributes = b"\0".join(part for pair in node.stat.xattrs.items() for part in pair)
                name = needles.find(node.stat.target) or needles.find(attributes)
                kept = b""
                while node.stat.kind == "file" and name is None and (piece := node.read(_CHUNK)):
                    name = needles.find(kept + piece)
                    kept = (
                        piece[-needles.longest :]
                        if len(piece) >= needles.longest
                        else (kept + piece)[-needles.longest :]
                    )
                if name is not None:
                    raise _found(name, show(path))


def _found(secret: str, place: str) -> StepError:
    return StepError(
        f"the secret `{secret}` is in the result of the step",
        why=f"{place} holds it, and everybody who has the image could read it",
        hints=[Hint("delete the file at the end of the script, or read the secret from /run/secrets where it is used")],
    )


def read_secrets(wanted: tuple[str, ...], places: Mapping[str, Path]) -> dict[str, bytes]:
    """The secrets of a step by name. Raises UsageError for one that was not given."""
    for name in wanted:
        if name not in places:
            raise UsageError(
                f"the secret `{name}` was not given",
                hints=[Hint("give it from a file or a variable", f"stackbuild build --secret id={name},env={name}")],
            )
    return {name: places[name].read_bytes() for name in wanted}
