"""The base image of a stack: found by the lock's digest or by its reference, kept in the store, unpacked on demand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest
from stackbuild.core.errors import HostError, NetworkError

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.lock.resolve import BaseTree
    from stackbuild.oci.image import Image
    from stackbuild.plan.step import Step
    from stackbuild.stack.stack import Stack


def base_config(app: App, stack: Stack) -> Mapping[str, Any]:
    """The config document of the stack's base image (first platform): what the image level of settings says."""
    image = find_image(app, stack, stack.image.platforms[0], locked_digest(app, stack, stack.image.platforms[0]))
    config: Mapping[str, Any] = json.loads(image.raw_config)
    return config


def locked_digest(app: App, stack: Stack, platform: str) -> Digest | None:
    """The manifest that the lock names for a platform, if it was found under this very base.image."""
    from stackbuild.lock.lock import LockFile, PlatformLock

    lock = LockFile(stack.lock_file).read()
    if lock is None or platform not in lock.platforms:
        return None
    locked = lock.platforms[platform]
    if stack.stage:
        locked = locked.stages.get(stack.stage, PlatformLock())
    return locked.base_digest if locked.base_image == stack.base.image else None


def find_image(app: App, stack: Stack, platform: str, digest: Digest | None) -> Image:
    """The image, from the store if its manifest is here, else from where base.image says. Raises NetworkError."""
    from stackbuild.oci.descriptor import parse_platform
    from stackbuild.oci.transports import open_source

    if digest is not None and (here := image_in_store(app, digest, str(stack.base.image))) is not None:
        return here
    place = _from_project(str(stack.base.image), stack, digest)
    if app.args.offline and place.startswith("docker:"):
        raise NetworkError(
            f"{stack.base.image} is not in the store, and --offline forbids to ask for it",
            where=stack.origin("base", "image"),
        )
    try:
        image = open_source(place, client=app.client, platform=parse_platform(platform))
    except NetworkError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        raise NetworkError(
            f"the base image {stack.base.image} cannot be read",
            where=stack.origin("base", "image"),
            why=why,
            hints=error.hints,
        ) from error
    if digest is not None and image.digest != digest:
        raise NetworkError(
            f"{stack.base.image} is no longer the image that the lock names",
            where=stack.origin("base", "image"),
            why=f"locked {digest}, found {image.digest}",
        )
    return image


def _from_project(text: str, stack: Stack, digest: Digest | None) -> str:
    """base.image as a place of oci/transports: paths are the project's, a registry's image is asked for by digest."""
    from stackbuild.oci.reference import parse_reference
    from stackbuild.oci.transports import TRANSPORTS

    prefix, _, rest = text.partition(":")
    if prefix in TRANSPORTS and prefix != "docker":
        return f"{prefix}:{stack.project / rest}"
    reference = parse_reference(text)
    return f"docker://{reference.at(digest) if digest else reference}"


def image_in_store(app: App, digest: Digest, name: str) -> Image | None:
    """An image by its manifest's digest, if the store has it with its config."""
    from stackbuild.oci.image import open_image
    from stackbuild.oci.manifest import Manifest, parse_document

    try:
        document = parse_document(app.blobs.read(digest), name)
        if not isinstance(document, Manifest):
            return None
        return open_image(name, document, app.layout.open_blob)
    except (FileNotFoundError, NetworkError):
        return None


def pull_base(app: App, step: Step) -> ActionResult:
    """All blobs of a locked base image, into the store; facts as build/steps/base.py says."""
    stack = app.stack()
    stacks = (stack, *stack.stages.values())
    stack = next((one for one in stacks if one.base.image == step.params["image"]), stack)
    image = find_image(app, stack, step.platform, Digest(step.params["digest"]))
    return keep_image(app, image)


def keep_image(app: App, image: Image) -> ActionResult:
    """Copy the blobs of an image that the store lacks, checked. Returns a result that `LayerFolders.of` reads."""
    from stackbuild.build.images import chain_id

    outputs = {
        "manifest": app.blobs.put_bytes(image.manifest.raw),
        "config": app.blobs.put_bytes(image.raw_config),
    }
    layers = []
    for number, layer in enumerate(image.layers):
        blob = Blob(layer.descriptor.digest, layer.descriptor.size)
        if not app.blobs.use(blob):
            with closing(layer.open()) as stream:
                app.blobs.put(stream, blob)
        outputs[f"layer {number}"] = blob
        layers.append(
            {
                "digest": blob.digest,
                "size": blob.size,
                "diff_id": layer.diff_id,
                "media_type": layer.descriptor.media_type,
            }
        )
    if not layers:
        raise HostError(f"{image.name} has no layers", why="there is nothing to build on")
    config = json.loads(image.raw_config)
    facts = {
        "layers": layers,
        "chain_id": chain_id([layer.diff_id for layer in image.layers]),
        "history": config.get("history") or [],
    }
    return ActionResult(outputs, facts)


def base_tree(app: App, stack: Stack, platform: str, *, newest: bool = False) -> BaseTree:
    """The base image as the resolver reads it: its digest and its file system in one folder.

    newest: what its reference names now, whatever the lock says."""
    from stackbuild.build.images import LayerFolders
    from stackbuild.lock.resolve import BaseTree

    app.protect()
    image = find_image(app, stack, platform, None if newest else locked_digest(app, stack, platform))
    result = keep_image(app, image)
    [(_, folder)] = LayerFolders(app.blobs, app.trees, app.sandbox).of([result])
    return BaseTree(image.digest, folder)


def image_config_and_folders(app: App, reference: str) -> tuple[Digest, Mapping[str, Any], list[Path]]:
    """Manifest digest, config document and unpacked layers of an image of the store, or of any place.

    reference: a tag of the store ("hello-web" means "hello-web:latest") or a place of oci/transports, from which
    it is copied into the store first. Raises UsageError, NetworkError, HostError.
    """
    from stackbuild.build.images import LayerFolders, layer_results
    from stackbuild.host.processor import native
    from stackbuild.oci.descriptor import Platform
    from stackbuild.oci.transports import open_source

    tag, here = tag_in_store(app, reference), Platform(architecture=native()[0])
    # No client for what is here: to make one would settle the whole project.
    source, client = (f"oci:{app.layout.path}:{tag}", None) if tag else (reference, app.client)
    image = open_source(source, client=client, platform=here)
    result = keep_image(app, image)
    if not tag:
        app.layout.add(image.manifest.raw, tag=str(reference).removeprefix("docker://"))
    own = _own_layers(app, image)
    results = [result] if own is None else list(layer_results(result.facts["layers"], own))
    config: Mapping[str, Any] = json.loads(image.raw_config)
    folders = LayerFolders(app.blobs, app.trees, app.sandbox)
    return image.digest, config, [folder for _, folder in folders.of(results)]


def tag_in_store(app: App, reference: str) -> str:
    """The tag of the store that a reference means; "" if it is none."""
    tags = {tag for tag, _ in app.images()}
    return next((name for name in (reference, f"{reference}:latest") if name in tags), "")


def _own_layers(app: App, image: Image) -> int | None:
    """How many of the lowest layers are a base's, if all above them were made and unpacked by steps of this store.

    None: the image's layers have to be unpacked over each other. Only our own layers name all folders above
    their entries, so only they can be unpacked alone; that they are in the store says that they are ours.
    """
    from stackbuild.build.images import chain_id

    diff_ids = [layer.diff_id for layer in image.layers]
    own = len(diff_ids)
    while own and app.trees.has(diff_ids[own - 1], app.sandbox):
        own -= 1
    if own == len(diff_ids) or (own and not app.trees.has(chain_id(diff_ids[:own]), "flat")):
        return None
    return own
