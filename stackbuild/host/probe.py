"""What this machine can do, tried rather than looked up where that is possible; the remedy for each lack."""

from __future__ import annotations

import errno
import os
import pickle
import select
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stackbuild.core.errors import Hint, HostError, StackError
from stackbuild.host import bwrap, cgroups, seccomp, userns
from stackbuild.host.overlay import in_user_namespace, mount_overlay, private_mounts, unmount
from stackbuild.host.sandbox import jail
from stackbuild.host.sandbox.protocol import Bind, Command

T = TypeVar("T")
SECONDS = 30.0
_LITTLE = 5 << 30  # bytes: what a few images take
_HOST_FOLDERS = ("bin", "sbin", "usr", "lib", "lib64", "lib32", "nix")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing of the host. ok: None if it is missing but nothing that is needed depends on it."""

    name: str
    ok: bool | None
    detail: str
    hint: Hint | None = None


def in_child(function: Callable[[], T], seconds: float = SECONDS) -> T:
    """What `function` returns when it is called in a forked child, which takes all its effects with it.

    Result or StackError come back pickled. Raises HostError if the child dies or takes longer than `seconds`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer: tuple[bool, object] = (True, function())
        except StackError as error:
            answer = (False, (error.what, error.why, error.hints))
        except BaseException as error:  # a fork must not return into the caller's code
            answer = (False, ("the trial failed", repr(error), ()))
        with open(writer, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        try:
            if not select.select([file], [], [], seconds)[0]:
                os.kill(child, signal.SIGKILL)
            data = file.read()
        finally:
            os.waitpid(child, 0)
    if not data:
        raise HostError("the trial did not end")
    good, value = pickle.loads(data)
    if good:
        returned: T = value
        return returned
    what, why, hints = value
    raise HostError(what, why=why, hints=hints)


def choose_sandbox(folder: Path | None = None) -> str:
    """ "overlay" if a command really runs in it with its files in `folder`, else "chroot" if we may, else HostError."""
    try:
        try_overlay_sandbox(folder)
        return "overlay"
    except HostError as error:
        if can_chroot():
            return "chroot"
        hints = (*error.hints, Hint("see all that is missing", "stackbuild doctor"))
        raise HostError("build steps cannot run here", why=str(error), hints=hints) from error


def can_chroot() -> bool:
    """Whether the chroot sandbox has the rights that it cannot do without."""
    return os.geteuid() == 0 and {"SYS_CHROOT", "CHOWN", "DAC_OVERRIDE", "SETUID"} <= set(jail.permitted())


def try_overlay_sandbox(folder: Path | None = None) -> None:
    """Run a shell of the host in the overlay sandbox, in a child. Raises HostError. Costs some tens of ms."""
    _in_scratch(folder, _run_in_overlay)


def try_overlay(folder: Path | None = None) -> None:
    """Mount an overlay and change something through it, in a child. Raises HostError."""
    _in_scratch(folder, _change_through_overlay)


def _in_scratch(folder: Path | None, function: Callable[[Path], None]) -> None:
    place = _existing(folder) if folder else None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".probe-", dir=place))
    except OSError as error:
        raise HostError(f"cannot write to {place or tempfile.gettempdir()}", why=error.strerror or "") from error
    try:
        in_child(lambda: function(scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _change_through_overlay(scratch: Path) -> None:
    names = ("lower", "upper", "work", "root")
    lower, upper, work, root = (scratch / name for name in names)
    for name in names:
        (scratch / name).mkdir()
    (lower / "gone").touch()
    private_mounts()
    mount_overlay([lower], upper, work, root, scratch)
    try:
        (root / "gone").unlink()
        if not (upper / "gone").is_char_device():
            raise HostError("an overlay here does not record deletions")
    except OSError as error:
        raise HostError("an overlay here cannot be written", why=error.strerror or "") from error
    finally:
        unmount(root)


def _run_in_overlay(scratch: Path) -> None:
    from stackbuild.host.sandbox.overlay import OverlaySandbox

    lower = scratch / "lower"
    lower.mkdir()
    folders = (name for name in _HOST_FOLDERS if Path("/", name).is_dir())
    command = Command(
        ("/bin/sh", "-c", "exit 0"),
        {"PATH": bwrap.SYSTEM_PATH},
        binds=tuple(Bind(Path("/", name).resolve(), f"/{name}") for name in folders),
        timeout=SECONDS / 2,
    )
    output: list[bytes] = []
    with OverlaySandbox().open([lower], scratch / "box") as box:
        code = box.run(command, output.append)
    if code != 0:
        why = b"".join(output).decode(errors="replace").strip() or f"exit code {code}"
        raise HostError("a shell does not run in the sandbox", why=why)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def as_builds_run(look: Callable[[], tuple[Check, ...]]) -> tuple[Check, ...]:
    """Checks made as what builds run as: an ordinary user's in a user namespace, in a child, if that can be had."""
    if os.geteuid() == 0 or userns.missing() is not None:
        return look()

    def inside() -> tuple[Check, ...]:
        userns.enter_new()
        return look()

    try:
        return in_child(inside, 4 * SECONDS)
    except HostError as error:
        failed = Check("user namespaces", False, str(error), error.hints[0] if error.hints else None)
        return tuple(failed if check.name == failed.name else check for check in look())


def checks(store: Path) -> tuple[Check, ...]:
    """All checks of what builds need, for a store in this folder (it need not exist). Costs some tenths of a second.

    Runtimes and networks of containers are checked by run/, which knows them.
    """
    return (
        _kernel(),
        _user(),
        _userns(),
        _overlay(store),
        _bwrap(),
        _libseccomp(),
        _sandbox(store),
        _cgroups(),
        _tun(),
        _disk(store),
        _times(),
    )


def _overlay(store: Path) -> Check:
    try:
        try_overlay(store)
        return Check("overlay", True, "mounts and records changes")
    except HostError as error:
        return Check("overlay", None if can_chroot() else False, str(error), _overlay_hint())


def _kernel() -> Check:
    release = os.uname().release
    numbers = [int(part) for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    good = numbers >= [5, 11]  # overlays in user namespaces, openat2, pidfds
    return Check("kernel", good, release, None if good else Hint("Linux 5.11 or later is needed"))


def _user() -> Check:
    if os.environ.get(userns.MARK):
        return Check("user", True, f"id {os.environ[userns.MARK]}, root of a user namespace")
    if os.geteuid() == 0:
        where = ", in a user namespace" if in_user_namespace() else ""
        admin = "" if "SYS_ADMIN" in jail.permitted() else ", without CAP_SYS_ADMIN (a plain container?)"
        return Check("user", True, f"root{where}{admin}")
    return Check("user", True, f"{userns.user_name()} (id {os.geteuid()})")


def _userns() -> Check:
    """Whether an ordinary user could build: as root it is of no importance."""
    needed = os.geteuid() != 0
    if os.environ.get(userns.MARK):
        return Check("user namespaces", True, "entered, with the full range of ids")
    problem = userns.missing() if needed else userns.disabled()
    if problem is None and not needed and userns.apparmor_restricts():
        problem = userns.refused(errno.EPERM)
    if problem is None:
        ids = "" if not needed else ", with newuidmap, newgidmap and a range of ids"
        return Check("user namespaces", True, f"allowed{ids}")
    hint = problem.hints[0] if problem.hints else None
    return Check("user namespaces", False if needed else None, problem.why or problem.what, hint)


def _overlay_hint() -> Hint:
    if in_user_namespace() and userns.apparmor_restricts():
        return userns.refused(errno.EPERM).hints[0]
    if os.geteuid() == 0:
        return Hint("load the module, or in a container give the right to mount (CAP_SYS_ADMIN)", "modprobe overlay")
    return Hint("see what is said of user namespaces")


def _bwrap() -> Check:
    try:
        return Check("bubblewrap", True, str(bwrap.find()))
    except HostError as error:
        return Check("bubblewrap", None if can_chroot() else False, error.why, error.hints[0])


def _libseccomp() -> Check:
    try:
        size = len(seccomp.program("build")) // 8
        return Check("libseccomp", True, f"makes a filter of {size} instructions")
    except HostError as error:
        return Check("libseccomp", False, str(error), error.hints[0] if error.hints else None)


def _sandbox(store: Path) -> Check:
    try:
        name = choose_sandbox(store)
    except HostError as error:
        return Check("sandbox", False, str(error), error.hints[0] if error.hints else None)
    if name == "chroot":
        return Check("sandbox", True, "chroot: builds give the same bytes, with less isolation")
    return Check("sandbox", True, "overlay: commands run in namespaces")


def _cgroups() -> Check:
    version = "version 2" if cgroups.unified() else "version 1"
    lacking = cgroups.lacking(memory=True, cpus=True, pids=True)
    if not lacking:
        return Check("cgroups", True, f"{version}, may be made here")
    hint = Hint(
        "limits of containers (resources) need root, or a delegated group", "systemd-run --user --scope -p Delegate=yes"
    )
    return Check("cgroups", None, f"{version}, cannot limit here: {', '.join(lacking)}", hint)


def _tun() -> Check:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        return Check("/dev/net/tun", True, "can be opened")
    except OSError as error:
        hint = Hint(
            "a rootless container's way out (pasta, slirp4netns) needs it, as root", "sudo chmod 0666 /dev/net/tun"
        )
        return Check("/dev/net/tun", None, error.strerror or "", hint)


def _disk(store: Path) -> Check:
    place = _existing(store)
    try:
        info = os.statvfs(place)
    except OSError as error:
        return Check("disk", False, f"{place}: {error.strerror}")
    free = info.f_bavail * info.f_frsize
    detail = f"{free / (1 << 30):.1f} GiB free for {store}"
    if not os.access(place, os.W_OK):
        return Check("disk", False, f"{place} cannot be written", Hint("choose another folder with --store"))
    if free < _LITTLE or (info.f_files and info.f_favail < 100_000):
        return Check("disk", None, detail, Hint("images and packages take space", "stackbuild cache prune"))
    return Check("disk", True, detail)


def _times() -> Check:
    """A clock that is far off makes every signature and certificate fail, in words that name anything but the clock."""
    import time

    now = time.time()
    if now < 1735689600:  # 2025-01-01
        return Check(
            "time",
            False,
            time.strftime("%Y-%m-%d", time.gmtime(now)),
            Hint("set the clock", "sudo timedatectl set-ntp true"),
        )
    return Check("time", True, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))
