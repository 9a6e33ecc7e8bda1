"""rootfs:DIR: the flattened tree of an image in a new folder. A sink only: a tree alone is no image."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.digest import chunks
from stackbuild.core.errors import HostError, UsageError
from stackbuild.core.events import BytesFetched, Listener
from stackbuild.core.files import host_error
from stackbuild.oci.descriptor import Platform
from stackbuild.oci.image import AnyImage, Image
from stackbuild.oci.layout import Copied
from stackbuild.oci.tar_extract import extract
from stackbuild.oci.transports import only
from stackbuild.oci.tree_write import TreeWriter

if TYPE_CHECKING:
    from stackbuild.net.client import Client


def open_image(rest: str, *, client: Client | None, platform: Platform | None) -> Image:
    raise UsageError(f"rootfs:{rest} cannot be read as an image", why="a folder has no config; it can only be written")


def write_image(image: AnyImage, rest: str, *, client: Client | None, listener: Listener) -> Copied:
    """Into a folder that does not exist or is empty; it appears whole. Needs root, or a user namespace, for owners."""
    image = only(image, "rootfs")
    target = Path(os.path.abspath(rest))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"rootfs:{rest} is already there", why="it would have to be empty")
    if os.geteuid() != 0:
        raise HostError(f"rootfs:{rest} cannot be written", why="only root can give files their owners")
    sent = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
        try:
            os.chmod(work, 0o755)
            for number, layer in enumerate(image.layers):
                stream = layer.open()
                try:
                    extract(stream, work, whiteouts="apply", name=f"{image.name}: layer {number}", devices=True)
                    for _ in chunks(stream):
                        pass
                finally:
                    stream.close()
                sent += layer.descriptor.size
                listener(BytesFetched(f"layer {number} to rootfs:{rest}", layer.descriptor.size, layer.descriptor.size))
            os.rename(work, target)
        except BaseException:
            with TreeWriter(work, str(work), links=False, devices=False) as tree:
                tree.remove(b"", children_only=True)
            with suppress(OSError):
                os.rmdir(work)
            raise
    except OSError as error:
        raise host_error(error, f"rootfs:{rest}") from error
    return Copied(sent, 0, image.digest)
