"""docker://HOST/PATH[:TAG][@DIGEST]: an image in a registry. Only what is missing there is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import BinaryIO, cast

from stackbuild.core.digest import Digest
from stackbuild.core.errors import NetworkError, UsageError
from stackbuild.core.events import BytesSent, Listener
from stackbuild.net.client import Client
from stackbuild.oci.descriptor import Descriptor, Platform
from stackbuild.oci.image import AnyImage, Image, ImageIndex
from stackbuild.oci.image import open_image as open_checked
from stackbuild.oci.layout import Copied
from stackbuild.oci.manifest import Index, Manifest
from stackbuild.oci.reference import Reference, parse_reference
from stackbuild.oci.registry import Registry

_AT_ONCE = 6
_FEW, _SMALL = 3, 4 << 20  # blobs and bytes that go one after the other: threads would cost more than they give
_MANY = 20  # manifests of an index that are asked for their blobs
_BASE_NAME = "org.opencontainers.image.base.name"


def open_image(rest: str, *, client: Client | None, platform: Platform | None) -> Image:
    """The settings' mirror of the host is asked first; a reference by digest makes that safe, a tag trusts it."""
    reference = parse_reference(rest.removeprefix("//"))
    client = client or Client()
    settings = client.settings.get(reference.host)
    if settings is not None and settings.mirror:
        host, _, prefix = settings.mirror.partition("/")
        path = f"{prefix.strip('/')}/{reference.path}" if prefix else reference.path
        try:
            return _open(replace(reference, host=host, path=path), reference, client, platform)
        except NetworkError:
            pass  # it may not have this image, or be down
    return _open(reference, reference, client, platform)


def _open(place: Reference, reference: Reference, client: Client, platform: Platform | None) -> Image:
    registry = Registry(place.host, client)
    document = registry.manifest(place)
    for _ in range(3):
        if not isinstance(document, Index):
            return open_checked(str(reference), document, partial(registry.open_blob, place.path), place)
        document = registry.manifest(place.at(document.choose(platform or Platform(), str(reference)).digest))
    raise NetworkError(f"{reference} cannot be read", why="its indexes are nested too deeply")


def write_image(image: AnyImage, rest: str, *, client: Client | None, listener: Listener) -> Copied:
    """Blobs that are not there yet, then the manifest. Blobs of the same registry are mounted, not sent.

    What the tag names now has its blobs there: no question about each. A registry that lost some refuses the manifest.
    Of several platforms each manifest is put by its digest, and the index at last: nobody sees half of them.
    """
    reference = parse_reference(rest.removeprefix("//"))
    if reference.digest is not None and reference.digest != image.digest:
        raise UsageError(f"{reference} cannot be pushed", why=f"the image has the digest {image.digest}")
    registry = Registry(reference.host, client or Client())
    registry.ping()
    known = _blobs_of(registry, reference)
    sent = 0
    for one in image.images:
        sent += _put(one, registry, reference if one is image else reference.at(one.digest), known, listener)
        known |= {blob.digest for blob in one.blobs}
    if isinstance(image, ImageIndex):
        registry.put_manifest(reference, image.document.raw, image.document.media_type)
    whole = sum({blob.digest: blob.size for one in image.images for blob in one.blobs}.values())
    return Copied(sent, whole - sent, image.digest)


def _put(image: Image, registry: Registry, reference: Reference, known: Set[Digest], listener: Listener) -> int:
    """One image with its blobs. known: those that should be there. Returns the bytes of blobs that were sent."""
    send = partial(_send, image, registry, reference, _sibling(image, reference), listener)
    sent = _all(send, [blob for blob in image.blobs if blob.digest not in known])
    manifest = image.manifest
    try:
        registry.put_manifest(reference, manifest.raw, manifest.media_type)
    except NetworkError:
        if known.isdisjoint(blob.digest for blob in image.blobs):
            raise
        sent += _all(send, image.blobs)
        registry.put_manifest(reference, manifest.raw, manifest.media_type)
    return sent


def _blobs_of(registry: Registry, reference: Reference) -> set[Digest]:
    """The blobs of the image that the reference names now, for all platforms of it."""
    try:
        found = registry.find_manifest(reference, "pull,push")
        parts = [found]
        if isinstance(found, Index):
            parts = [registry.find_manifest(reference.at(one.digest), "pull,push") for one in found.manifests[:_MANY]]
    except NetworkError:  # not an image that we understand; what else is wrong, the next request says too
        return set()
    return {blob.digest for one in parts if isinstance(one, Manifest) for blob in (*one.layers, one.config)}


def _all(send: Callable[[Descriptor], int], blobs: Sequence[Descriptor]) -> int:
    """Send some at a time. Returns the bytes that went over."""
    if len(blobs) < _FEW and sum(blob.size for blob in blobs) < _SMALL:
        return sum(map(send, blobs))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE, "push") as pool:
        jobs = [pool.submit(send, blob) for blob in blobs]
        try:
            return sum(job.result() for job in jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _sibling(image: Image, reference: Reference) -> str:
    """Another repository of the same registry that may have some of the blobs: where the image or its base is from."""
    origin = image.origin
    if origin is None and image.manifest.annotations.get(_BASE_NAME):
        try:
            origin = parse_reference(image.manifest.annotations[_BASE_NAME])
        except UsageError:
            return ""
    if origin is None or origin.host != reference.host or origin.path == reference.path:
        return ""
    return origin.path


def _send(
    image: Image, registry: Registry, reference: Reference, mount_from: str, listener: Listener, blob: Descriptor
) -> int:
    """Bytes that had to be sent for a blob to be there."""
    if registry.has_blob(reference.path, blob):
        return 0

    def source() -> BinaryIO:
        label = f"{blob.digest[7:19]} to {reference.name}"
        return cast(BinaryIO, _Seen(image.open(blob), lambda done: listener(BytesSent(label, done, blob.size))))

    return blob.size if registry.upload(reference.path, blob, source, mount_from=mount_from) else 0


class _Seen:
    """A stream that says how far it was read."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]) -> None:
        self._stream, self._progress = stream, progress
        self._done = self._said = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._done += len(data)
        if self._done - self._said >= 1 << 20 or not data:
            self._said = self._done
            self._progress(self._done)
        return data

    def close(self) -> None:
        self._stream.close()
