"""Bytes to stored bytes and back: gzip members and zstd frames that are the same on every machine.

Not here: what a layer holds. Writing is deterministic by construction: pieces of a fixed size, a fixed
header, a library whose output depends on no processor (docs/why/layers.md). Reading takes what anybody wrote.
"""

from __future__ import annotations

import io
import zlib
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

import deflate
import zstandard

from stackbuild.core.errors import NetworkError, UsageError

PIECE = 1 << 20  # bytes that become one gzip member or zstd frame
GZIP_LEVEL = 1  # of libdeflate; 1, 3 and 6 were seen to give the same bytes on all processors
ZSTD_LEVEL = 3
THREADS = 2
COMPRESSIONS = ("gzip", "zstd", "none")
_AHEAD = 6  # pieces in flight: bounds memory at a few MiB


def _gzip(data: bytes | memoryview) -> bytes:
    return bytes(deflate.gzip_compress(data, GZIP_LEVEL))


def _zstd(data: bytes | memoryview) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data)


def _none(data: bytes | memoryview) -> bytes:
    return bytes(data)


def compressor(compression: str) -> Callable[[bytes | memoryview], bytes]:
    """The function that makes one member of at most `PIECE` bytes. Raises UsageError for an unknown name."""
    table = {"gzip": _gzip, "zstd": _zstd, "none": _none}
    if compression not in table:
        raise UsageError(f"unknown compression `{compression:.40}`", why=f"known are {', '.join(COMPRESSIONS)}")
    return table[compression]


def compress(data: bytes | memoryview, compression: str = "gzip") -> bytes:
    """All of `data` as members of `PIECE` bytes each (the last is shorter); b"" stays b"".

    The result can be joined with others of its kind: a gzip or zstd stream may have many members.
    """
    one = compressor(compression)
    view = memoryview(data)
    return b"".join(one(view[at : at + PIECE]) for at in range(0, len(view), PIECE))


class Pipeline:
    """Pieces in, members out in the same order, compressed by two threads once there is more than one piece.

    The threads live from the first full piece to `close`, so a process that writes nothing has none.
    """

    def __init__(self, write: Callable[[bytes], object], compression: str) -> None:
        self._write = write
        self._one = compressor(compression)
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[bytes]] = deque()

    def piece(self, data: bytes, *, last: bool = False) -> None:
        """At most `PIECE` bytes that become one member. last: no thread is started for it."""
        if last and self._threads is None:
            self._write(self._one(data))
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="compress")
        self._waiting.append(self._threads.submit(self._one, data))
        self._drain(_AHEAD)

    def ready(self, member: bytes) -> None:
        """A member that is compressed already."""
        if not self._waiting:
            self._write(member)
            return
        done: Future[bytes] = Future()
        done.set_result(member)
        self._waiting.append(done)
        self._drain(_AHEAD)

    def _drain(self, leave: int) -> None:
        while len(self._waiting) > leave:
            self._write(self._waiting.popleft().result())

    def close(self) -> None:
        """Write what is still under way, end the threads."""
        try:
            self._drain(0)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the threads; what is under way is lost."""
        self._waiting.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None


def detect(head: bytes) -> str:
    """The compression of a stream by its first four bytes: "gzip", "zstd", or "none" for anything else."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[:1][0] <= 0x5F):
        return "zstd"
    return "none"


class _Gzip(io.RawIOBase):
    """Reads gzip of many members. Raises NetworkError for bad, truncated or trailing bytes."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._engine = zlib.decompressobj(wbits=31)
        self._input = b""
        self._started = False  # the current member has had bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        try:
            data = self._some(len(view))
        except zlib.error as error:
            raise NetworkError(f"{self._name} is not valid gzip", why=str(error)) from error
        view[: len(data)] = data
        return len(data)

    def _some(self, limit: int) -> bytes:
        while True:
            if self._engine.eof:
                self._input = self._engine.unused_data
                self._engine = zlib.decompressobj(wbits=31)
                self._started = False
            if not self._input:
                self._input = self._stream.read(1 << 18)
                if not self._input:
                    if self._started:
                        raise NetworkError(f"{self._name} is truncated", why="the gzip stream ends in mid-member")
                    return b""
            if not self._started and not self._input.strip(b"\0"):
                self._input = b""  # zero padding after the last member, as gzip itself allows
                continue
            self._started = True
            data = self._engine.decompress(self._input, limit)
            self._input = self._engine.unconsumed_tail
            if data:
                return data


class _Zstd(io.RawIOBase):
    """Reads zstd of many frames. Raises NetworkError for bad or truncated bytes."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._name = name
        self._frames = _Frames(stream, name)
        # 128 MiB is what the zstd format asks every decoder to allow at most by default
        engine = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._reader = engine.stream_reader(cast(BinaryIO, self._frames), read_across_frames=True, read_size=1 << 18)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        try:
            count = self._reader.readinto(view)
        except zstandard.ZstdError as error:
            raise NetworkError(f"{self._name} is not valid zstd", why=str(error)) from error
        if not count and len(view) and not self._frames.whole:
            raise NetworkError(f"{self._name} is truncated", why="the zstd stream ends in mid-frame")
        return count


class _Frames:
    """Passes a zstd stream on and knows whether it ended where a frame ends (RFC 8878, section 3.1).

    The decoder cannot say so: it ends silently when its input does.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._walk = self._steps()
        self._need = next(self._walk)
        self._have = b""
        self.whole = True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        rest = data
        while rest:
            count = abs(self._need)
            if self._need < 0:  # bytes that say nothing about the frame's form
                passed = min(count, len(rest))
                self._need += passed
                rest = rest[passed:]
                if self._need == 0:
                    self._need = self._walk.send(b"")
                continue
            part, rest = rest[: count - len(self._have)], rest[count - len(self._have) :]
            self._have += part
            self.whole = False
            if len(self._have) == count:
                word, self._have = self._have, b""
                self._need = self._walk.send(word)
        return data

    def _steps(self) -> Generator[int, bytes, None]:
        """Yields how many bytes it wants to see, or minus how many may pass unseen."""
        while True:
            magic = yield 4
            if magic[1:] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F:
                size = int.from_bytes((yield 4), "little")
                if size:
                    yield -size
                self.whole = True
                continue
            if magic != b"\x28\xb5\x2f\xfd":
                raise NetworkError(f"{self._name} is not valid zstd", why="something else follows a frame")
            descriptor = (yield 1)[0]
            single, sizes = descriptor >> 5 & 1, descriptor >> 6
            more = (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[sizes]
            if more:
                yield -more
            last = 0
            while not last:
                block = int.from_bytes((yield 3), "little")
                last, kind, size = block & 1, block >> 1 & 3, block >> 3
                if kind == 1 or size:
                    yield -(1 if kind == 1 else size)
            if descriptor >> 2 & 1:
                yield -4
            self.whole = True


def decompressed(stream: BinaryIO, name: str) -> BinaryIO:
    """The plain bytes of a stream that is gzip, zstd or plain already. `name`: what the user calls it.

    Reading raises NetworkError when the compressed bytes are bad or end too early.
    """
    buffered = io.BufferedReader(cast(io.RawIOBase, _Raw(stream)), 1 << 18)
    kind = detect(buffered.peek(4)[:4] or b"\0")
    if kind == "gzip":
        return io.BufferedReader(_Gzip(cast(BinaryIO, buffered), name), PIECE)
    if kind == "zstd":
        return io.BufferedReader(_Zstd(cast(BinaryIO, buffered), name), PIECE)
    return cast(BinaryIO, buffered)


class _Raw(io.RawIOBase):
    """Any object with `read(n)` as a raw stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)
