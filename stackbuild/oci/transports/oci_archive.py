"""oci-archive:FILE[:TAG]: an OCI image layout in one tar file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from stackbuild.core.digest import Digest, hex_of
from stackbuild.core.errors import NetworkError
from stackbuild.core.events import BytesFetched, Listener
from stackbuild.oci.descriptor import TAG_ANNOTATION, Descriptor, Platform
from stackbuild.oci.image import AnyImage, Image
from stackbuild.oci.layout import VERSION_FILE, Copied
from stackbuild.oci.layout_view import LayoutView
from stackbuild.oci.manifest import make_index
from stackbuild.oci.transports import split_place
from stackbuild.oci.transports.archive import Archive, new_archive

if TYPE_CHECKING:
    from stackbuild.net.client import Client


class ArchiveLayout(LayoutView):
    """A layout whose files are members of an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.name = archive.name

    def small(self, file: str) -> bytes:
        return self._archive.small(file)

    def blob_size(self, digest: Digest) -> int | None:
        return self._archive.size(_member(digest))

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        if self.blob_size(blob.digest) not in (blob.size, None):
            raise NetworkError(f"{self.name}: blob {blob.digest} has the wrong size", why=f"expected {blob.size} bytes")
        return self._archive.open(_member(blob.digest))


def _member(digest: Digest) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def open_image(rest: str, *, client: Client | None, platform: Platform | None) -> Image:
    path, tag = split_place(rest)
    return ArchiveLayout(Archive(path, f"oci-archive:{path}")).open_image(tag, platform)


def write_image(image: AnyImage, rest: str, *, client: Client | None, listener: Listener) -> Copied:
    """One tar file; the same image and tag give the same bytes."""
    path, tag = split_place(rest)
    entry = replace(
        image.document.descriptor,
        annotations={TAG_ANNOTATION: tag} if tag else {},
        platform=image.platform,
    )
    blobs = {blob.digest: (one, blob) for one in image.images for blob in one.blobs}
    documents = {one.digest: one.document for one in (image, *image.images)}
    sent = 0
    with new_archive(path) as archive:
        archive.bytes("oci-layout", VERSION_FILE)
        archive.bytes("index.json", make_index([entry]).raw)
        archive.folder("blobs")
        archive.folder("blobs/sha256")
        for digest, document in documents.items():
            archive.bytes(_member(digest), document.raw)
        for one, blob in blobs.values():
            stream = one.open(blob)
            try:
                sent += archive.stream(_member(blob.digest), stream)
            finally:
                stream.close()
            listener(BytesFetched(f"{hex_of(blob.digest)[:12]} to oci-archive:{path}", blob.size, blob.size))
    return Copied(sent, 0, image.digest)
