"""oci:DIR[:TAG]: an image in a folder that is an OCI image layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.errors import UsageError
from stackbuild.core.events import BytesFetched, Listener
from stackbuild.oci.descriptor import Descriptor, Platform
from stackbuild.oci.image import AnyImage, Image
from stackbuild.oci.layout import Copied, Layout, is_layout
from stackbuild.oci.transports import split_place

if TYPE_CHECKING:
    from stackbuild.net.client import Client


def open_image(rest: str, *, client: Client | None, platform: Platform | None) -> Image:
    path, tag = split_place(rest)
    if not Path(path).is_dir():
        raise UsageError(f"oci:{path} does not exist", why="there is no such folder")
    return Layout(Path(path)).open_image(tag, platform)


def write_image(image: AnyImage, rest: str, *, client: Client | None, listener: Listener) -> Copied:
    """Into a new or an existing layout; the name comes last, so an image is there whole or not."""
    path, tag = split_place(rest)
    folder = Path(path)
    if folder.is_dir() and not is_layout(folder) and any(folder.iterdir()):
        raise UsageError(f"oci:{path} is not an image layout", why="the folder has other things in it")

    def progress(blob: Descriptor, done: int) -> None:
        listener(BytesFetched(f"{blob.digest[7:19]} to oci:{path}", done, blob.size))

    return Layout(folder, durable=True).write(image, tag, progress=progress)
