"""A shell in the tree of a step as it was left, on the caller's terminal (run as a process)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import termios
from pathlib import Path
from typing import Any

from stackbuild.build.worker import die_with_parent
from stackbuild.core.action import canonical
from stackbuild.core.errors import StackError

ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "TERM": "xterm",
    "LC_ALL": "C.UTF-8",
    "PS1": "stackbuild# ",
}


def request(lowers: list[Path], scratch: Path, sandbox: str, env: dict[str, str], cwd: str, network: bool) -> bytes:
    """What `main` reads. lowers: the folders below, lowest first, the step's own changes last."""
    return canonical(
        {
            "lowers": [str(path) for path in lowers],
            "scratch": str(scratch),
            "sandbox": sandbox,
            "env": {**ENV, **env},
            "cwd": cwd,
            "network": network,
        }
    )


def changed_by(scratch: Path, sandbox: str) -> list[Path]:
    """The folders in which a failed step's sandbox left its changes (overlay) or its whole tree (chroot)."""
    name = "upper" if sandbox == "overlay" else "root"
    return sorted(
        path for path in scratch.glob(f"**/{name}") if path.is_dir() and len(path.parts) <= len(scratch.parts) + 2
    )


def main() -> int:
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for what runs in the shell
    from stackbuild.host.sandbox import open_sandbox
    from stackbuild.host.sandbox.protocol import Command

    tree: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
    jobs = os.getsid(0) == os.getpid()  # a session and a terminal of our own: the shell controls jobs on it
    if jobs and tree["sandbox"] == "overlay":  # in the other one the shell has a session of its own, and takes it
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    command = Command(
        ("/bin/sh", "-m" if jobs else "+m", "-i"),
        tree["env"],
        cwd=tree["cwd"],
        network=tree["network"],
        terminal=True,
        timeout=None,
    )
    try:
        with open_sandbox(tree["sandbox"]).open([Path(p) for p in tree["lowers"]], Path(tree["scratch"])) as box:
            return box.run(command, lambda data: None)
    except StackError as error:
        sys.stderr.write(f"no shell: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
