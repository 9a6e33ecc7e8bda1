"""Makes entries in a folder and never outside it, whatever they are called. Knows no archive.

Rules, each for an attack: a name is taken apart and every part opened without following a link; where links of
the tree itself must count (a base image's /bin), they are read and resolved beneath the root by us; what is
in the way is removed, never written through; `..` is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from stackbuild.core.errors import Hint, HostError, NetworkError
from stackbuild.core.files import host_error
from stackbuild.host.attributes import belongs
from stackbuild.oci.changes import deleted_by, split
from stackbuild.oci.documents import shown
from stackbuild.oci.tar_write import Entry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel's own limit
_MAX_DEPTH = 256  # folders in folders; each that is being filled costs a descriptor


def clean(path: bytes, name: str) -> bytes:
    """A path of an archive as a plain relative one; b"" is the root. Raises NetworkError for `..` and NUL.

    A leading slash and `.` parts are dropped: some builders write them, and beneath the root they do no harm.
    """
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in path:
        raise NetworkError(f"{name} has an entry that leaves its root", why=shown(repr(path)))
    if len(parts) > _MAX_DEPTH or len(path) > 4096:
        raise NetworkError(f"{name} has an entry whose path is too long", why=f"{len(parts)} parts, {len(path)} bytes")
    return b"/".join(parts)


class TreeWriter:
    """A folder that is filled by relative paths. name: what the user calls the archive that fills it.

    links: whether a link of the tree in the place of a folder is resolved beneath the root (as in an image
    applied over another) or is refused. devices: make device nodes where the host lets us, else leave them out.
    whiteouts: as a sandbox reads them: character devices 0:0 ("device") or `.wh.NAME` ("file"); None: there are none.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        links: bool,
        devices: bool,
        whiteouts: Literal["device", "file"] | None = None,
    ) -> None:
        self._name, self._links, self._devices, self._whiteouts = name, links, devices, whiteouts
        self._root = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
        self._open: list[tuple[bytes, int, bytes]] = []  # asked path, descriptor, real path; each below the last
        self._times: dict[bytes, int] = {}

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._forget()
        os.close(self._root)

    def _forget(self) -> None:
        """Close what is open: something was replaced, so a descriptor may no longer be where its path is."""
        while self._open:
            os.close(self._open.pop()[1])

    def _refuse(self, path: bytes, why: str) -> NetworkError:
        return NetworkError(f"{self._name}: the entry {shown(repr(path))} is refused", why=why)

    def folder(self, path: bytes) -> tuple[int, bytes]:
        """A folder of the tree, made (0755, root) where it is missing: its descriptor, which stays ours, and real path.

        Raises NetworkError if a part of the path is no folder.
        """
        while self._open and path != self._open[-1][0] and not path.startswith(self._open[-1][0] + b"/"):
            os.close(self._open.pop()[1])
        asked, fd, real = self._open[-1] if self._open else (b"", self._root, b"")
        for part in path[len(asked) :].split(b"/"):
            if not part:
                continue
            asked = asked + b"/" + part if asked else part
            fd, real = self._enter(fd, real, part, asked)
            self._open.append((asked, fd, real))
            if real.count(b"/") >= _MAX_DEPTH:  # by way of links
                raise self._refuse(asked, "too many folders in folders")
        return fd, real

    def _enter(self, fd: int, real: bytes, part: bytes, asked: bytes) -> tuple[int, bytes]:
        try:
            return os.open(part, _FOLDER, dir_fd=fd), _join(real, part)
        except FileNotFoundError:
            os.mkdir(part, 0o755, dir_fd=fd)
            os.chmod(part, 0o755, dir_fd=fd)  # whatever the umask
            return os.open(part, _FOLDER, dir_fd=fd), _join(real, part)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            if not self._links or not stat.S_ISLNK(os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode):
                raise self._refuse(asked, "a part of its path is not a folder") from None
        return self._resolve(_join(real, part), asked)

    def _resolve(self, path: bytes, asked: bytes) -> tuple[int, bytes]:
        """A folder by a path in which links count, beneath the root as after chroot. Its descriptor is new."""
        todo = path.split(b"/")
        done: list[bytes] = []
        fds = [os.dup(self._root)]
        budget = _MAX_LINKS
        try:
            while todo:
                part = todo.pop(0)
                if part in (b"", b"."):
                    continue
                if part == b"..":
                    if done:
                        done.pop()
                        os.close(fds.pop())
                    continue
                status = _lstat(part, fds[-1])
                if status is not None and stat.S_ISLNK(status.st_mode):
                    budget -= 1
                    target = os.readlink(part, dir_fd=fds[-1])
                    if budget < 0:
                        raise self._refuse(asked, "too many links")
                    if target.startswith(b"/"):
                        while done:
                            done.pop()
                            os.close(fds.pop())
                    todo = target.split(b"/") + todo
                    continue
                if status is None:
                    os.mkdir(part, 0o755, dir_fd=fds[-1])
                elif not stat.S_ISDIR(status.st_mode):
                    raise self._refuse(asked, "a part of its path is not a folder")
                fds.append(os.open(part, _FOLDER, dir_fd=fds[-1]))
                done.append(part)
            return fds.pop(), b"/".join(done)
        finally:
            for fd in fds:
                os.close(fd)

    def real(self, path: bytes) -> bytes:
        """The path of an entry with the links above it resolved; what `remove` and `keep` speak of."""
        folder, _, last = path.rpartition(b"/")
        return _join(self.folder(folder)[1], last)

    def remove(self, path: bytes, keep: set[bytes] | None = None, *, children_only: bool = False) -> None:
        """Delete an entry and all below it, but for the real paths in `keep` and the folders that lead to them."""
        folder, _, last = path.rpartition(b"/")
        fd, real = self.folder(folder)
        target = _join(real, last)
        status = _lstat(last, fd) if last else os.fstat(fd)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            if not children_only and (keep is None or target not in keep):
                os.unlink(last, dir_fd=fd)
            return
        self._remove_tree(fd, last or b".", target, keep or set(), children_only)
        self._forget()

    def _remove_tree(self, above: int, name: bytes, real: bytes, keep: set[bytes], children_only: bool) -> None:
        here = os.open(name, _FOLDER, dir_fd=above)
        try:
            for text in os.listdir(here):
                child = os.fsencode(text)
                path = _join(real, child)
                if stat.S_ISDIR(os.stat(child, dir_fd=here, follow_symlinks=False).st_mode):
                    self._remove_tree(here, child, path, keep, False)
                elif path not in keep:
                    os.unlink(child, dir_fd=here)
        finally:
            os.close(here)
        if children_only or real in keep:
            return
        self._times.pop(real, None)
        try:
            os.rmdir(name, dir_fd=above)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # something of it is kept
                raise

    @contextmanager
    def entry(self, entry: Entry, path: bytes) -> Iterator[int | None]:
        """Make an entry at a clean path; for a file, its descriptor is handed out to be filled.

        What is there already is replaced, but a folder stays and takes the new metadata. Raises
        NetworkError for what cannot be, HostError for what this machine cannot do.
        """
        folder, _, last = path.rpartition(b"/")
        try:
            if not last:
                self._root_itself(entry)
                yield None
                return
            fd, real = self.folder(folder)
            if self._make_room(entry, fd, last, path):
                fd, real = self.folder(folder)
            file = self._make(entry, fd, last, path)
            try:
                yield file
                self._metadata(entry, fd, last, file)
            finally:
                if file is not None:
                    os.close(file)
            if entry.kind == "dir":
                self._times[_join(real, last)] = entry.mtime
        except OSError as error:
            raise self._explained(error, entry, path) from error

    def whiteout(self, path: bytes) -> None:
        """Mark as deleted what the entry `path` (`.wh.NAME`) of a layer deletes. Raises HostError, OSError."""
        if self._whiteouts == "file":
            with self.entry(Entry(path, "file", 0o644), path):
                return
        folder, name = split(deleted_by(path) or b"")
        fd = self.folder(folder)[0]
        try:
            os.mknod(name, 0o020000, 0, dir_fd=fd)
        except FileExistsError:  # deleted below and made anew by this layer
            pass
        except PermissionError as error:
            raise HostError(
                f"cannot mark {shown(repr(folder + b'/' + name))} as deleted",
                why="this machine lets us make no whiteout device",
            ) from error

    def _root_itself(self, entry: Entry) -> None:
        if entry.kind != "dir":
            raise self._refuse(entry.path, "only a folder can be the root")
        self._metadata(entry, self._root, b"", self._root)
        self._times[b""] = entry.mtime

    def _make_room(self, entry: Entry, fd: int, last: bytes, path: bytes) -> bool:
        """Remove what is in the way. True: descriptors were closed, the folder must be asked for again."""
        status = _lstat(last, fd)
        if status is None:
            return False
        if stat.S_ISDIR(status.st_mode):
            if entry.kind != "dir":
                self.remove(path)
                return True
            return False
        was_link = stat.S_ISLNK(status.st_mode)
        os.unlink(last, dir_fd=fd)
        if was_link:
            self._forget()  # a folder may be open by way of it
        return was_link

    def _make(self, entry: Entry, fd: int, last: bytes, path: bytes) -> int | None:
        """The bare entry, without metadata. Returns a descriptor of a file or folder."""
        if entry.kind == "file":
            return os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
        if entry.kind == "dir":
            try:
                os.mkdir(last, 0o700, dir_fd=fd)
            except FileExistsError:
                pass
            return os.open(last, _FOLDER, dir_fd=fd)
        if entry.kind == "symlink":
            if not entry.target or b"\0" in entry.target:
                raise self._refuse(path, "a link without a target")
            os.symlink(entry.target, last, dir_fd=fd)
        elif entry.kind == "hardlink":
            self._link(entry, fd, last, path)
        elif entry.kind == "fifo":
            os.mkfifo(last, 0o600, dir_fd=fd)
        elif self._devices:
            kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
            try:
                os.mknod(last, 0o600 | kind, os.makedev(entry.major, entry.minor), dir_fd=fd)
            except PermissionError:  # in a user namespace nobody may; a container gets its own /dev anyway
                pass
        return None

    def _link(self, entry: Entry, fd: int, last: bytes, path: bytes) -> None:
        target = clean(entry.target, self._name)
        folder, _, name = target.rpartition(b"/")
        if not name or target == path:
            raise self._refuse(path, "a hard link to itself or to the root")
        own = os.dup(fd)  # `folder` may close what is open now
        try:
            there = self.folder(folder)[0]
            os.link(name, last, src_dir_fd=there, dst_dir_fd=own, follow_symlinks=False)
        except FileNotFoundError:
            raise self._refuse(path, f"its first name {shown(repr(entry.target))} does not exist") from None
        finally:
            os.close(own)

    def _metadata(self, entry: Entry, fd: int, last: bytes, file: int | None) -> None:
        """Owner, mode, attributes, time: in this order, as each earlier one can undo a later one."""
        if entry.kind == "hardlink":  # shares all with its first name
            return
        when = (entry.mtime * 10**9, entry.mtime * 10**9)
        if file is not None:
            os.fchown(file, entry.uid, entry.gid)
            os.fchmod(file, entry.mode)
            self._attributes(entry, file)
            if entry.kind == "file":
                os.utime(file, ns=when)
            return
        if _lstat(last, fd) is None:  # a device that was left out
            return
        os.chown(last, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.kind != "symlink":
            os.chmod(last, entry.mode, dir_fd=fd)  # no link: we have just made it
        os.utime(last, ns=when, dir_fd=fd, follow_symlinks=False)

    def _attributes(self, entry: Entry, file: int) -> None:
        """Only attributes that belong to an image: `trusted.overlay.*` of a stranger would steer our overlays."""
        if entry.kind == "dir":
            for old in os.listxattr(file):
                if belongs(old) and os.fsencode(old) not in entry.xattrs:
                    os.removexattr(file, old)
        for key, value in entry.xattrs.items():
            if belongs(os.fsdecode(key)):
                os.setxattr(file, key, value)

    def _explained(self, error: OSError, entry: Entry, path: bytes) -> HostError | NetworkError:
        where = shown(repr(path))
        if error.errno in (errno.EINVAL, errno.EOVERFLOW) and (entry.uid or entry.gid):
            return HostError(
                f"{self._name}: the owner {entry.uid}:{entry.gid} of {where} does not exist here",
                why="this user namespace does not map that id",
                hints=(Hint("give this user a larger range of ids in /etc/subuid and /etc/subgid"),),
            )
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            return self._refuse(path, os.strerror(error.errno))
        if error.errno == errno.EOPNOTSUPP and entry.xattrs:
            return HostError(
                f"{self._name}: extended attributes of {where} cannot be set",
                why="the file system of the store does not have them",
                hints=(Hint("choose a folder on ext4, xfs or btrfs with --store DIR"),),
            )
        return host_error(error, f"{where} of {self._name}")

    def finish(self) -> None:
        """Give folders their times, now that nothing is made in them any more."""
        for path, mtime in sorted(self._times.items(), reverse=True):
            fd = self.folder(path)[0] if path else self._root
            os.utime(fd, ns=(mtime * 10**9, mtime * 10**9))


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and name else folder or name


def _lstat(name: bytes, fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
