"""SHA-256 digests of bytes that pass: the only digest algorithm stackbuild writes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NewType, Protocol

from stackbuild.core.errors import NetworkError

Digest = NewType("Digest", str)  # "sha256:" and 64 lower-case hexadecimal digits

_FORM = re.compile(r"sha256:[0-9a-f]{64}\Z")
CHUNK = 1 << 20


class Hash(Protocol):
    """What hashlib gives."""

    def update(self, data: Any, /) -> None: ...

    def hexdigest(self) -> str: ...


def parse_digest(text: str) -> Digest:
    """Check the form "sha256:HEX". Raises ValueError."""
    if not isinstance(text, str) or not _FORM.match(text):
        raise ValueError(f"not a sha256 digest: {text!r:.120}")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """The 64 hexadecimal digits."""
    return digest[7:]


def digest_of(data: bytes | memoryview) -> Digest:
    """The digest of these bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def finish(hasher: Hash) -> Digest:
    """The digest that a SHA-256 hasher has arrived at."""
    return Digest("sha256:" + hasher.hexdigest())


def digest_of_file(path: Path) -> tuple[Digest, int]:
    """Digest and size in bytes of a regular file; reads all of it."""
    with open(path, "rb") as file:
        hasher = hashlib.file_digest(file, "sha256")
        return finish(hasher), file.tell()


def chunks(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """The rest of a stream in pieces of at most `size` bytes."""
    while piece := stream.read(size):
        yield piece


class HashingWriter:
    """Passes writes on to a file and knows digest and size of what passed."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        self._out.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        return finish(self._hash)


class VerifyingReader:
    """A stream whose end is an error unless digest and size are the ones promised.

    Raises NetworkError as soon as more bytes than `size` come, or at the end when
    the digest or size is another. `name` is what the user calls these bytes.
    """

    def __init__(self, stream: BinaryIO, digest: Digest, size: int, name: str) -> None:
        self._stream, self._digest, self._size, self._name = stream, digest, size, name
        self._hash = hashlib.sha256()
        self._seen = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self._seen += len(data)
        if self._seen > self._size:
            raise NetworkError(f"{self._name} is larger than promised", why=f"expected {self._size} bytes, more came")
        if size != 0 and (not data or size < 0):
            self._check()
        return data

    def _check(self) -> None:
        if self._seen != self._size:
            raise NetworkError(f"{self._name} is truncated", why=f"{self._seen} of {self._size} bytes came")
        if finish(self._hash) != self._digest:
            raise NetworkError(
                f"{self._name} has the wrong digest", why=f"expected {self._digest}, got {finish(self._hash)}"
            )

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
