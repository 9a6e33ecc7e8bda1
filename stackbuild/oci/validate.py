"""Re-computes every digest, size and diff ID of an image; used by `cache verify` and by tests. Repairs nothing."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import BinaryIO, cast

from stackbuild.core.digest import CHUNK, Digest, chunks, digest_of_file, finish
from stackbuild.core.errors import StackError
from stackbuild.oci.compression import decompressed, detect
from stackbuild.oci.descriptor import Descriptor, compression_of
from stackbuild.oci.image import Image, Layer, open_image
from stackbuild.oci.layout import Layout
from stackbuild.oci.manifest import Manifest
from stackbuild.oci.tar_read import TarReader


def image_mistakes(image: Image) -> tuple[str, ...]:
    """What is wrong with an image, one sentence each; () if nothing is. Reads every byte of it."""
    found: list[str] = []
    checked: set[tuple[Digest, Digest]] = set()
    for number, layer in enumerate(image.layers):
        pair = (layer.descriptor.digest, layer.diff_id)
        if pair in checked:
            continue
        checked.add(pair)
        try:
            found += [f"layer {number}: {why}" for why in layer_mistakes(layer)]
        except StackError as error:
            found.append(f"layer {number}: {error}")
    shown = [item for item in image.config.history if not item.empty_layer]
    if image.config.history and len(shown) != len(image.layers):
        found.append(f"the history speaks of {len(shown)} layers, there are {len(image.layers)}")
    return tuple(found)


def layer_mistakes(layer: Layer) -> tuple[str, ...]:
    """Likewise of one layer: blob digest and size, diff ID, the compression it claims, the end of its archive."""
    found = []
    with _Head(layer.open()) as stored:
        said, is_ = compression_of(layer.descriptor.media_type), detect(stored.head)
        if said != is_:
            found.append(f"its media type says {said or 'no layer'}, its bytes are {is_}")
        name = f"layer {layer.diff_id[:19]}"
        tar = _Hashing(decompressed(cast(BinaryIO, stored), name))
        deque((None for _ in TarReader(cast(BinaryIO, tar), name)), maxlen=0)
        if finish(tar.hash) != layer.diff_id:
            found.append(f"its diff ID is {finish(tar.hash)}, the config says {layer.diff_id}")
        for _ in chunks(cast(BinaryIO, stored)):
            pass
    return tuple(found)


def layout_mistakes(layout: Layout) -> tuple[str, ...]:
    """What is wrong with the images that a layout names, indexes included, and with the names of its blobs."""
    found: list[str] = []
    seen: set[Digest] = set()
    for tag, descriptor in layout.images():
        found += [f"{tag or descriptor.digest}: {why}" for why in _document_mistakes(layout, descriptor, seen, 0)]
    found += [f"blob {bad}: its bytes have another digest" for bad in wrong_blobs(layout)]
    return tuple(found)


def wrong_blobs(layout: Layout) -> tuple[Digest, ...]:
    """The blobs whose bytes have another digest than their name says. Reads all of them."""
    folder = layout.path / "blobs" / "sha256"
    found = []
    for path in sorted(folder.iterdir()):
        digest = Digest(f"sha256:{path.name}")
        if path.name.startswith(".new-") or not path.is_file() or path.is_symlink():
            continue
        if digest_of_file(path)[0] != digest:
            found.append(digest)
    return tuple(found)


def _document_mistakes(layout: Layout, descriptor: Descriptor, seen: set[Digest], depth: int) -> list[str]:
    if descriptor.digest in seen or depth > 3:
        return []
    seen.add(descriptor.digest)
    try:
        document = layout.document(descriptor)
        if isinstance(document, Manifest):
            return list(image_mistakes(open_image(str(descriptor.digest), document, layout.open_blob)))
    except StackError as error:
        return [str(error)]
    return [why for item in document.manifests for why in _document_mistakes(layout, item, seen, depth + 1)]


class _Head:
    """A stream whose first bytes can be looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.head = self._rest = stream.read(4)

    def __enter__(self) -> _Head:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()

    def read(self, size: int = CHUNK) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        return self._stream.read(size)


class _Hashing:
    """A stream that hashes what is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.hash.update(data)
        return data
