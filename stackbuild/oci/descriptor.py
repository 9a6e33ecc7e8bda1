"""What names a blob and says what it is (image-spec, descriptor.md): media type, digest, size, platform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stackbuild.core.digest import Digest, parse_digest
from stackbuild.core.errors import UsageError
from stackbuild.oci.documents import Fields, shown

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_OF = {"gzip": LAYER + "+gzip", "zstd": LAYER + "+zstd", "none": LAYER}  # by compression
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)
TAG_ANNOTATION = "org.opencontainers.image.ref.name"

MAX_BLOB = 1 << 40  # bytes; more than this is nobody's image
_PLATFORM = re.compile(r"[a-z0-9_.-]+/[a-z0-9_.-]+(/[a-z0-9_.-]+)?\Z")


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's words: linux, amd64, v8."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def fits(self, asked: Platform) -> bool:
        """Whether an image of this platform serves one who asks for `asked`; no variant asked means any."""
        return (self.os, self.architecture) == (asked.os, asked.architecture) and (
            not asked.variant or self.variant in ("", asked.variant)
        )


def parse_platform(text: str) -> Platform:
    """ "linux/amd64" or "linux/arm/v7". Raises UsageError."""
    if not _PLATFORM.match(text):
        raise UsageError(f"`{shown(text)}` is not a platform", why="the form is OS/ARCHITECTURE[/VARIANT]")
    return Platform(*text.split("/"))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One blob by name. size: bytes as stored."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    def to_json(self) -> dict[str, Any]:
        """The object as the spec has it, without empty fields."""
        tree: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            tree["annotations"] = dict(self.annotations)
        if self.platform is not None:
            tree["platform"] = {"os": self.platform.os, "architecture": self.platform.architecture}
            if self.platform.variant:
                tree["platform"]["variant"] = self.platform.variant
        return tree


def read_descriptor(fields: Fields) -> Descriptor:
    """A descriptor of a document. Raises NetworkError, also for a digest that is not SHA-256."""
    try:
        digest = parse_digest(fields.text("digest"))
    except ValueError:
        raise fields.wrong("digest", f"is not sha256 and 64 digits: {shown(fields.text('digest'))!r}") from None
    size = fields.number("size", -1)
    if not 0 <= size <= MAX_BLOB:
        raise fields.wrong("size", "is missing or out of range")
    media_type = fields.text("mediaType")
    if not media_type:
        raise fields.wrong("mediaType", "is missing")
    platform = None
    if "platform" in fields:
        found = fields.object("platform")
        platform = Platform(found.text("os"), found.text("architecture"), found.text("variant"))
    return Descriptor(media_type, digest, size, fields.mapping("annotations"), platform)


def compression_of(media_type: str) -> str:
    """The compression that a layer's media type claims: "gzip", "zstd" or "none"; "" if it is no layer we can read."""
    if media_type in (DOCKER_LAYER, LAYER_OF["gzip"]):
        return "gzip"
    if media_type in (LAYER_OF["zstd"], "application/vnd.docker.image.rootfs.diff.tar.zstd"):
        return "zstd"
    return "none" if media_type in (LAYER, "application/vnd.docker.image.rootfs.diff.tar") else ""
