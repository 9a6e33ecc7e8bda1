"""OpenPGP signatures of remote cache entries: made with one key, believed by any of several. Knows no registry."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, NetworkError, UsageError

SIGNATURE = "stackbuild.entry.signature"  # annotation: an ASCII-armoured detached signature of the entry's bytes


class Keys:
    """trusted: files of certificates; (): whoever may write is believed. sign_with: a secret key's file."""

    def __init__(self, trusted: Sequence[Path] = (), sign_with: Path | None = None) -> None:
        self._trusted, self._sign_with = tuple(trusted), sign_with

    @cached_property
    def _certificates(self) -> list[Any]:
        import pysequoia

        found: list[Any] = []
        for file in self._trusted:
            try:
                found += pysequoia.Cert.split_bytes(file.read_bytes())
            except OSError as error:
                raise UsageError(f"build.cache.trusted-keys: {file} cannot be read", why=error.strerror or "") from None
            except Exception as error:
                raise UsageError(f"build.cache.trusted-keys: {file} is no OpenPGP key", why=str(error)) from None
        return found

    @cached_property
    def _signer(self) -> Any:
        import pysequoia

        assert self._sign_with is not None
        try:
            return pysequoia.Tsk.from_bytes(self._sign_with.read_bytes()).signer()
        except OSError as error:
            raise UsageError(f"build.cache.sign-with: {self._sign_with} cannot be read", why=str(error)) from None
        except Exception as error:
            raise UsageError(
                f"build.cache.sign-with: {self._sign_with} cannot sign",
                why=str(error).split("\n", 1)[0],
                hints=[Hint("it is to hold a secret key without a password (gpg --export-secret-keys)")],
            ) from None

    def load(self) -> None:
        """Read the files now. Raises UsageError: a key that is not there is a mistake, not a cache that is down."""
        if self._trusted:
            _ = self._certificates
        if self._sign_with is not None:
            _ = self._signer

    def sign(self, data: bytes) -> str:
        """A signature of an entry; "" if there is no key to sign with."""
        if self._sign_with is None:
            return ""
        import pysequoia

        return bytes(pysequoia.sign(self._signer, data, mode=pysequoia.SignatureMode.DETACHED)).decode("ascii")

    def check(self, data: bytes, signature: str) -> None:
        """Raises NetworkError unless one of the trusted keys, in force today, signed these bytes."""
        if not self._trusted:
            return
        import pysequoia

        if not signature:
            raise NetworkError("it is not signed", why="build.cache.trusted-keys is set")
        try:
            parsed = pysequoia.Sig.from_bytes(signature.encode())
            valid = pysequoia.verify(data, lambda ids: self._certificates, signature=parsed).valid_sigs
        except Exception as error:  # pysequoia raises RuntimeError, TypeError and its own
            raise NetworkError("it has no valid signature of a trusted key", why=str(error).split("\n", 1)[0]) from None
        signers = {one.certificate.lower() for one in valid}
        if not any(str(c.fingerprint).lower() in signers and _in_force(c) for c in self._certificates):
            raise NetworkError("it has no valid signature of a trusted key")


def _in_force(certificate: Any) -> bool:
    ends = certificate.expiration
    return not certificate.is_revoked and (ends is None or ends.timestamp() > time.time())
