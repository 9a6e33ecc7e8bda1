"""OpenPGP signatures of archives: signed bytes in, verified bytes out; knows no Release and no dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, NetworkError
from stackbuild.packages.source import Source

LIMIT = 16 << 20  # bytes of a keyring


def default_keyrings(root: Path = Path("/")) -> tuple[Path, ...]:
    """The keyrings that this machine trusts for every archive: apt's own, and the distributions' installed ones.

    Of /usr/share/keyrings only NAME-archive-keyring.* counts: other files there are meant for one archive each.
    """
    found = [root / "etc/apt/trusted.gpg"]
    for folder, form in (
        ("etc/apt/trusted.gpg.d", r".*\.(gpg|asc)"),
        ("usr/share/keyrings", r"(debian|ubuntu)-archive-keyring\.(gpg|pgp|asc)"),
    ):
        try:
            found += sorted(p for p in (root / folder).iterdir() if re.fullmatch(form, p.name))
        except OSError:
            continue
    return tuple(p for p in found if p.is_file())


def verify_inline(data: bytes, source: Source, name: str, now: float) -> bytes:
    """The text inside an inline-signed message, once a key that `source` trusts has signed it.

    One valid signature is enough. Only the returned bytes are verified; what surrounds them is not.
    Raises NetworkError.
    """
    return _verify(data, None, source, name, now)


def verify_detached(data: bytes, signature: bytes, source: Source, name: str, now: float) -> bytes:
    """`data` itself, once a key that `source` trusts has signed it. Raises NetworkError."""
    return _verify(data, signature, source, name, now)


def _verify(data: bytes, signature: bytes | None, source: Source, name: str, now: float) -> bytes:
    import pysequoia

    files = source.keys.files or (() if source.keys.inline else default_keyrings())
    certificates = [*_inline(source, name), *(c for file in files for c in _read(file, source, name))]
    if not certificates:
        raise _no_keys(source, name)
    asked: list[str] = []

    def store(ids: list[str]) -> list[Any]:
        asked.extend(ids)
        return certificates

    error = ""
    verified: bytes | None = None
    signers: set[str] = set()
    parts = [None] if signature is None else _signatures(signature)
    for part in parts:
        try:
            result = pysequoia.verify(data, store, signature=part) if part else pysequoia.verify(data, store)
        except Exception as failed:  # pysequoia raises RuntimeError, TypeError and its own
            error = str(failed).split("\n", 1)[0]
            continue
        good = [s for s in result.valid_sigs if _in_force(s, certificates, now)]
        if good:
            verified = data if part else result.bytes
            signers |= {key.lower() for s in good for key in (s.certificate, s.signing_key)}
    if verified is None or not signers:
        raise _refused(name, source, asked, certificates, error, now)
    wanted = source.keys.fingerprints
    if wanted and not any(signer.endswith(key.removeprefix("0x")) for signer in signers for key in wanted):
        raise NetworkError(
            f"{name} is not signed by the key that its source names",
            where=source.origin,
            why=f"signed by {', '.join(sorted(signers))}; wanted: {', '.join(wanted)}",
        )
    return bytes(verified)


def _in_force(signature: Any, certificates: Sequence[Any], now: float) -> bool:
    """Whether its key is still good today. A signature may say that it was made when an expired key was not."""
    for certificate in certificates:
        if str(certificate.fingerprint).lower() == signature.certificate.lower():
            ends = _ends(certificate, signature.signing_key.lower())
            return not certificate.is_revoked and (ends is None or ends > now)
    return False


def _ends(certificate: Any, key: str) -> float | None:
    """When a key of a certificate expires, in seconds since 1970; None if it never does."""
    from pysequoia.packet import PacketPile

    ends = [certificate.expiration.timestamp()] if certificate.expiration else []
    mine, newest = None, None
    for packet in PacketPile.from_bytes(bytes(certificate)):
        if packet.fingerprint:  # a key; the signatures that bind it follow
            mine = packet if packet.fingerprint.lower() == key else None
        elif mine and packet.signature_created and (newest is None or packet.signature_created >= newest[0]):
            until = mine.key_created + packet.key_validity_period if packet.key_validity_period else None
            newest = (packet.signature_created, until)
    if newest is not None and newest[1] is not None and key != str(certificate.fingerprint).lower():
        ends.append(newest[1].timestamp())
    return min(ends, default=None)


def _signatures(data: bytes) -> list[Any]:
    """The detached signatures of a Release.gpg: there may be several, one for each key."""
    import pysequoia
    from pysequoia.packet import PacketPile, Tag

    try:
        pile = PacketPile.from_bytes(data)
        return [pysequoia.Sig.from_bytes(bytes(p)) for p in pile if p.tag == Tag.Signature]
    except Exception:
        return []


def _inline(source: Source, name: str) -> list[Any]:
    return _parse(source.keys.inline.encode(), "the source's Signed-By", source, name) if source.keys.inline else []


def _read(file: Path, source: Source, name: str) -> list[Any]:
    try:
        size = file.stat()
        return list(_certificates(str(file), size.st_mtime_ns, size.st_size))
    except OSError as error:
        raise NetworkError(
            f"{name} cannot be verified: the keyring {file} is not readable",
            where=source.origin,
            why=error.strerror or str(error),
            hints=(Hint("install the package that holds the keyring, or correct signed-by"),),
        ) from None
    except ValueError as error:
        if not source.keys.files:
            return []  # one of the machine's many: another may do
        raise NetworkError(f"{name} cannot be verified: {file} is no OpenPGP keyring", where=source.origin,
                           why=str(error)) from None  # fmt: skip


@lru_cache(maxsize=64)
def _certificates(file: str, mtime: int, size: int) -> tuple[Any, ...]:
    import pysequoia

    if not Path(file).is_file() or size > LIMIT:  # a pipe or a device would never end
        raise ValueError("it is not a file, or too large")
    data = Path(file).read_bytes()
    try:
        return tuple(pysequoia.Cert.split_bytes(data))
    except Exception as error:
        raise ValueError(str(error).split("\n", 1)[0]) from None


def _parse(data: bytes, what: str, source: Source, name: str) -> list[Any]:
    import pysequoia

    try:
        return list(pysequoia.Cert.split_bytes(data))
    except Exception as error:
        why = str(error).split("\n", 1)[0]
        raise NetworkError(
            f"{name} cannot be verified: {what} is no OpenPGP key", where=source.origin, why=why
        ) from None


def _no_keys(source: Source, name: str) -> NetworkError:
    return NetworkError(
        f"{name} cannot be verified: there are no keys to verify it with",
        where=source.origin,
        why="the source names no keyring, and this machine has no keyring of a distribution",
        hints=(
            Hint("install the distribution's keyring, for example", "apt-get install debian-archive-keyring"),
            Hint('or name a keyring file: signed-by = "/path/to/archive-keyring.gpg"'),
        ),
    )


def _refused(
    name: str, source: Source, asked: Sequence[str], certificates: Sequence[Any], error: str, now: float
) -> NetworkError:
    """Says which of the reasons it is: unsigned, an unknown key, an expired key, or a signature that does not fit."""
    known = {key: cert for cert in certificates for key in _keys_of(cert)}
    ids = [id.lower() for id in dict.fromkeys(asked)]
    mine = [cert for id in ids for key, cert in known.items() if key.endswith(id)]
    ends = [
        end for key, cert in known.items() for id in ids if key.endswith(id) if (end := _ends(cert, key)) is not None
    ]
    names = ", ".join(str(f) for f in source.keys.files) or (
        "Signed-By" if source.keys.inline else "the system's keyrings"
    )
    hints = (Hint("a mirror may be in the middle of an update: try again; else do not trust it"),)
    if not ids:
        what, why = f"{name} is not signed", error or "it holds no signature"
    elif not mine:
        what = f"{name} is signed by no key that is trusted"
        why = f"signed by {', '.join(ids)}; trusted are the keys of {names}"
        hints = (Hint("install the archive's keyring and name it with signed-by"),)
    elif over := [end for end in ends if end < now]:
        what = f"{name} is signed by a key that has expired"
        why = f"{', '.join(ids)} expired {today(max(over))}"
        hints = (Hint("install the archive's newer keyring"),)
    else:
        what, why = f"{name} has a bad signature", f"made by {', '.join(ids)}: {error}"
    return NetworkError(what, where=source.origin, why=why, hints=hints)


def _keys_of(certificate: Any) -> list[str]:
    """The fingerprints of a certificate and its subkeys, in lower case."""
    from pysequoia.packet import PacketPile

    try:
        return [p.fingerprint.lower() for p in PacketPile.from_bytes(bytes(certificate)) if p.fingerprint]
    except Exception:
        return [str(certificate.fingerprint).lower()]


def today(now: float) -> str:
    """A point in time (seconds since 1970) for people."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
