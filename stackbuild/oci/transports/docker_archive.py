"""docker-archive:FILE[:REF]: what `docker save` writes and `docker load` reads. Layers inside are not compressed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, chunks, digest_of, finish, hex_of
from stackbuild.core.errors import Hint, NetworkError, UsageError
from stackbuild.core.events import BytesFetched, Listener
from stackbuild.oci.compression import decompressed, detect
from stackbuild.oci.config import parse_config
from stackbuild.oci.descriptor import CONFIG, LAYER_OF, Descriptor, Platform
from stackbuild.oci.diff_id import DiffIdReader
from stackbuild.oci.documents import shown
from stackbuild.oci.image import AnyImage, Image
from stackbuild.oci.image import open_image as open_checked
from stackbuild.oci.layout import Copied
from stackbuild.oci.manifest import make_manifest
from stackbuild.oci.transports import only, split_place
from stackbuild.oci.transports.archive import Archive, new_archive

if TYPE_CHECKING:
    from stackbuild.net.client import Client

_NAME = re.compile(r"[a-z0-9]+(?:[._/:-]+[a-z0-9]+)*\Z")


def open_image(rest: str, *, client: Client | None, platform: Platform | None) -> Image:
    """The image of that REF, or the only one. Its manifest is made here, as the format has none; each layer is
    read once to learn its digest.
    """
    path, reference = split_place(rest)
    archive = Archive(path, f"docker-archive:{path}")
    config_member, layers = _choose(archive, reference)
    raw = archive.small(config_member)
    config = parse_config(raw, f"the config of {archive.name}")
    if len(config.diff_ids) != len(layers):
        raise NetworkError(
            f"{archive.name} is inconsistent", why=f"{len(config.diff_ids)} diff IDs for {len(layers)} layers"
        )
    members = {digest_of(raw): config_member}
    descriptors = []
    for member in layers:
        blob = _layer(archive, member)
        members[blob.digest] = member
        descriptors.append(blob)
    manifest = make_manifest(Descriptor(CONFIG, digest_of(raw), len(raw)), descriptors)

    def fetch(blob: Descriptor) -> BinaryIO:
        return archive.open(members[blob.digest])

    return open_checked(f"docker-archive:{rest}", manifest, fetch)


def _layer(archive: Archive, member: str) -> Descriptor:
    hasher, size, kind = hashlib.sha256(), 0, ""
    with archive.open(member) as stream:
        for piece in chunks(stream):
            kind = kind or detect(piece[:4])
            hasher.update(piece)
            size += len(piece)
    return Descriptor(LAYER_OF[kind or "none"], finish(hasher), size)


def _choose(archive: Archive, reference: str) -> tuple[str, list[str]]:
    """Config and layers of the image of that name, as members. Raises UsageError, NetworkError."""
    raw = archive.small("manifest.json")
    try:
        items: list[dict[str, Any]] = json.loads(raw)
        images = [(item["Config"], list(item["Layers"]), item.get("RepoTags") or []) for item in items]
        if not all(isinstance(text, str) for config, layers, tags in images for text in (config, *layers, *tags)):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NetworkError(
            f"{archive.name} is not what `docker save` writes", why="manifest.json is malformed"
        ) from None
    if reference:
        wanted = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
        images = [image for image in images if wanted in image[2]]
    if len(images) == 1:
        return images[0][0], images[0][1]
    tags = [tag for item in items for tag in item.get("RepoTags") or []]
    raise UsageError(
        f"{archive.name} has {'more than one image' if images else 'no such image'}",
        why=f"no `{shown(reference)}`" if reference else "",
        hints=(Hint(f"there are: {shown(', '.join(tags), 500)}"),) if tags else (),
    )


def write_image(image: AnyImage, rest: str, *, client: Client | None, listener: Listener) -> Copied:
    """One tar file; the same image and REF give the same bytes. Each layer's diff ID is checked on the way."""
    image = only(image, "docker-archive")
    path, reference = split_place(rest)
    tags = [_repo_tag(reference)] if reference else []
    config_name = f"{hex_of(image.manifest.config.digest)}.json"
    written: dict[Digest, str] = {}
    sent = 0
    with new_archive(path) as archive:
        for layer in image.layers:
            if layer.diff_id in written:
                continue
            written[layer.diff_id] = f"{hex_of(layer.diff_id)}.tar"
            stored = layer.open()
            tar = DiffIdReader(decompressed(stored, image.name), layer.diff_id, f"{image.name}: a layer")
            try:
                sent += archive.stream(written[layer.diff_id], cast(BinaryIO, tar))
                for _ in chunks(stored):  # its end checks the blob's digest
                    pass
            finally:
                stored.close()
            listener(BytesFetched(f"{hex_of(layer.diff_id)[:12]} to docker-archive:{path}", sent, None))
        archive.bytes(config_name, image.raw_config)
        layers = [written[layer.diff_id] for layer in image.layers]
        archive.bytes("manifest.json", canonical([{"Config": config_name, "RepoTags": tags, "Layers": layers}]))
        if tags and layers:
            name, _, tag = tags[0].rpartition(":")
            archive.bytes("repositories", canonical({name: {tag: layers[-1].removesuffix(".tar")}}))
    return Copied(sent, 0, image.digest)


def _repo_tag(reference: str) -> str:
    """A name as docker keeps it: with a tag."""
    whole = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
    if "@" in reference or not _NAME.match(whole.rpartition(":")[0]):
        raise UsageError(f"`{shown(reference)}` is not a name that docker can load", why="the form is NAME[:TAG]")
    return whole
