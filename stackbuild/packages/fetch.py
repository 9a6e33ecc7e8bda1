"""Files of package archives into the store: many at a time, checked as they stream, resumed; knows no index format."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from stackbuild.core.digest import CHUNK, Digest, finish, hex_of
from stackbuild.core.errors import Hint, Interrupted, NetworkError
from stackbuild.core.events import BytesFetched, Listener, nobody
from stackbuild.core.files import host_error
from stackbuild.core.paths import StorePaths, ensure

if TYPE_CHECKING:
    from stackbuild.packages.index import Index

CONNECTIONS = 4
"""Downloads at the same time: a few kept-alive connections are as fast as many, and kind to mirrors."""


class Answer(Protocol):
    """What a server said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]

    def read(self, size: int) -> bytes:
        """At most `size` bytes of the body; b"" at its end. Raises NetworkError."""


class Downloader(Protocol):
    """How bytes come from a URL: net.client.Client does. Retries and kept-alive connections are its own affair.

    proxy: a URL, "DIRECT" for none, None for the environment's. repeat: False gives up after the first try.
    """

    def get(
        self, url: str, *, headers: Mapping[str, str], proxy: str | None, repeat: bool | None
    ) -> AbstractContextManager[Answer]:
        """Raises NetworkError if nobody answers; any status is an answer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that is to be there: what it must be, and where it may come from (tried in order).

    name: what the user calls it. gone: says, when no place has it any more, what to do.
    """

    digest: Digest
    size: int
    name: str
    urls: tuple[str, ...]
    proxy: str | None = None
    gone: Callable[[], Sequence[Hint]] = field(default=lambda: (), compare=False)


class Fetcher:
    """Fills StorePaths.packages. Safe for several threads and processes at once.

    max_age: seconds for which an archive's Release need not be asked for again.
    """

    def ahead(self) -> Fetcher:
        """One that asks nobody and says nothing, for what may be needed: what it opens is open here, too."""
        quiet = Fetcher(self.paths, self.downloader, offline=True)
        quiet.opened = self.opened
        return quiet

    def __init__(
        self,
        paths: StorePaths,
        downloader: Downloader,
        listener: Listener = nobody,
        *,
        offline: bool = False,
        max_age: float = 0,
    ) -> None:
        self.paths, self.downloader, self.listener, self.offline = paths, downloader, listener, offline
        self.max_age = max_age
        self.opened: dict[Path, Index] = {}  # package indexes of the store that were read and checked
        self._silent: set[str] = set()  # hosts that gave no answer: asked last from then on

    def path(self, digest: Digest) -> Path:
        """Where the file with this digest is, or would be."""
        return self.paths.packages / "sha256" / hex_of(digest)

    def has(self, wanted: Wanted) -> bool:
        """Whether it is there, by its name and size; `cache verify` is what reads the bytes."""
        try:
            return self.path(wanted.digest).stat().st_size == wanted.size
        except OSError:
            return False

    def likeliest(self, urls: Iterable[str]) -> list[str]:
        """The same places, those that did not answer before last."""
        return sorted(urls, key=lambda url: _host(url) in self._silent)

    def fetch(self, wanted: Sequence[Wanted], label: str = "packages") -> None:
        """Have all of these files. Raises NetworkError (the first failure; the others are stopped), Interrupted."""
        missing = list({w.digest: w for w in wanted if not self.has(w)}.values())
        if not missing:
            return
        if self.offline:
            names = ", ".join(w.name for w in missing[:5]) + ("…" if len(missing) > 5 else "")
            several = len(missing) > 1
            raise NetworkError(
                f"{len(missing)} {'files are' if several else 'file is'} not in the store, "
                f"and --offline forbids to fetch {'them' if several else 'it'}",
                why=names,
                hints=(Hint("run once without --offline"),),
            )
        ensure(self.paths.packages / "sha256")
        ensure(self.paths.packages / "partial")
        progress = _Progress(self.listener, label, sum(w.size for w in missing))
        stop = threading.Event()
        with ThreadPoolExecutor(min(CONNECTIONS, len(missing)), "fetch") as pool:
            # large files first: none of them is then left alone at the end
            jobs = [pool.submit(self._one, w, progress, stop) for w in sorted(missing, key=lambda w: -w.size)]
            try:
                done, _ = wait(jobs, return_when="FIRST_EXCEPTION")
                failed = next((job.exception() for job in done if not job.cancelled() and job.exception()), None)
            except BaseException:  # KeyboardInterrupt: the threads must not hold up the exit
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            if failed is not None:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise failed
        progress.end()

    def _one(self, wanted: Wanted, progress: _Progress, stop: threading.Event) -> None:
        failures: list[NetworkError] = []
        absent = 0
        several = len({_host(url) for url in wanted.urls}) > 1  # then another is asked before one is asked again
        for patient in (False, True) if several else (True,):
            failures.clear()
            absent = 0
            for url in self.likeliest(wanted.urls):
                try:
                    self._from(url, wanted, progress, stop, patient=patient)
                    return
                except _Absent:
                    absent += 1
                except NetworkError as error:
                    failures.append(error)
            if not failures:
                break
        if failures:
            raise failures[0]
        where = ", ".join(dict.fromkeys(urlsplit(url).netloc or "the local archive" for url in wanted.urls))
        raise NetworkError(
            f"{wanted.name} is no longer on {where}" if absent else f"no source offers {wanted.name}",
            why=f"none of {absent} places has {wanted.urls[0]}" if absent else "no archive with its identity is set up",
            hints=tuple(wanted.gone()),
        )

    def _from(
        self, url: str, wanted: Wanted, progress: _Progress, stop: threading.Event, *, patient: bool = True
    ) -> None:
        """Fetch from one place, on from what an earlier try has left."""
        final = self.path(wanted.digest)
        try:
            with _partial(self.paths.packages / "partial" / hex_of(wanted.digest)) as (file, temporary):
                hasher, have = hashlib.sha256(), 0
                while piece := file.read(CHUNK):
                    hasher.update(piece)
                    have += len(piece)
                if have >= wanted.size:
                    hasher, have = _again(file)
                headers = {"range": f"bytes={have}-"} if have else {}
                with self._open(url, headers, wanted.proxy, patient) as answer:
                    if answer.status in (404, 410):
                        raise _Absent
                    if have and answer.status != 206:
                        hasher, have = _again(file)
                    if answer.status not in (200, 206):
                        raise NetworkError(f"cannot fetch {wanted.name} from {_host(url)}",
                                           why=f"{url} answers with status {answer.status}")  # fmt: skip
                    progress.add(have)
                    try:
                        while piece := answer.read(CHUNK):
                            if stop.is_set():
                                raise Interrupted("the download was stopped")
                            have += len(piece)
                            if have > wanted.size:
                                break
                            hasher.update(piece)
                            file.write(piece)
                            progress.add(len(piece))
                        _judge(have, finish(hasher), url, wanted)
                    except NetworkError:
                        progress.add(-min(have, wanted.size))
                        if have >= wanted.size:
                            _again(file)  # wrong bytes must not be gone on from
                        raise
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.rename(temporary, final)
        except OSError as error:
            raise host_error(error, final) from error

    @contextmanager
    def _open(self, url: str, headers: Mapping[str, str], proxy: str | None, patient: bool) -> Iterator[Answer]:
        if url.startswith(("file:", "copy:")):
            with _LocalFile(url, int(headers.get("range", "bytes=0-")[6:-1])) as local:
                yield local
        else:
            answered = False
            try:
                by, repeat = "DIRECT" if proxy == "" else proxy, None if patient else False
                with self.downloader.get(url, headers=headers, proxy=by, repeat=repeat) as answer:
                    answered = True
                    yield answer
            except NetworkError:
                if not answered:
                    self._silent.add(_host(url))
                raise

    def text(
        self,
        url: str,
        *,
        limit: int,
        name: str,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        patient: bool = True,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A small document: status, headers (names in lower case), body of at most `limit` bytes.

        patient: whether a place that fails is asked again.
        Raises NetworkError if nobody answers or more comes.
        """
        if self.offline:
            raise NetworkError(f"{name} is not in the store, and --offline forbids to fetch it",
                               hints=(Hint("run once without --offline"),))  # fmt: skip
        with self._open(url, headers or {}, proxy, patient) as answer:
            body = bytearray()
            while answer.status == 200 and (piece := answer.read(CHUNK)):
                body += piece
                if len(body) > limit:
                    raise NetworkError(f"{name} is too large", why=f"{url} sends more than {limit} bytes")
            promised = answer.headers.get("content-length", "")
            if answer.status == 200 and promised.isdigit() and int(promised) != len(body):
                raise NetworkError(f"{name} is truncated", why=f"{len(body)} of {promised} bytes came from {url}")
            return answer.status, answer.headers, bytes(body)


class _Absent(Exception):
    """The place does not have the file."""


def _judge(size: int, digest: Digest, url: str, wanted: Wanted) -> None:
    """Raises NetworkError unless these are the bytes that were wanted."""
    hints = (Hint("the mirror may be in the middle of an update: try again, or use another mirror"),)
    if size < wanted.size:
        raise NetworkError(f"{wanted.name} from {_host(url)} is truncated",
                           why=f"{size} of {wanted.size} bytes came from {url}", hints=hints)  # fmt: skip
    if size > wanted.size:
        raise NetworkError(f"{wanted.name} from {_host(url)} is larger than promised",
                           why=f"{wanted.size} bytes were to come from {url}", hints=hints)  # fmt: skip
    if digest != wanted.digest:
        raise NetworkError(f"{wanted.name} from {_host(url)} has the wrong digest",
                           why=f"{url}: expected {wanted.digest}, got {digest}", hints=hints)  # fmt: skip


def _host(url: str) -> str:
    return urlsplit(url).netloc or "the local archive"


def _again(file: BinaryIO) -> tuple[hashlib._Hash, int]:
    file.seek(0)
    file.truncate()
    return hashlib.sha256(), 0


@contextmanager
def _partial(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An open file to fill and its path: what an earlier try left, unless another process is at it just now."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            mine = os.stat(path).st_ino == os.fstat(fd).st_ino
        except FileNotFoundError:
            mine = False  # the other process has just finished it
        if not mine:
            raise BlockingIOError
    except BlockingIOError:
        os.close(fd)
        path = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with cast(BinaryIO, os.fdopen(fd, "r+b")) as file:
        yield file, path


class _LocalFile:
    """A file: URL as an answer."""

    headers: Mapping[str, str] = {}

    def __init__(self, url: str, offset: int) -> None:
        self._path = unquote(url.partition(":")[2])
        self._path = "/" + self._path.lstrip("/")
        self._offset = offset
        self.status = 206 if offset else 200

    def __enter__(self) -> _LocalFile:
        try:
            self._file = open(self._path, "rb")
            self._file.seek(self._offset)
        except (FileNotFoundError, IsADirectoryError):
            self.status = 404
        return self

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def __exit__(self, *error: object) -> None:
        if self.status != 404:
            self._file.close()


class _Progress:
    """Adds up what several threads fetch and says so now and then."""

    def __init__(self, listener: Listener, label: str, total: int) -> None:
        self._listener, self._label, self._total = listener, label, total
        self._lock = threading.Lock()
        self._done = self._said = 0

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._done - self._said >= 1 << 18:
                self._said = self._done
                self._listener(BytesFetched(self._label, self._done, self._total))

    def end(self) -> None:
        self._listener(BytesFetched(self._label, self._total, self._total))
