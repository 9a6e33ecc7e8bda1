"""Mirror lists (apt-transport-mirror(1)): the places that one names, in order; fetches the list, nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from stackbuild.core.errors import Hint, NetworkError
from stackbuild.core.events import Note
from stackbuild.core.files import write_file
from stackbuild.core.paths import ensure
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.source import Source

LIMIT = 1 << 20  # bytes of a list
MOST = 32  # mirrors that are tried
_LOCAL = ("file:", "copy:")
_LAST = 1 << 62  # apt's priority of a mirror that has none


def is_list(url: str) -> bool:
    """Whether a source's URL is that of a mirror list."""
    return url.startswith(("mirror:", "mirror+"))


def parse(text: str, source: Source, *, local: bool) -> Source:
    """The source at the first of a list's mirrors, with the others to fall back to.

    Mirrors of a lower `priority:` go first, others keep their order; other metadata narrows what a mirror has, and a
    file that it lacks is fetched from the next one anyway. local: a list on this machine may name places on it.
    Raises NetworkError.
    """
    found: list[tuple[int, str]] = []
    for line in text.splitlines():
        url, _, metadata = line.strip().partition("\t")
        if not url or url.startswith("#"):
            continue
        if url.startswith(("http://", "https://", *(_LOCAL if local else ()))) and url.isprintable() and " " not in url:
            said = [word[9:] for word in metadata.split() if word.startswith("priority:")]
            found.append((int(said[0]) if said and said[0].isdigit() else _LAST, url.rstrip("/")))
    roots = tuple(dict.fromkeys(url for _, url in sorted(found, key=lambda one: one[0])))[:MOST]
    if not roots:
        raise NetworkError(
            f"the mirror list {source.url} names no mirror that can be used",
            where=source.origin,
            why="each of its lines is to be a URL of http or https" + (", or a file: URL" if local else ""),
        )
    return replace(source, url=roots[0], mirrors=roots[1:], listed=source.url)


def spread(source: Source, fetcher: Fetcher) -> Source:
    """The source at its mirrors, if it names a list of them; else the source itself. Raises NetworkError.

    A list that cannot be fetched now is taken as it was the last time.
    """
    if not is_list(source.url):
        return source
    place = "http:" + source.url[7:] if source.url.startswith("mirror:") else source.url[7:]
    if place.startswith(_LOCAL):
        try:
            return parse(_small(Path("/" + unquote(place.partition(":")[2]).lstrip("/"))), source, local=True)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise NetworkError(f"the mirror list {source.url} cannot be read", where=source.origin, why=why) from None
    return parse(_fetched(place, source, fetcher), source, local=False)


def _small(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file")
    with open(path, "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ValueError(f"it has more than {LIMIT} bytes")
    return data.decode("utf-8", "replace")


def _fetched(url: str, source: Source, fetcher: Fetcher) -> str:
    kept = fetcher.paths.indexes / "mirrors" / hashlib.sha256(url.encode()).hexdigest()
    name = f"the mirror list {url}"
    try:
        if not fetcher.offline or not kept.is_file():
            status, _, body = fetcher.text(url, limit=LIMIT, name=name, proxy=source.proxy)
            if status != 200:
                raise NetworkError(f"{name} cannot be fetched", why=f"the server answers with status {status}")
            ensure(kept.parent)
            write_file(kept, body)
    except NetworkError as error:
        if not kept.is_file():
            hints = (*error.hints, Hint("or name one of its mirrors itself"))
            raise NetworkError(error.what, where=source.origin, why=error.why, hints=hints) from None
        fetcher.listener(Note(f"{name} cannot be fetched, so the last one is used: {error.why}", "warning"))
    return _small(kept)
