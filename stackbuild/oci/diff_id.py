"""A layer's tar, checked against its diff ID while it passes (image-spec, config.md)."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from stackbuild.core.digest import Digest, finish
from stackbuild.core.errors import NetworkError


class DiffIdReader:
    """An uncompressed tar whose end is an error unless its SHA-256 is the diff ID. name: what the user calls it.

    `read` raises NetworkError at the end of the stream."""

    def __init__(self, stream: BinaryIO, diff_id: Digest, name: str) -> None:
        self._stream, self._diff_id, self._name = stream, diff_id, name
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        if not data and size != 0 and finish(self._hash) != self._diff_id:
            why = f"its config says {self._diff_id}, it is {finish(self._hash)}"
            raise NetworkError(f"{self._name} has the wrong diff ID", why=why)
        return data
