"""Package files of the project as a request names them: where, and which bytes; reads none of them."""

from __future__ import annotations

from dataclasses import dataclass

from stackbuild.core.digest import Digest
from stackbuild.packages.package import Archive

PROJECT = Archive(id="")
"""The archive of what comes from no archive: the files of the project itself, which nobody signs."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file. path: below the project, "/" between its parts."""

    path: str
    sha256: Digest
    size: int

    def __str__(self) -> str:
        return f"./{self.path}"
