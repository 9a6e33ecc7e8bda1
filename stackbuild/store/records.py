"""Small values by key, one file each: written whole, read without a lock, rebuilt when lost."""

from __future__ import annotations

import os
from pathlib import Path

from stackbuild.core.action import ActionResult
from stackbuild.core.digest import Digest, digest_of, hex_of
from stackbuild.core.files import write_file
from stackbuild.core.paths import ensure


class Records:
    """Bytes by a name of any form (a digest or a text)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        name = hex_of(Digest(key)) if key.startswith("sha256:") else hex_of(digest_of(key.encode()))
        return self.folder / name[:2] / name[2:]

    def get(self, key: str) -> bytes | None:
        """The last value put, or None. A hit is noted in the file's atime (for pruning by use)."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            os.utime(path)
        except OSError:
            pass
        return data

    def put(self, key: str, value: bytes) -> None:
        path = self._path(key)
        ensure(path.parent)
        write_file(path, value)

    def drop(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)


class StoredResults:
    """`ActionCache` of core/action.py: results of steps by plan key and by content key."""

    def __init__(self, folder: Path) -> None:
        self._records = Records(folder)

    def get(self, key: Digest) -> ActionResult | None:
        data = self._records.get(key)
        if data is None:
            return None
        try:
            return ActionResult.from_json(data)
        except ValueError:  # a torn or foreign file: as good as none
            self._records.drop(key)
            return None

    def put(self, key: Digest, result: ActionResult) -> None:
        self._records.put(key, result.to_json())
