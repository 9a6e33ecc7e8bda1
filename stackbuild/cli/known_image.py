"""An image of the store with its unpacked layers, found as last time while no tag has changed. Imports little."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild import __version__
from stackbuild.core import stamps

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def config_and_folders(app: App, reference: str) -> tuple[Mapping[str, Any], list[Path]]:
    """The inner config object and the layers, lowest first, of an image of the store or of any place.

    Nobody prunes the layers before the command ends. Raises as cli/base_image.py.
    """
    words = [__version__, reference, app.environ.get("STACKBUILD_SANDBOX", "")]
    place = stamps.place(app.paths.stamps / "images", words)
    stamp = stamps.read(place)
    if stamp is not None and stamp.current({}):
        folders = [app.paths.rootfs / name for name in stamp.result["trees"]]
        if all(map(app.trees.use, folders)):
            return stamp.result["config"], folders
    from stackbuild.cli.base_image import image_config_and_folders, tag_in_store

    started = time.time_ns()
    known = tag_in_store(app, reference)
    _, document, folders = image_config_and_folders(app, reference)
    config: Mapping[str, Any] = document.get("config") or {}
    if known:  # what comes from elsewhere is asked for there each time
        trees = [os.path.relpath(folder, app.paths.rootfs) for folder in folders]
        stamp = stamps.take([app.paths.images / "index.json"], {}, (), {"config": config, "trees": trees})
        if stamp.older_than(started):
            stamps.write(place, stamp)
    return config, folders
