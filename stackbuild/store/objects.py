"""Immutable objects by digest, in folders of the form sha256/HEX. Knows nothing of what they mean."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from stackbuild.core.action import Blob
from stackbuild.core.digest import Digest, HashingWriter, chunks, digest_of_file, hex_of
from stackbuild.core.errors import Hint, HostError, NetworkError
from stackbuild.core.files import host_error
from stackbuild.core.paths import ensure
from stackbuild.store.uses import Uses


def receive(source: BinaryIO, target: BinaryIO, expected: Blob | None = None) -> Blob:
    """Write a stream to its end, or until it is longer than expected. Raises NetworkError if it is another blob."""
    writer = HashingWriter(target)
    for piece in chunks(source):
        writer.write(piece)
        if expected and writer.size > expected.size:
            break
    blob = Blob(writer.digest, writer.size)
    if expected and blob != expected:
        raise NetworkError(f"{expected.digest} is not what came", why=f"got {blob.size} bytes with {blob.digest}")
    return blob


def signature_of(info: os.stat_result) -> tuple[int, ...]:
    """Changes when another object takes the place of this one."""
    return info.st_dev, info.st_ino, info.st_mtime_ns


def drop_same(path: Path, signature: tuple[int, ...]) -> None:
    """Delete a file, unless another process has put a sound one in its place since `signature` was taken."""
    aside = f"{path.parent}/.new-{os.urandom(6).hex()}"
    try:
        os.rename(path, aside)
        if signature_of(os.lstat(aside)) != signature:
            os.rename(aside, path)
        else:
            os.unlink(aside)
    except FileNotFoundError:
        return


def lost(what: str) -> HostError:
    """For an object that was there a moment ago. As for a damaged one, what needs it can be made again."""
    error = HostError(f"the store lost {what}", why="it was there a moment ago; was the store pruned by hand?")
    error.damaged = True
    return error


class ObjectStore:
    """`Blobs` of core/action.py in a folder. Any number of processes may read and write at once.

    An object gets its name only when all of it was written, so readers need no lock.
    """

    def __init__(self, root: Path, uses: Uses | None = None) -> None:
        self.root, self._uses = root, uses
        self._sound: set[Digest] = set()

    def path(self, digest: Digest) -> Path:
        """Where an object is, or would be."""
        return Path(self._path(digest))

    def _path(self, digest: Digest) -> str:
        return f"{self.root}/sha256/{hex_of(digest)}"

    def has(self, blob: Blob) -> bool:
        """Whether it is here with the right size (a file cut by a power failure is as good as none)."""
        try:
            return os.stat(self._path(blob.digest)).st_size == blob.size
        except OSError:
            return False

    def use(self, blob: Blob) -> bool:
        """As `has`, and if it is here, nobody prunes it before this process's build ends."""
        return self.has(blob) and (self._uses is None or self._uses.note(blob.digest, self._path(blob.digest)))

    def missing(self, blobs: list[Blob]) -> list[Blob]:
        return [blob for blob in blobs if not self.has(blob)]

    def open(self, blob: Blob) -> BinaryIO:
        return open(self.path(blob.digest), "rb")

    def put(self, source: BinaryIO, expected: Blob | None = None) -> Blob:
        """Keep a stream. Raises NetworkError if it is not the expected blob, HostError if it cannot be kept."""
        folder = ensure(self.root / "sha256")
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as file:
                try:
                    blob = receive(source, cast(BinaryIO, file), expected)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)
                    os.rename(file.name, self.path(blob.digest))
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise host_error(error, folder) from error
        self._sound.add(blob.digest)
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Keep these bytes."""
        import io

        return self.put(io.BytesIO(data))

    def read(self, digest: Digest) -> bytes:
        """All of a small object. Raises FileNotFoundError."""
        return self.path(digest).read_bytes()

    def add_file(self, path: Path, blob: Blob) -> None:
        """Take over a finished file of the same file system, whose digest the caller has computed."""
        ensure(self.root / "sha256")
        try:
            os.chmod(path, 0o644)
            os.rename(path, self.path(blob.digest))
        except OSError as error:
            raise host_error(error, self.root) from error
        self._sound.add(blob.digest)

    def checked(self, blob: Blob) -> Path:
        """The file of an object that is to be read, re-hashed once in the life of this `ObjectStore`.

        Raises FileNotFoundError, and HostError (`damaged`) for one that is not what its name says: it is dropped.
        """
        path = self.path(blob.digest)
        if blob.digest not in self._sound:
            before = signature_of(os.lstat(path))
            found, _ = digest_of_file(path)
            if found != blob.digest:
                drop_same(path, before)
                error = HostError(
                    f"the store's {blob.digest} was damaged and is dropped",
                    why=f"its content has the digest {found}",
                    hints=[Hint("the next build makes it again; this looks for more", "stackbuild cache verify")],
                )
                error.damaged = True
                raise error
            self._sound.add(blob.digest)
        return path

    def verify(self, digest: Digest) -> bool:
        """Re-hash an object; False if it is not what its name says. Reads all of it."""
        return digest_of_file(self.path(digest))[0] == digest
