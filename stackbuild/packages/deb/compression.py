"""Index files unpacked, by the suffix of their names and within bounds; parses nothing."""

from __future__ import annotations

import bz2
import lzma
import zlib

from stackbuild.core.errors import NetworkError

SUFFIXES = (".xz", ".zst", ".gz", ".lz4", ".bz2", ".lzma", "")
"""Of an index file, the best first: what is smaller, then what is unpacked faster."""


def decompress(data: bytes, path: str, limit: int) -> bytes:
    """An index file by the suffix of its path; more than `limit` bytes are refused. Raises NetworkError."""
    try:
        plain = _plain(data, path, limit + 1)
    except Exception as error:  # lzma.LZMAError, zlib.error, ZstdError, RuntimeError of lz4…
        raise NetworkError(f"{path} cannot be decompressed", why=str(error)) from None
    if len(plain) > limit:
        raise NetworkError(f"{path} is larger than promised", why=f"more than {limit} bytes when decompressed")
    return plain


def _plain(data: bytes, path: str, most: int) -> bytes:
    """At most `most` bytes of what is in `data`."""
    if path.endswith((".xz", ".lzma")):
        return lzma.LZMADecompressor(memlimit=1 << 29).decompress(data, most)
    if path.endswith(".gz"):
        return zlib.decompressobj(31).decompress(data, most)
    if path.endswith(".bz2"):
        return bz2.BZ2Decompressor().decompress(data, most)
    if path.endswith(".lz4"):
        import lz4.frame

        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=most))
    if path.endswith(".zst"):
        import zstandard

        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as stream:
            return stream.read(most)
    return data
