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
from stackbuild.core.digest import Digest, chunks, digest_of, hex_of, parse_digest
from stackbuild.core.errors import Hint, HostError, NetworkError, UsageError
from stackbuild.core.files import host_error, new_file, write_file
from stackbuild.core.paths import ensure
from stackbuild.oci.descriptor import INDEXES, MANIFESTS, TAG_ANNOTATION, Descriptor, Platform
from stackbuild.oci.documents import MAX_DOCUMENT, read_object, shown
from stackbuild.oci.image import Image, open_image, read_small
from stackbuild.oci.manifest import Index, Manifest, make_index, parse_document

_VERSION_FILE = canonical({"imageLayoutVersion": "1.0.0"})


@dataclass(frozen=True, slots=True)
class Copied:
    """What a sink did. sent, skipped: bytes of blobs that went over, and that were there. digest: of the manifest."""

    sent: int
    skipped: int
    digest: Digest


class Layout:
    """An OCI image layout; making the object touches nothing.

    name: what the user calls it. durable: whether what is written survives a power cut.
    """

    def __init__(self, path: Path, *, name: str = "", durable: bool = False) -> None:
        self.path = path
        self.name = name or f"oci:{path}"
        self._durable = durable

    def create(self) -> Layout:
        """Make the folders and files that a layout needs, as far as they are missing. Raises HostError."""
        ensure(self.path / "blobs" / "sha256")
        for file, content in (("oci-layout", _VERSION_FILE), ("index.json", make_index(()).raw)):
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
        try:
            status = os.lstat(self.blob_path(blob.digest))
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == blob.size

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """A blob's bytes as they are on disk, its size checked. Raises NetworkError if it is not there or no file."""
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
        """The names. Raises NetworkError for what is no valid layout."""
        version = read_object(self._small("oci-layout"), f"{self.name}: oci-layout").text("imageLayoutVersion")
        if not version.startswith("1."):
            raise NetworkError(f"{self.name} has an unknown layout version", why=shown(repr(version)))
        found = parse_document(self._small("index.json"), f"{self.name}: index.json")
        if not isinstance(found, Index):
            raise NetworkError(f"{self.name}: index.json is not an index")
        return found

    def _small(self, file: str) -> bytes:
        with self._open(self.path / file, file) as stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise NetworkError(f"{self.name}: {file} is too large", why=f"more than {MAX_DOCUMENT} bytes")
        return data

    def images(self) -> tuple[tuple[str, Descriptor], ...]:
        """(tag, descriptor) of every image or index named, in the index's order; "" for one without a tag."""
        return tuple((item.annotations.get(TAG_ANNOTATION, ""), item) for item in self.index().manifests)

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

    def find(self, name: str = "") -> Descriptor:
        """The descriptor of a tag or digest; of the only image if no name is given. Raises UsageError."""
        images = self.images()
        if name:
            found = [item for tag, item in images if tag == name or item.digest == name]
            if found:
                return found[-1]
        elif len({item.digest for _, item in images}) == 1:
            return images[0][1]
        tags = ", ".join(sorted({tag for tag, _ in images if tag}))
        hints = (Hint(f"there are: {shown(tags, 500)}"),) if tags else ()
        if name:
            raise UsageError(f"{self.name} has no image `{shown(name)}`", hints=hints)
        raise UsageError(
            f"{self.name} has {'more than one image' if images else 'no image'}",
            why="the tag does not say which" if images else "its index is empty",
            hints=hints,
        )

    # Images

    def document(self, descriptor: Descriptor) -> Manifest | Index:
        """The manifest or index that a descriptor of this layout names, checked. Raises NetworkError."""
        name = f"{self.name}: manifest {descriptor.digest[:19]}"
        if descriptor.media_type not in (*MANIFESTS, *INDEXES):
            raise NetworkError(f"{name} is of an unknown kind", why=shown(repr(descriptor.media_type)))
        if descriptor.size > MAX_DOCUMENT:
            raise NetworkError(f"{name} is too large", why=f"{descriptor.size} bytes")
        return parse_document(read_small(self.open_blob(descriptor), descriptor, name), name, descriptor.media_type)

    def open_image(self, name: str = "", platform: Platform | None = None) -> Image:
        """The image of a tag or digest; of an index, the one for the platform (default linux/amd64).

        A digest may also be one that no name leads to. Raises UsageError, NetworkError.
        """
        label = f"{self.name}:{name}" if name else self.name
        document = self.document(self._descriptor(name))
        for _ in range(3):
            if isinstance(document, Manifest):
                return open_image(label, document, self.open_blob)
            document = self.document(document.choose(platform or Platform(), label))
        raise NetworkError(f"{label} cannot be read", why="its indexes are nested too deeply")

    def _descriptor(self, name: str) -> Descriptor:
        try:
            return self.find(name)
        except UsageError as unknown:
            try:
                digest = parse_digest(name)
                size = self.blob_path(digest).stat().st_size
            except (ValueError, OSError):
                raise unknown from None
        if size > MAX_DOCUMENT:
            raise NetworkError(f"{self.name}: {digest} is not a manifest", why=f"it has {size} bytes")
        raw = read_small(self.open_blob(Descriptor("", digest, size)), Descriptor("", digest, size), str(digest))
        return parse_document(raw, f"{self.name}: {digest}").descriptor

    def write(
        self,
        image: Image,
        tag: str = "",
        annotations: Mapping[str, str] | None = None,
        progress: Callable[[Descriptor, int], None] | None = None,
    ) -> Copied:
        """Keep all of an image, each blob checked while it is copied, then name it. What is there is not read again."""
        self.create()
        sent = skipped = 0
        for blob in image.blobs:
            if self.has(blob):
                skipped += blob.size
                continue
            stream = image.open(blob)
            try:
                self.put_blob(stream, blob, partial(progress, blob) if progress is not None else None)
            finally:
                stream.close()
            sent += blob.size
        self.add(image.manifest.raw, tag, annotations, image.config.platform)
        return Copied(sent, skipped, image.digest)


def is_layout(path: Path) -> bool:
    """Whether a folder says that it is a layout."""
    return (path / "oci-layout").is_file()
