"""What update-ca-certificates makes of certificates: the bundle, their links and the hashed ones. Opens no file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

_PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s+(.*?)-----END (?:TRUSTED )?CERTIFICATE-----", re.S)
_SEQUENCE, _SET, _VERSION, _UTF8 = 0x30, 0x31, 0xA0, 0x0C
_ENCODINGS = {0x0C: "utf-8", 0x13: "latin-1", 0x14: "latin-1", 0x16: "latin-1", 0x1A: "latin-1", 0x1C: "utf-32-be",
              0x1E: "utf-16-be"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trust:
    """bundle: of all certificates in one file. links: name in /etc/ssl/certs -> target of a symbolic link."""

    bundle: bytes
    links: Mapping[bytes, bytes]


def trust(certificates: Mapping[bytes, bytes]) -> Trust:
    """certificates: absolute path of a .crt file -> its content, in the order of the bundle.

    What cannot be read as a certificate is in the bundle all the same (as update-ca-certificates has it), and gets
    no hashed link.
    """
    bundle = b"".join(text if text.endswith(b"\n") else text + b"\n" for text in certificates.values())
    links: dict[bytes, bytes] = {}
    subjects: list[tuple[bytes, bytes]] = []
    for path, text in certificates.items():
        name = _pem_name(path)
        links[name] = path
        found = _PEM.findall(text)
        if len(found) == 1 and (hashed := subject_hash(found[0])):
            subjects.append((name, hashed))
    seen: dict[bytes, int] = {}
    for name, hashed in sorted(subjects):
        number = seen.setdefault(hashed, 0)
        links[hashed + b".%d" % number] = name
        seen[hashed] += 1
    return Trust(bundle, links)


def _pem_name(path: bytes) -> bytes:
    base = path.rpartition(b"/")[2].removesuffix(b".crt")
    return base.translate(bytes.maketrans(b" (),", b"_==_")) + b".pem"


def subject_hash(pem: bytes) -> bytes:
    """The eight hexadecimal digits by which OpenSSL finds a certificate in a folder; b"" if it is none.

    They are of the SHA-1 of the subject in OpenSSL's canonical form: texts as UTF-8, in lower case, spaces folded.
    """
    try:
        outer = _elements(base64.b64decode(pem))[0][1]
        fields = _elements(_elements(outer)[0][1])
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        canonical = b"".join(_rdn(content) for _, content in _elements(fields[4][1]))
    except (IndexError, ValueError, binascii.Error):
        return b""
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return b"%08x" % int.from_bytes(digest[:4], "little")


def _rdn(content: bytes) -> bytes:
    """One relative distinguished name: a SET of type and value."""
    pairs = []
    for _, pair in _elements(content):
        (kind, name), (tag, value) = _elements(pair)[:2]
        pairs.append(_element(_SEQUENCE, _element(kind, name) + _element(*_text(tag, value))))
    return _element(_SET, b"".join(sorted(pairs)))


def _text(tag: int, value: bytes) -> tuple[int, bytes]:
    encoding = _ENCODINGS.get(tag)
    if encoding is None:
        return tag, value
    words = value.decode(encoding).encode("utf-8").split()  # splits at ASCII spaces alone, as bytes do
    return _UTF8, b" ".join(words).lower()


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The DER elements of a content: tag and content of each. Raises ValueError, IndexError."""
    found = []
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content
