"""What of the store must stay: asked of the image layout and of the containers, for `cache` and after a build."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, StackError, UsageError

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.oci.descriptor import Descriptor
    from stackbuild.store.prune import Pruned


def kept(app: App) -> dict[str, str]:
    """Digest of a blob, or path of an unpacked tree -> the tag or container that keeps it.

    Raises NetworkError if the names of images cannot be read: then nothing may be deleted.
    """
    from stackbuild.run.container import containers
    from stackbuild.store.inventory import image_blobs

    blobs = app.paths.images / "blobs"
    found: dict[str, str] = {}
    for container in containers(app.paths.containers):
        try:
            launch, image = container.launch, container.spec.image
        except (StackError, ValueError):
            continue
        found.update(dict.fromkeys(launch.lowers, f"container {container.name}"))
        if image:
            found.update(dict.fromkeys(image_blobs(blobs, Digest(image)), f"container {container.name}"))
    for tag, descriptor in app.images():
        words = f"tag {tag}" if tag else "an image without a tag"
        found.update(dict.fromkeys(image_blobs(blobs, descriptor.digest), words))
    return found


def find_image(app: App, word: str, *, by_digest: bool = True) -> tuple[str, Descriptor]:
    """Tag and descriptor of an image of the store: by its tag, "NAME" for "NAME:latest", or by its digest.

    Nobody prunes it before the command ends. Raises UsageError that names near ones.
    """
    import difflib

    from stackbuild.store.inventory import image_blobs

    app.protect()
    images = app.images()
    for wanted in (word, f"{word}:latest"):
        for tag, descriptor in images:
            if tag == wanted or (by_digest and word in (descriptor.digest, descriptor.digest[7:19])):
                for blob in image_blobs(app.paths.images / "blobs", descriptor.digest):
                    app.uses.note(blob, app.blobs.path(blob))
                return tag, descriptor
    tags = [tag for tag, _ in images if tag]
    near = difflib.get_close_matches(word, tags, 2) or tags[:3]
    raise UsageError(f"there is no image `{word}` in the store", hints=[Hint(f"there is `{tag}`") for tag in near])


def settled_limit(app: App) -> int | None:
    """[build] max-cache-size of the project, else of the user's and the site's config alone."""
    if app.has_project:
        return app.stack().build.max_cache_size
    from stackbuild.cli.settling import settle_nothing

    return settle_nothing(app).build.max_cache_size


def keep_to_size(app: App, limit: int | None) -> Pruned | None:
    """Prune to [build] max-cache-size what was used least recently; None if there is nothing to do."""
    if limit is None:
        return None
    from stackbuild.store.inventory import inventory
    from stackbuild.store.prune import Wish, choose, delete

    items = inventory(app.paths, kept(app))
    chosen = choose(items, Wish(max_size=limit), time.time(), app.uses.oldest_build())
    return delete(app.paths, chosen, still_kept=lambda: kept(app)) if chosen else None
