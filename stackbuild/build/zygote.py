"""A warm process that forks workers: `python -m stackbuild.build.zygote SOCKET PARENT`. Does no action itself.

A worker of its own has to start Python and import what it needs, each time; a fork of this one has it all. Nothing
is shared between actions: each runs in a fork of a process that has done none, has no threads and no files open.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from stackbuild.build import worker
from stackbuild.core.files import is_full

WARM = ("unpack", "configure", "copy", "files", "users", "run")
"""Kinds whose modules are imported while nobody asks; what is not yet here is imported by the worker that needs it."""
MESSAGE = 1 << 16
AHEAD = b"ahead"
"""What a worker reports between its process id and its exit code when all but its outputs is there."""


def main() -> int:
    control = socket.socket(fileno=int(sys.argv[1]))
    worker.die_with_parent(int(sys.argv[2]))
    imports = (partial(import_module, f"stackbuild.build.do.{kind}") for kind in WARM)
    chores: list[Callable[[], object]] = [*imports, _look_around]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: each worker says itself how it ended
    here = os.getpid()
    while True:
        while chores and not select.select([control], [], [], 0)[0]:  # nobody waits
            chores.pop(0)()
        gc.freeze()
        data, fds, _, _ = socket.recv_fds(control, MESSAGE, 2)
        if not data:  # the build is over
            return 0
        if os.fork() == 0:
            control.close()
            _become_worker(Path(json.loads(data)["request"]), here, fds[0], fds[1])
        for fd in fds:
            os.close(fd)


def _look_around() -> None:
    """Fill the caches of this process that every sandboxed worker would fill anew: which bwrap, which filter."""
    from stackbuild.core.errors import StackError
    from stackbuild.host import bwrap, seccomp

    import_module("stackbuild.host.sandbox.overlay")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # how a program ended that is started here is asked for
    try:
        with suppress(StackError):  # the worker that needs it says so
            bwrap.find()
            seccomp.program("build", network=False)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _become_worker(request: Path, parent: int, report: int, output: int) -> None:
    """What a worker process of its own would be: a session, a folder, stdout and stderr. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        worker.die_with_parent(parent)
        os.chdir(request.parent)
        os.write(report, b"%d\n" % os.getpid())
        trouble = os.open("trouble", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.dup2(output, 1)
        os.dup2(trouble, 2)
        os.close(output)
        os.close(trouble)
        code = worker.run(request, lambda: _wait(report))
    except BaseException as error:
        if isinstance(error, OSError) and is_full(error):
            code = worker.FULL
        else:  # a bug: the parent shows it
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
    finally:
        try:
            os.write(report, b"%d\n" % code)
        finally:
            os._exit(code)


def _wait(report: int) -> None:
    """Say that the action is ahead, and wait for leave to go on."""
    os.write(report, AHEAD + b"\n")
    if not os.read(report, 1):
        os._exit(1)  # there is nobody any more


if __name__ == "__main__":
    sys.exit(main())
