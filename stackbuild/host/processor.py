"""Whether this machine can run programs of a platform; emulates none and installs nothing."""

from __future__ import annotations

import errno
import os
import platform as this_machine
import struct
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from stackbuild.core.errors import Hint, HostError

NATIVE: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("amd64", "386"),
    "aarch64": ("arm64", "arm"),
    "armv7l": ("arm",),
    "i686": ("386",),
}
"""uname's word -> architectures (GOARCH, as in OCI platforms) whose programs the processor runs itself."""

_ELF = {"386": (1, 1, 3), "amd64": (2, 1, 62), "arm": (1, 1, 40), "arm64": (2, 1, 183), "ppc64le": (2, 1, 21),
        "s390x": (2, 2, 22), "riscv64": (2, 1, 243), "mips64le": (2, 1, 8), "loong64": (2, 1, 258)}  # fmt: skip
"""Architecture -> class, byte order and machine of its ELF files (elf(5))."""


def need_platform(platform: str, folder: Path) -> None:
    """Raises HostError unless programs of an OCI platform ("linux/arm64") run here, natively or by binfmt_misc.

    folder: where a small file may be written. Costs one failing exec for a foreign platform, and that once.
    """
    architecture = platform.split("/")[1]
    if architecture in native() or _emulated(architecture, folder):
        return
    raise HostError(
        f"programs for {platform} cannot run on this machine",
        why=f"it is a {this_machine.machine()}, and its kernel knows no emulator for {architecture} (binfmt_misc); "
        "the maintainer scripts and `run` layers of the image need one",
        hints=(
            Hint("install emulators: Debian's packages qemu-user-static and binfmt-support register them",
                 "apt-get install qemu-user-static binfmt-support"),
            Hint(f"or build {platform} on a machine of its own; locking needs no emulator"),
        ),
    )  # fmt: skip


def native() -> tuple[str, ...]:
    """The architectures (GOARCH) whose programs this machine's processor runs itself, its own first."""
    machine = this_machine.machine()
    return NATIVE.get(machine, (machine,))


@lru_cache(maxsize=8)
def _emulated(architecture: str, folder: Path) -> bool:
    """Ask the kernel by a header of such a program: /proc/sys/fs/binfmt_misc is not mounted everywhere."""
    if architecture not in _ELF:
        return True  # not known here: the sandbox will tell
    bits, order, machine = _ELF[architecture]
    head = (
        b"\x7fELF" + bytes([bits, order, 1]) + bytes(9) + struct.pack("<HHI" if order == 1 else ">HHI", 2, machine, 1)
    )
    file = folder / f"probe-{architecture}"
    file.write_bytes(head + bytes(64))
    os.chmod(file, 0o700)
    try:
        subprocess.run([file], capture_output=True, timeout=20, check=False, env={})
    except OSError as error:
        return error.errno != errno.ENOEXEC
    except subprocess.TimeoutExpired:
        return True
    finally:
        file.unlink()
    return True
