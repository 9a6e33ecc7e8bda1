"""What commands fetch and send, and the client and the fetcher that do it, wired to the settings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from stackbuild.core.errors import Hint, NetworkError, UsageError
from stackbuild.core.events import BytesFetched, ImagePushed, PhaseFinished, PhaseStarted

if TYPE_CHECKING:
    from stackbuild.cli.sending import Host
    from stackbuild.cli.wiring import App
    from stackbuild.core.digest import Digest
    from stackbuild.net.client import Answer, Client, Policy
    from stackbuild.oci.image import AnyImage
    from stackbuild.oci.reference import Reference
    from stackbuild.packages.fetch import Fetcher
    from stackbuild.plan.step import Step
    from stackbuild.stack.image_tables import Registry

LARGEST_DOWNLOAD = 32 << 30  # bytes; a `fetch` layer whose server says no end


def make_client(app: App, policy: Policy | None = None) -> Client:
    """The one HTTP client of a command, with what `[registries]` says of each host. policy: other bounds."""
    from stackbuild.net.client import Client
    from stackbuild.net.credentials import Credentials
    from stackbuild.net.pools import HostSettings, Proxies

    registries = app.registries()
    helpers = {host: table.credential_helper for host, table in registries.items() if table.credential_helper}
    return Client(
        policy=policy,
        credentials=Credentials(app.environ, helpers=helpers),
        proxies=Proxies.of(app.environ),
        settings={
            host: HostSettings(bool(table.insecure), _ca(table), table.mirror or "")
            for host, table in registries.items()
        },
    )


def _ca(table: Registry | Host) -> str:
    return os.path.expanduser(table.ca) if table.ca else ""


def fetcher(app: App, max_age: float = 0) -> Fetcher:
    """Package indexes and package files, into this store: one for all, so that a host that is silent is known to all.

    max_age: seconds for which indexes count as new.
    """
    from stackbuild.packages.fetch import Fetcher

    if max_age not in app.fetchers:
        app.fetchers[max_age] = Fetcher(
            app.paths, _LateClient(app), app.listener, offline=app.args.offline, max_age=max_age
        )
    return app.fetchers[max_age]


class _LateClient:
    """The app's client, made when something is to be downloaded: it is much to import, and much is there already."""

    def __init__(self, app: App) -> None:
        self._app = app

    def get(
        self, url: str, *, headers: Mapping[str, str], proxy: str | None, repeat: bool | None
    ) -> AbstractContextManager[Answer]:
        return self._app.client.get(url, headers=headers, proxy=proxy, repeat=repeat)


def download(app: App, step: Step) -> None:
    """The file of a `fetch` step, into the store, its digest checked. Raises NetworkError."""
    if "url" in step.params:
        _download_url(app, step)
    else:
        app.package_files.bring(step.platform, [step.params["sha256"]], step.id)


def _download_url(app: App, step: Step) -> None:
    url, digest = step.params["url"], step.params["sha256"]
    if app.args.offline and not url.startswith("file:"):
        raise NetworkError(f"{url} is not in the store, and --offline forbids to fetch it", where=step.origin)
    if url.startswith("file:"):
        try:
            with open(unquote(urlsplit(url).path), "rb") as file:
                blob = app.downloads.put(file)
        except OSError as error:
            raise NetworkError(f"cannot read {url}", why=error.strerror or "", where=step.origin) from error
    else:
        with app.client.get(url) as answer:
            if answer.status != 200:
                raise NetworkError(f"cannot fetch {url}", why=f"the server answers {answer.status}", where=step.origin)
            blob = app.downloads.put(cast(BinaryIO, _Noting(answer, app, step.id)))
    if blob.digest != digest:
        app.downloads.path(blob.digest).unlink(missing_ok=True)
        raise NetworkError(
            f"{url} is not what the stack file says",
            where=step.origin,
            why=f"expected {digest}, got {blob.digest} ({blob.size} bytes)",
            hints=[Hint("if the new content is what you want, put its digest into the stack file")],
        )


class _Noting:
    """A body that tells the listener how far it is, and that ends."""

    def __init__(self, answer: Answer, app: App, name: str) -> None:
        self._answer, self._app, self._name, self._done = answer, app, name, 0
        said = answer.headers.get("content-length", "")
        self._total = int(said) if said.isdigit() else None

    def read(self, size: int) -> bytes:
        data = self._answer.read(size)
        self._done += len(data)
        if self._done > LARGEST_DOWNLOAD:
            raise NetworkError(f"{self._answer.url} sends too much", why=f"more than {LARGEST_DOWNLOAD} bytes")
        self._app.listener(BytesFetched(self._name, self._done, self._total))
        return data


def copy_out(app: App, digest: Digest, place: str) -> None:
    """An image of the store to a place of oci/transports. Raises UsageError, NetworkError, HostError."""
    from stackbuild.oci.transports import copy

    image = _of_the_store(app, digest, place)
    if app.has_project and (sibling := _sibling(app)) is not None:
        image = image.at_home(sibling)
    app.listener(PhaseStarted("push"))
    started = time.monotonic()
    try:
        copied = copy(image, place, client=app.client, events=app.listener)
    except NetworkError:
        _blame_store(app, digest)
        raise
    app.listener(ImagePushed(place, copied.digest, copied.sent, copied.skipped))
    app.listener(PhaseFinished("push", time.monotonic() - started))


def _blame_store(app: App, digest: Digest) -> None:
    """Raises HostError (`damaged`) if a blob of an image is not what its name says: no network is the cause then."""
    from stackbuild.core.action import Blob
    from stackbuild.store.inventory import image_blobs
    from stackbuild.store.objects import lost

    for one in image_blobs(app.paths.images / "blobs", digest):
        try:
            app.blobs.checked(Blob(one, 0))
        except FileNotFoundError:
            raise lost(f"the blob {one}") from None


def _of_the_store(app: App, digest: Digest, place: str) -> AnyImage:
    """The image of a manifest or index of the store, on its way to a place."""
    from stackbuild.oci.image import open_image, open_index
    from stackbuild.oci.manifest import Manifest, parse_document

    name = f"the image {digest[7:19]}"
    try:
        document = parse_document(app.blobs.read(digest), name)
        if isinstance(document, Manifest):
            return open_image(name, document, app.layout.open_blob)
        return open_index(name, document, app.layout.open_blob)
    except FileNotFoundError:
        hints = [Hint("build it", "stackbuild build")]
        raise UsageError(f"{place} cannot be written", why=f"{name} is not in the store", hints=hints) from None


def _sibling(app: App) -> Reference | None:
    """The repository of the remote cache, which may have the layers of an image that is pushed to the same registry."""
    from stackbuild.cli.sending import Sending
    from stackbuild.oci.reference import parse_reference

    asked = (getattr(app.args, "cache_to", None), getattr(app.args, "cache_from", None))
    known = app.sending or Sending.of(app.stack())
    try:
        return next((parse_reference(word) for word in (*asked, *known.caches) if word), None)
    except UsageError:
        return None
