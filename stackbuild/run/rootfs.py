"""The tree that a container sees: the overlay, volumes, the files of its network, who its user is. Starts nothing."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stackbuild.core.errors import Hint, HostError, UsageError
from stackbuild.host import overlay, syscalls
from stackbuild.oci.accounts import Accounts
from stackbuild.run.container import Container, Launch
from stackbuild.run.spec import Mount, RuntimeSpec
from stackbuild.store.locks import lock

ACCOUNTS_SIZE = 16 << 20


class Placed(NamedTuple):
    """A mount, ready: source is a path as the supervisor sees it, target has no link in it and exists."""

    source: str
    target: str
    read_only: bool = False
    tmpfs: Mount | None = None


class Identity(NamedTuple):
    """As whom the container's commands run."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def mount_root(container: Container, launch: Launch) -> Path:
    """Mount the container's tree in this process's own mount namespace. Raises HostError."""
    upper, work, root, scratch = (container.path(name) for name in ("upper", "work", "rootfs", "names"))
    shutil.rmtree(work, ignore_errors=True)  # a mount that was not taken down in order leaves a mark in it
    for folder in (upper, work, root, scratch):
        folder.mkdir(mode=0o755, exist_ok=True)
    missing = [lower for lower in launch.lowers if not os.path.isdir(lower)]
    if missing or not launch.lowers:
        raise HostError(
            "the unpacked image of the container is gone",
            why=f"no folder {missing[0]}" if missing else "it has no layers",
            hints=(Hint("make it anew", "stackbuild up"),),
        )
    _same_root(Path(launch.lowers[-1]), upper)
    syscalls.mount("tmpfs", scratch, "tmpfs", 0, "mode=700")  # one link for each layer, which nobody need delete again
    overlay.mount_overlay([Path(lower) for lower in launch.lowers], upper, work, root, scratch)
    return root


def _same_root(top: Path, upper: Path) -> None:
    """The upper folder's own mode and owner are what `/` of the container shows."""
    info = os.stat(top)
    os.chown(upper, info.st_uid, info.st_gid)
    os.chmod(upper, stat.S_IMODE(info.st_mode))


def identity(root: Path, user: str) -> Identity:
    """Who "name|uid[:name|gid]" is in the tree at `root`. Raises UsageError that names near users."""
    accounts = Accounts.of_texts(_read(root, "etc/passwd"), _read(root, "etc/group"))
    name = user.partition(":")[0]
    known = next((one for one in accounts.users.values() if str(one.uid) == name), None) if name.isdigit() else None
    found = accounts.users.get(name) or known
    if not user:
        found = accounts.users.get("root")
        uid, gid = 0, 0
    elif ":" not in user and name.isdigit():
        uid, gid = int(name), found.gid if found else 0  # as Docker: an unknown number is in group root
    else:
        uid, gid = accounts.resolve_owner(user)
    more = accounts.groups_of(found.name) if found and ":" not in user else ()
    home = found.home if found and found.home else "/"
    return Identity(uid, gid, tuple(dict.fromkeys((gid, *more))), home)


def _read(root: Path, path: str) -> bytes:
    """A file of the tree; b"" if there is none or it is no plain file."""
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = syscalls.open_in_root(here, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    finally:
        os.close(here)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return b""
        return file.read(ACCOUNTS_SIZE)


def place(root: Path, path: str, *, folder: bool, owner: tuple[int, int] = (0, 0), links: int = 40) -> str:
    """Make the mount point (or working folder) `path` of the tree unless it is there; its path without links.

    Links in the tree are followed as the container would follow them, never out of it. Raises HostError.
    """
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parts = [part for part in path.split("/") if part]
        done = "/"
        for number, part in enumerate(parts):
            whole = f"{done.rstrip('/')}/{part}"
            last = number == len(parts) - 1
            try:
                fd = syscalls.open_in_root(here, whole, os.O_PATH)
            except FileNotFoundError:
                towards = _make(here, done, part, folder or not last, owner)
                if towards and links:  # a link to what is not there: make that
                    place(root, os.path.join(done, towards), folder=folder or not last, owner=owner, links=links - 1)
                fd = syscalls.open_in_root(here, whole, os.O_PATH)
            is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            inside = os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), root)
            done = "/" if inside == "." else f"/{inside}"
            os.close(fd)
            if is_folder != (folder or not last):
                raise HostError(f"cannot mount on {path}", why=f"{done} is {'a' if is_folder else 'no'} directory")
        return done
    except OSError as error:
        raise HostError(f"cannot make {path} in the container", why=os.strerror(error.errno or 0)) from error
    finally:
        os.close(here)


def _make(root: int, parent: str, name: str, folder: bool, owner: tuple[int, int]) -> str:
    """Make an entry; if there is a link already, nothing: its text."""
    fd = syscalls.open_in_root(root, parent, os.O_PATH | os.O_DIRECTORY)
    try:
        if folder:
            os.mkdir(name, 0o755, dir_fd=fd)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=fd))
        os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)
        return ""
    except FileExistsError:
        return os.readlink(name, dir_fd=fd)
    finally:
        os.close(fd)


def mounts(container: Container, spec: RuntimeSpec, launch: Launch, root: Path) -> tuple[Placed, ...]:
    """All mounts that the spec asks for, outer ones first, and the files of its network. Raises StackError."""
    placed = []
    for mount in spec.mounts:
        if mount.kind == "tmpfs":
            target = place(root, mount.target, folder=True)
            _give_mode(root, target, mount.mode)
            placed.append(Placed("", target, tmpfs=mount))
            continue
        source = mount.source if mount.kind == "bind" else _volume(launch, mount, root)
        if not os.path.exists(source):
            raise UsageError(
                f"volume {mount.target}: {source} does not exist", hints=(Hint("make it", f"mkdir -p {source}"),)
            )
        within = _within(placed, mount.target)
        target = mount.target if within else place(root, mount.target, folder=os.path.isdir(source))
        placed.append(Placed(source, target, mount.read_only))
    taken = {one.target for one in placed}
    for name, target in (("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")):
        if target not in taken and container.path(f"etc/{name}").exists():
            placed.append(Placed(str(container.path(f"etc/{name}")), place(root, target, folder=False)))
    return tuple(placed)


def _give_mode(root: Path, target: str, mode: int) -> None:
    """Give a folder that a tmpfs will cover the tmpfs's mode: runc 1.1 gives the tmpfs that of the folder beneath."""
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = syscalls.open_in_root(here, target, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(here)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _within(placed: Sequence[Placed], target: str) -> bool:
    """Whether a mount point lies in another mount, where the tree below is not seen."""
    return any(target.startswith(one.target.rstrip("/") + "/") for one in placed)


def _volume(launch: Launch, mount: Mount, root: Path) -> str:
    """The folder of a named volume, which starts as a copy of what the image has at that place."""
    folder = Path(launch.volumes) / mount.source
    with lock(Path(launch.locks), f"volume-{mount.source}"):
        if folder.is_dir():
            return str(folder)
        new = folder.with_name(f".new-{folder.name}")
        try:
            shutil.rmtree(new, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            target = place(root, mount.target, folder=True)
            copy_tree(Path(f"{root}{target}"), new)
            new.rename(folder)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise HostError(f"cannot make volume {mount.source}", why=str(error)) from error
    return str(folder)


def copy_tree(source: Path, target: Path) -> None:
    """A copy with owners, modes, times and xattrs; links stay links. Raises OSError."""
    info = os.lstat(source)
    if stat.S_ISDIR(info.st_mode):
        target.mkdir()
        for name in os.listdir(source):
            copy_tree(source / name, target / name)
    elif stat.S_ISLNK(info.st_mode):
        target.symlink_to(os.readlink(source))
    elif stat.S_ISREG(info.st_mode):
        shutil.copyfile(source, target, follow_symlinks=False)
    else:
        os.mknod(target, info.st_mode, info.st_rdev)
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)


def network_files(container: Container, spec: RuntimeSpec, address: str, servers: Sequence[str]) -> None:
    """Write hosts, hostname and resolv.conf. address: the container's own beside loopback, "" if it has none.

    With network = "host" the host's own files serve, as they are now.
    """
    folder = container.path("etc")
    folder.mkdir(exist_ok=True)
    name = spec.hostname or spec.name
    hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address or '127.0.1.1'}\t{name}\n"
    resolv = "".join(f"nameserver {server}\n" for server in servers)
    if spec.network == "host":
        resolv = _text("/etc/resolv.conf")
        hosts = _text("/etc/hosts") or hosts
    for file, text in (("hosts", hosts), ("hostname", f"{name}\n"), ("resolv.conf", resolv)):
        (folder / file).write_text(text)
        (folder / file).chmod(0o644)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
