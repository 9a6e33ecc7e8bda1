"""Sources to indexes that are ready to be asked: verified Release, then Packages by digest, cached; solves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stackbuild.core.clock import Clock, SystemClock
from stackbuild.core.digest import hex_of
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.core.events import Note
from stackbuild.core.files import write_file
from stackbuild.core.paths import StorePaths, ensure
from stackbuild.packages.deb.compression import decompress
from stackbuild.packages.deb.mirrors import spread
from stackbuild.packages.deb.packages_index import build_index
from stackbuild.packages.deb.release import IndexFile, Release, by_hash, uncompressed
from stackbuild.packages.fetch import Fetcher, Wanted
from stackbuild.packages.index import Index, keep
from stackbuild.packages.package import Archive
from stackbuild.packages.signature import today, verify_detached, verify_inline
from stackbuild.packages.source import Source

RELEASE_LIMIT = 32 << 20  # bytes
INDEX_LIMIT = 4 << 30  # bytes of an uncompressed index, where the Release does not say
_LOGIN = Hint("if it asks for a login: put one for this host into /etc/apt/auth.conf.d or ~/.netrc")
INDEX_FORM = "2"  # of the cached form: goes up with every change of what build_index writes


@dataclass(frozen=True, slots=True)
class Repository:
    """One source with what it holds for one architecture. Its Release was verified."""

    source: Source
    release: Release
    indexes: tuple[Index, ...]
    components: tuple[str, ...]  # of each index; "" in a flat archive

    @property
    def archive(self) -> Archive:
        return self.release.archive


def open_all(
    sources: Sequence[Source], architectures: Sequence[str], fetcher: Fetcher, clock: Clock | None = None
) -> list[Repository]:
    """All sources for the native architecture, the first, then for each foreign one as far as they have it."""
    found = open_repositories(sources, architectures[0], fetcher, clock)
    for foreign in architectures[1:]:
        having = [r.source for r in found[: len(sources)] if not r.source.flat and r.release.has(foreign)]
        found += open_repositories(having, foreign, fetcher, clock)
    return found


def open_repositories(
    sources: Sequence[Source], architecture: str, fetcher: Fetcher, clock: Clock | None = None
) -> list[Repository]:
    """All sources, in order, for a Debian architecture ("amd64"). Raises NetworkError.

    Costs a conditional request a source (none if it was asked less than fetcher.max_age seconds ago), a download
    and some seconds for each index that has changed.
    """
    now = (clock or SystemClock()).now()
    wanted = [s for s in sources if not s.architectures or architecture in s.architectures]
    with ThreadPoolExecutor(max(1, min(4, len(wanted)))) as pool:
        releases = list(pool.map(lambda source: open_release(source, fetcher, now), wanted))
    files = [release.indexes(source, architecture, _name(source)) for source, release in releases]
    missing: list[tuple[Source, Release, IndexFile]] = []
    for (source, release), indexes in zip(releases, files, strict=True):
        missing += [(source, release, f) for f in indexes if _cached(fetcher, f) is None]
    fetcher.fetch([_wanted(*item) for item in missing], "package indexes")
    for _, release, file in missing:
        fetcher.opened[_place(fetcher, file)] = _parse(fetcher, release, file)
    return [
        Repository(
            source,
            release,
            tuple(_load(fetcher, source, f) for f in indexes),
            tuple(f.path.partition("/binary-")[0] if "/binary-" in f.path else "" for f in indexes),
        )
        for (source, release), indexes in zip(releases, files, strict=True)
    ]


def _name(source: Source) -> str:
    return f"the index of {source.base}"


# ---- Release --------------------------------------------------------------------------------------------


def open_release(source: Source, fetcher: Fetcher, now: float) -> tuple[Source, Release]:
    """The source (at the mirror that answers, or at a snapshot if it asks for one) and its verified Release.

    Raises NetworkError.
    """
    if source.snapshot:
        source = place(source, fetcher, now)
    source = spread(source, fetcher)
    if not source.mirrors:
        return _open_at(source, fetcher, now)
    failures: list[NetworkError] = []
    for patient in (False, True):
        failures.clear()
        for root in fetcher.likeliest(source.roots):
            try:
                return _open_at(source.at(root), fetcher, now, patient=patient)
            except NetworkError as error:
                failures.append(error)
                fetcher.listener(Note(f"a mirror of {source.listed} does not do: {error.what}", "warning"))
    why = "; ".join(f"{error.what}: {error.why}" for error in failures)
    raise NetworkError(f"no mirror of {source.listed} has a good index", where=source.origin, why=why)


def _open_at(source: Source, fetcher: Fetcher, now: float, *, patient: bool = True) -> tuple[Source, Release]:
    if source.trusted:
        fetcher.listener(
            Note(f"{source.base} is used although nothing proves where it comes from (trusted)", "warning")
        )
    name = _name(source)
    store = release_store(source, fetcher.paths)
    old, headers = _remembered(store)
    asks = old is None or not (fetcher.offline or _young(store, fetcher.max_age))
    fresh = _fetch_release(source, fetcher, headers, name, patient) if asks else None
    if fresh is None:  # 304, offline, or asked for just now
        assert old is not None
        release = _verified(old, source, name, now)
        if asks:
            with suppress(FileNotFoundError):  # pruned while we asked; the next one asks again
                os.utime(store)
    else:
        release = _verified(fresh[0], source, name, now)
        before = _date_of(old, source, name, now)
        kept = before.date if before is not None else None
        if before is not None and kept is not None and release.date is not None and release.date < kept:
            text = f"{source.base} offers an older index than before, which is refused: the newer one is kept"
            fetcher.listener(Note(f"{text} ({today(release.date)}, known: {today(kept)})", "warning"))
            release = before
        else:
            _remember(store, *fresh)
    _check_suite(release, source, name, fetcher)
    release.check_dates(source, name, now)
    return source, release


def release_store(source: Source, paths: StorePaths) -> Path:
    """Where the last verified Release of a source is remembered."""
    return paths.indexes / "release" / hashlib.sha256(source.identity.encode()).hexdigest()


Signed = tuple[bytes, bytes | None]  # a message, and its detached signature if it is not inside


def _fetch_release(
    source: Source, fetcher: Fetcher, headers: dict[str, str], name: str, patient: bool
) -> tuple[Signed, dict[str, str]] | None:
    """The Release as fetched, unverified, with what a later conditional request needs; None if nothing changed."""

    statuses: set[int] = set()

    def get(file: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        status, got, body = fetcher.text(
            f"{source.base}/{file}",
            limit=RELEASE_LIMIT,
            name=name,
            headers=headers,
            proxy=source.proxy,
            patient=patient,
        )
        statuses.add(status)
        if status not in (200, 304, 404, 403):
            hints = (_LOGIN,) if status == 401 else ()
            raise NetworkError(f"{name} cannot be fetched", where=source.origin, hints=hints,
                               why=f"{source.base}/{file} answers with status {status}")  # fmt: skip
        again = {"if-none-match": got.get("etag", ""), "if-modified-since": got.get("last-modified", "")}
        return status, {k: v for k, v in again.items() if v}, body

    try:
        status, again, body = get("InRelease", headers)
        if status == 304:
            return None
        if status == 200:
            return (body, None), again
        status, again, body = get("Release", {})
        if status == 200:
            status, _, signature = (200, {}, b"") if source.trusted else get("Release.gpg", {})
            if status != 200:
                raise NetworkError(f"{name} is not signed", where=source.origin,
                                   why=f"{source.base} has neither InRelease nor Release.gpg")  # fmt: skip
            return (body, signature), again
    except NetworkError as error:
        raise error if error.where else _at(error, source) from None
    raise NetworkError(
        f"there is no archive at {source.base}",
        where=source.origin,
        why="it has neither InRelease nor Release" + (" that we may read (status 403)" if 403 in statuses else ""),
        hints=(Hint("check the URL and the suite in a browser"), *((_LOGIN,) if 403 in statuses else ())),
    )


def _at(error: NetworkError, source: Source) -> NetworkError:
    return NetworkError(error.what, where=source.origin, why=error.why, hints=error.hints)


def _verified(signed: Signed, source: Source, name: str, now: float) -> Release:
    data, signature = signed
    if source.trusted:
        text = _plain(data)
    elif signature is None:
        text = verify_inline(data, source, name, now)
    else:
        text = verify_detached(data, signature, source, name, now)
    return Release.parse(text, name)


def _plain(data: bytes) -> bytes:
    """The text of a clear-signed message, its signature unread; anything else as it is."""
    if not data.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return data
    text = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[-1].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    return re.sub(rb"^- ", b"", text, flags=re.M)


def _date_of(old: Signed | None, source: Source, name: str, now: float) -> Release | None:
    """What was remembered, if it still verifies and has a date."""
    if old is None:
        return None
    try:
        release = _verified(old, source, name, now)
        release.check_dates(source, name, now)
    except NetworkError:
        return None
    return release if release.date is not None else None


def _young(store: Path, max_age: float) -> bool:
    """Whether the remembered Release was asked for in the last `max_age` seconds, by the file system's clock."""
    try:
        return 0 <= time.time() - store.stat().st_mtime < max_age
    except FileNotFoundError:  # pruned since it was read
        return False


def _remember(store: Path, signed: Signed, again: dict[str, str]) -> None:
    ensure(store.parent)
    head = json.dumps({"size": len(signed[0]), "apart": signed[1] is not None, "again": again}).encode()
    write_file(store, head + b"\n" + signed[0] + (signed[1] or b""))


def _remembered(store: Path) -> tuple[Signed | None, dict[str, str]]:
    try:
        head, _, rest = store.read_bytes().partition(b"\n")
        known = json.loads(head)
        size = known["size"]
        if len(rest) < size:
            return None, {}
        return (rest[:size], rest[size:] if known["apart"] else None), dict(known["again"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, {}


def _check_suite(release: Release, source: Source, name: str, fetcher: Fetcher) -> None:
    """A signed Release of another suite must not pass for this one: it would hide, say, security updates."""
    archive = release.archive
    names = {n for n in (archive.codename, archive.suite) if n}
    wanted = source.suite.rstrip("/")
    if source.flat or not names or wanted in names or {f"{n}/updates" for n in names} & {wanted}:
        return
    what = f"{name} is that of another suite: {' / '.join(sorted(names))}, not {wanted}"
    related = any(n.split("-")[0].split("/")[0] == wanted.split("-")[0].split("/")[0] for n in names)
    if related or archive.origin in ("Debian", "Ubuntu"):
        raise NetworkError(what, where=source.origin, why="it is signed, but somebody may have put it there")
    fetcher.listener(Note(what, "warning"))


def place(source: Source, fetcher: Fetcher, now: float | None = None) -> Source:
    """The source where its files are: at the mirrors of its list, or at a point in time. Raises NetworkError.

    Where the archive keeps its past is what its own (verified) Release says.
    """
    if not source.snapshot:
        return spread(source, fetcher)
    now = SystemClock().now() if now is None else now
    live, release = open_release(replace(source, snapshot=""), fetcher, now)
    if "@SNAPSHOTID@" not in release.snapshots:
        raise NetworkError(f"{source.base} keeps no snapshots", where=source.origin,
                           why="its Release has no Snapshots field")  # fmt: skip
    url = release.snapshots.replace("@SNAPSHOTID@", source.snapshot).rstrip("/")
    # a snapshot is meant to be old
    return replace(live, url=url, mirrors=(), listed="", check_valid_until=False)


# ---- Packages -------------------------------------------------------------------------------------------


def _place(fetcher: Fetcher, file: IndexFile) -> Path:
    return fetcher.paths.indexes / f"{hex_of(file.digest)}.{INDEX_FORM}"


def _cached(fetcher: Fetcher, file: IndexFile) -> Index | None:
    """The parsed form, if the store has it; read and checked once a command."""
    place = _place(fetcher, file)
    if place not in fetcher.opened:
        try:
            fetcher.opened[place] = Index.open(place)
        except (OSError, ValueError):
            return None
    return fetcher.opened[place]


def _wanted(source: Source, release: Release, file: IndexFile) -> Wanted:
    paths = ([by_hash(file)] if release.by_hash else []) + [file.path]
    urls = tuple(f"{source.at(root).base}/{path}" for root in source.roots for path in paths)
    return Wanted(file.digest, file.size, f"{file.path} of {source.suite}", urls, source.proxy)


def _load(fetcher: Fetcher, source: Source, file: IndexFile) -> Index:
    index = fetcher.opened[_place(fetcher, file)]
    if index.skipped:
        fetcher.listener(
            Note(f"{source.base}: {index.skipped} entries of {file.path} are not valid, left out", "warning")
        )
    return index


def _parse(fetcher: Fetcher, release: Release, file: IndexFile) -> Index:
    """The parsed form of a fetched index file, kept."""
    plain = uncompressed(file, release.files)
    path = fetcher.path(file.digest)
    data = decompress(path.read_bytes(), file.path, plain.size if plain else INDEX_LIMIT)
    ensure(fetcher.paths.indexes)
    return keep(_place(fetcher, file), build_index(data))
