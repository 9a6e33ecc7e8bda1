"""A root file system of a few megabytes out of programs of this machine: a shell, coreutils, perl for system calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_PROGRAMS = (
    "sh cat chmod chown cp echo env grep hostname id ln ls mkdir mkfifo mknod mount mv perl rm rmdir setsid sleep stat "
    "test touch true uname yes"
)
PROGRAMS = tuple(_PROGRAMS.split())
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def make(root: Path) -> Path:
    """Fill an empty or missing folder."""
    for name in ("usr/bin", "usr/sbin", "etc", "var/lib", "root"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in PROGRAMS:
        found = shutil.which(name, path=ENV["PATH"])
        assert found, f"{name} is not on this machine"
        shutil.copy2(os.path.realpath(found), root / "usr/bin" / name)
        for library in _libraries(found):
            target = root / "usr" / library.lstrip("/").removeprefix("usr/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(os.path.realpath(library), target)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n")
    (root / "etc/issue").write_text("tiny\n")
    return root


def _libraries(program: str) -> list[str]:
    """What the dynamic linker would load, itself included."""
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout.split("\n")
    return [word for line in lines for word in line.split() if word.startswith("/")]
