"""Manifests and indexes (image-spec, manifest.md and image-index.md), each with the bytes that its digest is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.oci.descriptor import (
    CONFIG,
    DOCKER_CONFIG,
    INDEX,
    INDEXES,
    MANIFEST,
    MANIFESTS,
    Descriptor,
    Platform,
    compression_of,
    read_descriptor,
)
from stackbuild.oci.documents import Fields, read_object, shown

_MAX_LAYERS = 1000


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its config and its layers, lowest first. raw: the exact bytes; only they have a digest."""

    raw: bytes = field(repr=False)
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests, for platforms or for names."""

    raw: bytes = field(repr=False)
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def choose(self, platform: Platform, name: str) -> Descriptor:
        """The first manifest for a platform; the only one if it names no platform. Raises NetworkError."""
        known = [m for m in self.manifests if m.platform is not None and m.platform.fits(platform)]
        if known:
            return known[0]
        if len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        there = sorted({str(m.platform) for m in self.manifests if m.platform is not None})
        raise NetworkError(
            f"{name} has no image for {platform}",
            why=f"it has: {shown(', '.join(there))}" if there else "it names no platform",
            hints=(Hint("take one of these platforms, or another image"),) if there else (),
        )


def make_manifest(
    config: Descriptor, layers: Iterable[Descriptor], annotations: Mapping[str, str] | None = None
) -> Manifest:
    """A manifest in its one canonical form: JSON with sorted keys and no spaces."""
    layers = tuple(layers)
    tree: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if annotations:
        tree["annotations"] = dict(annotations)
    return Manifest(canonical(tree), MANIFEST, config, layers, dict(annotations or {}))


def make_index(manifests: Iterable[Descriptor], annotations: Mapping[str, str] | None = None) -> Index:
    """An index in its one canonical form."""
    manifests = tuple(manifests)
    tree: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [manifest.to_json() for manifest in manifests],
    }
    if annotations:
        tree["annotations"] = dict(annotations)
    return Index(canonical(tree), INDEX, manifests, dict(annotations or {}))


def parse_document(raw: bytes, name: str, media_type: str = "") -> Manifest | Index:
    """What a registry or layout holds under a name. media_type: what the sender calls it, "" if it did not say.

    Raises NetworkError for what is malformed, for a document that is both (two readers would see two
    images), and for one whose own media type differs from the sender's word.
    """
    fields = read_object(raw, name)
    if fields.number("schemaVersion") != 2:
        raise fields.wrong("schemaVersion", "is not 2; older images cannot be verified")
    own = fields.text("mediaType")
    if own and media_type in (*MANIFESTS, *INDEXES) and own != media_type:
        raise fields.wrong("mediaType", f"is {shown(own)!r}, but it was sent as {media_type!r}")
    is_index = "manifests" in fields
    if is_index and ("layers" in fields or "config" in fields):
        raise NetworkError(f"{name} is malformed", why="it is an index and a manifest at once")
    kind = own or (media_type if media_type in (*MANIFESTS, *INDEXES) else INDEX if is_index else MANIFEST)
    if kind not in (INDEXES if is_index else MANIFESTS):
        raise fields.wrong("mediaType", f"is {shown(kind)!r}, which is not what it holds")
    annotations = fields.mapping("annotations")
    if is_index:
        return Index(raw, kind, tuple(read_descriptor(item) for item in fields.objects("manifests")), annotations)
    return _manifest(fields, raw, kind, annotations)


def _manifest(fields: Fields, raw: bytes, kind: str, annotations: Mapping[str, str]) -> Manifest:
    if "config" not in fields:
        raise fields.wrong("config", "is missing")
    layers = tuple(read_descriptor(item) for item in fields.objects("layers"))
    if len(layers) > _MAX_LAYERS:
        raise fields.wrong("layers", f"has {len(layers)} entries; at most {_MAX_LAYERS} are read")
    return Manifest(raw, kind, read_descriptor(fields.object("config")), layers, annotations)


def check_runnable(manifest: Manifest, name: str) -> None:
    """Refuse what is not the manifest of a container image (an artifact, foreign layers). Raises NetworkError."""
    if manifest.config.media_type not in (CONFIG, DOCKER_CONFIG):
        raise NetworkError(
            f"{name} is not a container image", why=f"its config is {shown(manifest.config.media_type)!r}"
        )
    for layer in manifest.layers:
        if not compression_of(layer.media_type):
            raise NetworkError(
                f"{name} has a layer of an unknown kind", why=f"its media type is {shown(layer.media_type)!r}"
            )
