"""The `caches` folders of run steps: by target path in the store, and in the remote cache if there is one."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.action import ActionResult
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import StackError
from stackbuild.core.events import Listener, Note
from stackbuild.core.paths import ensure
from stackbuild.store.locks import lock
from stackbuild.store.objects import ObjectStore
from stackbuild.store.trees import remove_tree
from stackbuild.store.uses import Uses

if TYPE_CHECKING:
    from stackbuild.build.remote_cache import RemoteCache


class CacheFolders:
    """Gives the folder of a target; `save` sends those that were given out to the remote cache.

    area: of the store, as `uses` and `locks`. What was given out is not pruned before this process's build ends.
    """

    def __init__(
        self, area: Path, blobs: ObjectStore, listener: Listener, remote: RemoteCache | None, uses: Uses, locks: Path
    ) -> None:
        self._area, self._blobs, self._listener, self._remote = area, blobs, listener, remote
        self._uses, self._locks = uses, locks
        self._used: set[str] = set()

    def __call__(self, target: str) -> Path:
        """The folder of a target, made or brought if it is not there."""
        folder = self._area / hashlib.sha256(target.encode()).hexdigest()[:32]
        mark = Digest(f"sha256:{folder.name}")
        self._used.add(target)
        while not self._uses.note(mark, folder, "cache"):
            with lock(self._locks, f"caches-{folder.name}"):  # nobody's empty folder is replaced while it is mounted
                if self._remote is not None and not folder.is_dir():
                    self._bring(target, folder)
                ensure(folder)
        return folder

    def _key(self, target: str) -> Digest:
        return digest_of(f"caches\0{target}".encode())

    def _bring(self, target: str, folder: Path) -> None:
        from stackbuild.oci.tar_extract import extract

        assert self._remote is not None
        found = self._remote.get(self._key(target))
        if found is None or "folder" not in found.outputs:
            return
        fresh = Path(tempfile.mkdtemp(dir=ensure(self._area), prefix=".new-"))
        try:
            with self._blobs.open(found.outputs["folder"]) as stream:
                extract(stream, fresh, whiteouts="file", name=f"the cache folder {target}")
            os.chmod(fresh, 0o755)
            os.rename(fresh, folder)
        except (OSError, StackError) as error:  # another build was first, or it is nothing that we can use
            remove_tree(fresh)
            if not folder.is_dir():
                self._listener(Note(f"the cache folder {target} is not used: {error}", "warning"))

    def save(self) -> None:
        """Send each folder that steps were given."""
        if self._remote is None or not self._remote.writes:
            return
        for target in sorted(self._used):
            try:
                with tempfile.TemporaryFile(dir=self._area) as file:
                    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
                        folder = self(target)
                        for name in sorted(os.listdir(folder)):
                            tar.add(folder / name, arcname=name)
                    file.seek(0)
                    blob = self._blobs.put(file)
            except (OSError, tarfile.TarError, StackError) as error:
                self._listener(Note(f"the cache folder {target} is not kept remotely: {error}", "warning"))
                continue
            self._remote.replace(self._key(target), ActionResult({"folder": blob}, {"target": target}))
