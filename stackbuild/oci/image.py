"""An image as it is handed around, wherever it comes from: verified documents, layers opened when asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from stackbuild.core.digest import Digest, VerifyingReader, digest_of
from stackbuild.core.errors import NetworkError
from stackbuild.oci.config import ImageConfig, parse_config
from stackbuild.oci.descriptor import Descriptor, Platform
from stackbuild.oci.documents import MAX_DOCUMENT
from stackbuild.oci.manifest import Index, Manifest, check_runnable, parse_document
from stackbuild.oci.reference import Reference

Fetch = Callable[[Descriptor], BinaryIO]
"""Opens a blob as it is stored where the image comes from; nothing of it is trusted yet. May download."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One change set of an image (image-spec, layer.md).

    diff_id: SHA-256 of the *uncompressed* tar, as the config promises it; descriptor: the blob as stored.
    """

    descriptor: Descriptor
    diff_id: Digest
    image: Image = field(repr=False)

    def open(self) -> BinaryIO:
        """A new stream of the blob as stored; reading its end checks digest and size, with NetworkError."""
        return self.image.open(self.descriptor)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """name: what the user calls it. manifest.raw and raw_config are the exact bytes, their digests checked.

    origin: the registry's reference that it was opened by; a push to the same registry need not send its blobs.
    """

    name: str
    manifest: Manifest
    raw_config: bytes = field(repr=False)
    config: ImageConfig
    fetch: Fetch = field(repr=False)
    origin: Reference | None = None

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.manifest.digest

    @property
    def document(self) -> Manifest:
        """What a place names."""
        return self.manifest

    @property
    def images(self) -> tuple[Image, ...]:
        return (self,)

    @property
    def platform(self) -> Platform | None:
        return self.config.platform

    def at_home(self, origin: Reference) -> Image:
        """The same, of which a registry may have the blobs in the repository `origin`."""
        return replace(self, origin=origin)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Lowest first."""
        pairs = zip(self.manifest.layers, self.config.diff_ids, strict=True)
        return tuple(Layer(descriptor, diff_id, self) for descriptor, diff_id in pairs)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The layers' blobs, each once, then the config's: the order in which a sink needs them."""
        return tuple({blob.digest: blob for blob in (*self.manifest.layers, self.manifest.config)}.values())

    def open(self, blob: Descriptor) -> BinaryIO:
        """A blob of this image; reading its end checks digest and size."""
        stream = self.fetch(blob)
        return cast(BinaryIO, VerifyingReader(stream, blob.digest, blob.size, f"{self.name}: blob {blob.digest[:19]}"))


@dataclass(frozen=True, slots=True, eq=False)
class ImageIndex:
    """One image for several platforms (image-spec, image-index.md): an index, and the image of each of its manifests.

    name: what the user calls it.
    """

    name: str
    document: Index
    images: tuple[Image, ...]

    @property
    def digest(self) -> Digest:
        """The index's digest."""
        return self.document.digest

    @property
    def platform(self) -> None:
        """Not one."""
        return None

    def at_home(self, origin: Reference) -> ImageIndex:
        """As of one image."""
        return replace(self, images=tuple(one.at_home(origin) for one in self.images))


AnyImage = Image | ImageIndex


def open_index(name: str, index: Index, fetch: Fetch) -> ImageIndex:
    """Read and check the images of an index. Raises NetworkError as `open_image`, and if one is itself an index."""
    images = []
    for descriptor in index.manifests:
        label = f"{name} for {descriptor.platform}"
        if descriptor.size > MAX_DOCUMENT:
            raise NetworkError(f"the manifest of {label} is too large", why=f"{descriptor.size} bytes")
        raw = read_small(fetch(descriptor), descriptor, f"the manifest of {label}")
        document = parse_document(raw, label, descriptor.media_type)
        if not isinstance(document, Manifest):
            raise NetworkError(f"{label} cannot be read", why="it is an index within an index")
        images.append(open_image(label, document, fetch))
    return ImageIndex(name, index, tuple(images))


def open_image(name: str, manifest: Manifest, fetch: Fetch, origin: Reference | None = None) -> Image:
    """Read and check the config of a manifest. Raises NetworkError: wrong digest, not an image, diff IDs missing."""
    check_runnable(manifest, name)
    if manifest.config.size > MAX_DOCUMENT:
        raise NetworkError(f"the config of {name} is too large", why=f"{manifest.config.size} bytes")
    raw = read_small(fetch(manifest.config), manifest.config, f"the config of {name}")
    config = parse_config(raw, f"the config of {name}")
    if len(config.diff_ids) != len(manifest.layers):
        raise NetworkError(
            f"{name} is inconsistent",
            why=f"its config has {len(config.diff_ids)} diff IDs for {len(manifest.layers)} layers",
        )
    return Image(name, manifest, raw, config, fetch, origin)


def read_small(stream: BinaryIO, blob: Descriptor, name: str) -> bytes:
    """All bytes of a small blob, closed and checked. Raises NetworkError."""
    try:
        raw = b""
        while len(raw) <= blob.size and (piece := stream.read(blob.size + 1 - len(raw))):
            raw += piece
    finally:
        stream.close()
    if len(raw) != blob.size or digest_of(raw) != blob.digest:
        raise NetworkError(
            f"{name} has the wrong digest or size",
            why=f"expected {blob.digest}, {blob.size} bytes; got {digest_of(raw)}, {len(raw)} bytes or more",
        )
    return raw
