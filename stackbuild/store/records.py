"""Small values by key, one file each: written whole, read without a lock, rebuilt when lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
        return Path(f"{self.folder}/{name[:2]}/{name[2:]}")

    def get(self, key: str) -> bytes | None:
        """The last value put, or None. A hit is noted in the file's atime (for pruning by use)."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            os.utime(path)
        except FileNotFoundError:  # dropped just now: whoever did so may have dropped what it names
            return None
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
    """`ActionCache` of core/action.py: results of steps by plan key and by content key.

    A record begins with the digest of what follows, so a damaged one is as good as none.
    """

    def __init__(self, folder: Path) -> None:
        self._records = Records(folder)

    def get(self, key: Digest) -> ActionResult | None:
        data = self._records.get(key)
        if data is None:
            return None
        try:
            return _checked(data)
        except ValueError:  # a torn, damaged or foreign file
            self._records.drop(key)
            return None

    def put(self, key: Digest, result: ActionResult) -> None:
        data = result.to_json()
        self._records.put(key, hex_of(digest_of(data)).encode() + b"\n" + data)

    def all(self) -> Iterator[tuple[Digest, ActionResult, float]]:
        """(key, result, when it was last looked up) of every sound record."""
        for path in sorted(self._records.folder.glob("??/*")):
            try:
                used = path.stat().st_mtime
                yield Digest(f"sha256:{path.parent.name}{path.name}"), _checked(path.read_bytes()), used
            except (OSError, ValueError):
                continue

    def damaged(self) -> Iterator[Path]:
        """Records that are not what was written."""
        for path in sorted(self._records.folder.glob("??/*")):
            try:
                if not path.name.startswith("."):
                    _checked(path.read_bytes())
            except OSError:
                continue
            except ValueError:
                yield path


def _checked(data: bytes) -> ActionResult:
    """Raises ValueError if a byte of a record was changed."""
    head, _, body = data.partition(b"\n")
    if head.decode("ascii", "replace") != hex_of(digest_of(body)):
        raise ValueError("a damaged record")
    return ActionResult.from_json(body)
