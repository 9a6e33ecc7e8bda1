"""A folder as an OCI image layout (image-spec, image-layout.md): blobs by digest, an index of names.

Safe for many processes at once: blobs and index appear whole by rename; who changes the index holds an
flock on the folder. Readers need no lock. A layout of a stranger is read with suspicion.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, chunks, digest_of, hex_of
from stackbuild.core.errors import HostError, NetworkError
from stackbuild.core.files import host_error, new_file, write_file
from stackbuild.core.paths import ensure
from stackbuild.oci.descriptor import TAG_ANNOTATION, Descriptor, Platform
from stackbuild.oci.documents import MAX_DOCUMENT
from stackbuild.oci.image import AnyImage
from stackbuild.oci.layout_view import LayoutView
from stackbuild.oci.manifest import Index, make_index, parse_document

VERSION_FILE = canonical({"imageLayoutVersion": "1.0.0"})


@dataclass(frozen=True, slots=True)
class Copied:
    """What a sink did. sent, skipped: bytes of blobs that went over, and that were there. digest: of the manifest."""

    sent: int
    skipped: int
    digest: Digest


class Layout(LayoutView):
    """An OCI image layout; making the object touches nothing.

    name: what the user calls it. durable: whether what is written survives a power cut.
    """

    def __init__(self, path: Path, *, name: str = "", durable: bool = False) -> None:
        self.path = path
        self.name = name or f"oci:{path}"
        self._durable = durable
        self._read: tuple[tuple[int, int, int], Index] | None = None

    def create(self) -> Layout:
        """Make the folders and files that a layout needs, as far as they are missing. Raises HostError."""
        ensure(self.path / "blobs" / "sha256")
        for file, content in (("oci-layout", VERSION_FILE), ("index.json", make_index(()).raw)):
            if not (self.path / file).exists():
                with self._lock():
                    if not (self.path / file).exists():
                        write_file(self.path / file, content, durable=self._durable)
        return self

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise host_error(error, self.path) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # Blobs

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self.path / "blobs" / "sha256" / hex_of(digest)

    def has(self, blob: Descriptor) -> bool:
        """Whether a file of that name and size is there; its digest is not computed."""
        return self.blob_size(blob.digest) == blob.size

    def blob_size(self, digest: Digest) -> int | None:
        try:
            status = os.lstat(self.blob_path(digest))
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        file = self._open(self.blob_path(blob.digest), f"blob {blob.digest}")
        size = os.fstat(file.fileno()).st_size
        if size != blob.size:
            file.close()
            raise NetworkError(
                f"{self.name}: blob {blob.digest} has the wrong size", why=f"expected {blob.size} bytes, it has {size}"
            )
        return file

    def _open(self, path: Path, what: str) -> BinaryIO:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            raise NetworkError(
                f"{self.name} has no {what}" if missing else f"{self.name}: {what} cannot be read",
                why="" if missing else os.strerror(error.errno or 0),
            ) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # a FIFO would wait for ever, /dev/zero would never end
            os.close(fd)
            raise NetworkError(f"{self.name}: {what} is not a regular file")
        return open(fd, "rb")

    def put_blob(self, source: BinaryIO, blob: Descriptor, progress: Callable[[int], None] | None = None) -> None:
        """Keep a stream, which checks itself at its end (as those of `Image` do). progress: bytes so far."""
        done = 0
        with new_file(self.blob_path(blob.digest), durable=self._durable) as file:
            for piece in chunks(source):
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(done)

    def put_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a small blob."""
        blob = Descriptor(media_type, digest_of(data), len(data))
        if not self.has(blob):
            write_file(self.blob_path(blob.digest), data, durable=self._durable)
        return blob

    # Names

    def index(self) -> Index:
        """As `LayoutView.index`; parsed once for each file, as it is only ever replaced: there may be many names."""
        try:
            status = os.lstat(self.path / "index.json")
        except OSError:
            return super().index()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._read is None or self._read[0] != seen:
            self._read = seen, super().index()
        return self._read[1]

    def small(self, file: str) -> bytes:
        with self._open(self.path / file, file) as stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise NetworkError(f"{self.name}: {file} is too large", why=f"more than {MAX_DOCUMENT} bytes")
        return data

    def add(
        self,
        manifest: bytes,
        tag: str = "",
        annotations: Mapping[str, str] | None = None,
        platform: Platform | None = None,
    ) -> Descriptor:
        """Keep a manifest or index and name it; an earlier holder of the tag loses it. Makes the layout if needed.

        annotations, platform: of its descriptor in the index. Raises HostError if a blob it names is not here.
        """
        self.create()
        document = parse_document(manifest, f"{self.name}: the new image")
        blobs = document.manifests if isinstance(document, Index) else (*document.layers, document.config)
        for blob in blobs:
            if not self.has(blob):
                raise HostError(f"{self.name} lacks a blob of the image to be named", why=str(blob.digest))
        self.put_bytes(manifest, document.media_type)
        notes = {**(annotations or {}), **({TAG_ANNOTATION: tag} if tag else {})}
        entry = replace(document.descriptor, annotations=notes, platform=platform)
        if tag and [one for one in self.index().manifests if one.annotations.get(TAG_ANNOTATION) == tag] == [entry]:
            return entry

        def change(found: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
            kept = [
                item
                for item in found
                if not (tag and item.annotations.get(TAG_ANNOTATION) == tag)
                and not (item.digest == entry.digest and TAG_ANNOTATION not in item.annotations)
            ]
            return (*kept, entry)

        self._change(change)
        return entry

    def remove(self, tag: str) -> bool:
        """Take a tag away; its blobs stay. False if there is none."""
        removed = False

        def change(found: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
            nonlocal removed
            kept = tuple(item for item in found if item.annotations.get(TAG_ANNOTATION) != tag)
            removed = len(kept) != len(found)
            return kept

        self._change(change)
        return removed

    def _change(self, change: Callable[[tuple[Descriptor, ...]], tuple[Descriptor, ...]]) -> None:
        with self._lock():
            old = self.index()
            new = make_index(change(old.manifests), old.annotations)
            if new.raw != old.raw:
                write_file(self.path / "index.json", new.raw, durable=self._durable)

    def write(
        self,
        image: AnyImage,
        tag: str = "",
        annotations: Mapping[str, str] | None = None,
        progress: Callable[[Descriptor, int], None] | None = None,
    ) -> Copied:
        """Keep all of an image, each blob checked while it is copied, then name it. What is there is not read again."""
        self.create()
        sent = skipped = 0
        for one in image.images:
            for blob in one.blobs:
                if self.has(blob):
                    skipped += blob.size
                    continue
                stream = one.open(blob)
                try:
                    self.put_blob(stream, blob, partial(progress, blob) if progress is not None else None)
                finally:
                    stream.close()
                sent += blob.size
            self.put_bytes(one.manifest.raw, one.manifest.media_type)
        self.add(image.document.raw, tag, annotations, image.platform)
        return Copied(sent, skipped, image.digest)


def is_layout(path: Path) -> bool:
    """Whether a folder says that it is a layout."""
    return (path / "oci-layout").is_file()
