"""Where images come from and go to: a table from the prefix of a place to the module that knows it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.events import Listener, nobody
from stackbuild.oci.descriptor import Platform
from stackbuild.oci.documents import shown
from stackbuild.oci.image import AnyImage, Image, ImageIndex
from stackbuild.oci.layout import Copied

if TYPE_CHECKING:
    from stackbuild.net.client import Client

TRANSPORTS = {
    "oci": "folder",
    "oci-archive": "oci_archive",
    "docker-archive": "docker_archive",
    "docker": "docker_registry",
    "rootfs": "rootfs",
}


class Transport(Protocol):
    """One kind of place; a module with these two functions. `rest` is what follows the prefix.

    A sink appears whole or not at all. Both raise UsageError for a place that makes no sense,
    NetworkError for bytes that are not what they should be, HostError for what the disk cannot do.
    """

    def open_image(self, rest: str, *, client: Client | None, platform: Platform | None) -> Image:
        """The image at a place; of several platforms the one asked for, linux/amd64 if none is."""

    def write_image(self, image: AnyImage, rest: str, *, client: Client | None, listener: Listener) -> Copied:
        """Bring an image to a place, each blob checked on the way; of several platforms all, or it is a UsageError."""


def open_source(text: str, *, client: Client | None = None, platform: Platform | None = None) -> Image:
    """The image that a place names: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:REF]`,
    `docker://REF` or a bare registry reference. Its layers are read when they are opened; archives and
    folders must stay as they are until then. Raises as `Transport` says.
    """
    transport, rest = find(text)
    return transport.open_image(rest, client=client, platform=platform)


def copy(image: AnyImage, target: str, *, client: Client | None = None, events: Listener = nobody) -> Copied:
    """Bring an image to a place, as `open_source` reads them, and `rootfs:DIR`. Raises as `Transport` says."""
    transport, rest = find(target)
    return transport.write_image(image, rest, client=client, listener=events)


def only(image: AnyImage, place: str) -> Image:
    """The image, for a place that holds one. Raises UsageError if there are several."""
    if not isinstance(image, ImageIndex):
        return image
    platforms = [str(one.platform) for one in image.images]
    raise UsageError(
        f"{place}: holds one image, and {image.name} is for several platforms",
        why=f"it is for {', '.join(platforms)}",
        hints=(Hint("build one of them", f"stackbuild build --platform {platforms[0]} --to {place}:…"),),
    )


def find(text: str) -> tuple[Transport, str]:
    """The transport of a place, and what its prefix leaves. Raises UsageError."""
    prefix, colon, rest = text.partition(":")
    if not colon or prefix not in TRANSPORTS:
        if "://" in text or (colon and "/" not in prefix and rest[:1] in ("/", "")):
            raise UsageError(
                f"`{shown(text)}` is no place for an image that is known here",
                hints=(Hint(f"known are {', '.join(_written(name) for name in TRANSPORTS)}"),),
            )
        prefix, rest = "docker", "//" + text  # a reference without a prefix is a registry's
    if not rest.strip("/"):
        raise UsageError(f"`{shown(text)}` is incomplete", why=f"the form is {_written(prefix)}")
    module = import_module(f"stackbuild.oci.transports.{TRANSPORTS[prefix]}")
    return cast(Transport, module), rest


def _written(prefix: str) -> str:
    forms = {
        "oci": "oci:DIR[:TAG]",
        "oci-archive": "oci-archive:FILE[:TAG]",
        "docker-archive": "docker-archive:FILE[:REF]",
        "docker": "docker://HOST/PATH[:TAG]",
        "rootfs": "rootfs:DIR",
    }
    return forms[prefix]


def split_place(rest: str) -> tuple[str, str]:
    """ "PATH[:NAME]" at its first colon, as containers-transports(5) has it."""
    path, _, name = rest.partition(":")
    return path, name
