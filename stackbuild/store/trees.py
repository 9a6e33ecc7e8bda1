"""Unpacked layers and flattened base images: folders by digest, made once, never changed in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stackbuild.core.digest import Digest, hex_of
from stackbuild.core.files import host_error, is_full
from stackbuild.core.paths import ensure
from stackbuild.store.locks import lock
from stackbuild.store.uses import Uses


class TreeStore:
    """Folders under rootfs.v1/FORM/HEX.

    form: "overlay" (whiteouts are devices), "chroot" (whiteouts are .wh. files) or
    "flat" (a base image with all its layers applied; no whiteouts; named by chain ID).
    """

    def __init__(self, root: Path, locks: Path, uses: Uses | None = None) -> None:
        self._root, self._locks, self._uses = root, locks, uses

    def path(self, digest: Digest, form: str) -> Path:
        return self._root / form / hex_of(digest)

    def has(self, digest: Digest, form: str) -> bool:
        return self.path(digest, form).is_dir()

    def add(self, folder: Path, digest: Digest, form: str) -> None:
        """Take over a finished folder of the same file system; if another was first, it stays where it is."""
        target = self.path(digest, form)
        ensure(target.parent)
        for left in (2, 1, 0):  # the other may be pruned just then
            try:
                os.rename(folder, target)
                return
            except OSError as error:
                if self.use(target):
                    return
                if not left:
                    raise host_error(error, target) from error

    def ensure(self, digest: Digest, form: str, make: Callable[[Path], object]) -> Path:
        """The folder, made by `make(empty folder)` if it is not there; one maker at a time."""
        target = self.path(digest, form)
        if self.use(target):
            return target
        ensure(target.parent)
        with lock(self._locks, f"tree-{form}-{hex_of(digest)}"):
            if not self.use(target):
                import tempfile

                fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
                try:
                    os.chmod(fresh, 0o755)
                    make(fresh)
                    os.rename(fresh, target)
                except BaseException as error:
                    remove_tree(fresh)
                    if isinstance(error, OSError) and is_full(error):
                        raise host_error(error, target.parent) from error
                    raise
        return target

    def use(self, folder: Path) -> bool:
        """Whether one of our folders is here; if so, nobody prunes it before this process's build ends."""
        digest = Digest(f"sha256:{folder.name}")
        return folder.is_dir() and (self._uses is None or self._uses.note(digest, folder, folder.parent.name))


def remove_tree(folder: Path) -> None:
    """Delete a folder and all in it; what cannot be deleted now is left for the next sweep."""
    shutil.rmtree(folder, ignore_errors=True)
