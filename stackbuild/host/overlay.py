"""Overlay mounts with many lower folders, in a mount namespace of this process's own. Reads no trees."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from stackbuild.core.errors import HostError
from stackbuild.core.files import host_error
from stackbuild.host.syscalls import CLONE_NEWNS, MS_NODEV, MS_REC, mount, umount2, unshare

_PAGE = 4096  # mount(2) takes one page of options
OPTIONS = "index=off,redirect_dir=nofollow,metacopy=off,xino=off"
"""The upper folder then holds nothing but what we read. (In a user namespace `redirect_dir=off` is refused.)"""

_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2

_private_in = 0


def private_mounts() -> None:
    """Give this thread, and children it starts later, a mount namespace of their own, once per process.

    Mounts made afterwards are seen by nobody else and end with the last of these processes, even after
    kill -9. Raises HostError without CAP_SYS_ADMIN.
    """
    global _private_in
    if _private_in == os.getpid():
        return
    try:
        unshare(CLONE_NEWNS)
        mount("none", "/", flags=MS_REC | _MS_PRIVATE)
    except OSError as error:
        raise HostError("cannot make a mount namespace", why=error.strerror or str(error)) from error
    _private_in = os.getpid()


def unmount(target: Path) -> None:
    """Detach a mount, in use or not; nothing if there is none. Raises OSError."""
    try:
        umount2(target, _MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def in_user_namespace() -> bool:
    """Whether this process lives in a user namespace other than the machine's first."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def xattr_prefix() -> str:
    """Where overlay keeps its marks in mounts that this process makes."""
    return "user.overlay." if in_user_namespace() else "trusted.overlay."


def mount_overlay(lowers: Sequence[Path], upper: Path, work: Path, target: Path, scratch: Path) -> None:
    """Mount an overlay of `lowers`, lowest first, at `target`.

    work: an empty folder on upper's file system. scratch: a folder for short names of the lowers (one page of
    options is all that mount(2) takes: with links in the working folder, 500 lowers fit). The mount has nodev,
    and fsync in it is cheap where the kernel can (`volatile`). Raises HostError.
    """
    links = scratch / "l"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    for number, lower in enumerate(lowers):
        os.symlink(os.path.abspath(lower), links / f"{number:x}")
    os.symlink(upper, links / "u")
    os.symlink(work, links / "w")
    names = ":".join(f"{number:x}" for number in reversed(range(len(lowers))))
    options = f"lowerdir={names},upperdir=u,workdir=w,{OPTIONS}"
    if in_user_namespace():
        options += ",userxattr"
    if len(options) + len(",volatile") >= _PAGE:
        raise HostError("too many layers for one overlay", why=f"{len(lowers)} lower folders")
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(links)
        try:
            mount("overlay", target, "overlay", MS_NODEV, options + ",volatile")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            mount("overlay", target, "overlay", MS_NODEV, options)  # Linux before 5.10
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise host_error(error, scratch) from error
        why = f"{error.strerror} ({len(lowers)} lower folders, upper on {scratch})"
        raise HostError("cannot mount an overlay", why=why) from error
    finally:
        os.fchdir(here)
        os.close(here)
