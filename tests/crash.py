"""Runs commands that are killed at a chosen instant: `python -m tests.crash PROJECT STORE`, requests as JSON lines.

Every call that changes a name or makes bytes durable in the store (rename, link, unlink, mkdir, rmdir, symlink, chmod,
utime, fsync, a file opened for writing) is an instant: before it, and after it. A child is forked for each command, so
that Python and the program are loaded once.
"""

from __future__ import annotations

import builtins
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

POINTS = ("rename", "replace", "link", "symlink", "unlink", "mkdir", "rmdir", "chmod", "fchmod", "utime", "fsync")


class Killer:
    """Counts the instants, and ends the process at one of them. at: the number of a call; 0: never."""

    def __init__(self, store: str, at: int, after: bool) -> None:
        self.count = 0
        self._numbers = itertools.count(1)  # each number is one thread's alone
        self._store, self._at, self._after = store, at, after

    def install(self) -> None:
        points = [(os, name, False) for name in POINTS] + [(os, "open", True), (builtins, "open", True)]
        for module, name, writes in points:
            setattr(module, name, self._watch(getattr(module, name), writes))

    def _watch(self, real: Callable[..., Any], writes: bool = False) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            if not self._counts(words, named, writes):
                return real(*words, **named)
            self.count = number = next(self._numbers)
            if number == self._at and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*words, **named)
            finally:  # after a call that fails, too
                if number == self._at:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    def _counts(self, words: tuple[Any, ...], named: dict[str, Any], writes: bool) -> bool:
        path = words[0] if words else ""
        if writes:
            flags = words[1] if len(words) > 1 else named.get("mode", named.get("flags", "r"))
            reads = flags & (os.O_WRONLY | os.O_RDWR) == 0 if isinstance(flags, int) else flags in ("r", "rb")
            if reads:
                return False
        if isinstance(path, int):  # a descriptor: of the store, as nothing else is written
            return not writes
        relative = named.get("dir_fd") is not None or named.get("src_dir_fd") is not None
        return relative or os.fspath(path).startswith(self._store)


def command(words: list[str], store: str, at: int = 0, after: bool = False) -> tuple[int, str, int]:
    """Run a command in a child. Returns its exit code (negative: the signal), its stdout, the instants passed."""
    out, told = os.pipe()
    count_out, count_in = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ["STACKBUILD_STORE"] = store
        os.dup2(told, 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        from stackbuild.cli.main import main

        killer = Killer(store, at, after)
        write, leave = os.write, os._exit
        killer.install()
        code = main(words)
        sys.stdout.flush()
        write(count_in, str(killer.count).encode())
        leave(code)
    os.close(told)
    os.close(count_in)
    with open(out, "rb") as said, open(count_out, "rb") as counted:
        text, count = said.read().decode(), counted.read().decode()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), text, int(count or 0)


def answer(request: dict[str, Any], base: Path) -> dict[str, Any]:
    """Kill `words` at an instant in a store like `seed`; then what verify and the next build say."""
    store = str(base / "store")
    shutil.rmtree(store, ignore_errors=True)
    base.mkdir(exist_ok=True)
    if request.get("seed"):
        subprocess.run(["cp", "-a", request["seed"], store], check=True)  # whiteouts are devices
    code, _, count = command(request["words"], store, request["at"], request["after"])
    done: dict[str, Any] = {"code": code, "count": count}
    if request["at"]:
        checked, text, _ = command(["cache", "verify", "--format", "json"], store)
        done |= {"verify": checked, "bad": json.loads(text)["bad"]}
        built, text, _ = command(["build"], store)
        done |= {"build": built, "digest": text.strip()}
        pruned, text, _ = command(["cache", "prune", "--older-than", "7d"], store)
        done |= {"prune": pruned}
    return done


def main() -> None:
    for name in ("build.image", "build.scheduler", "cli.building", "cli.kinds", "cli.wiring"):
        import_module(f"stackbuild.{name}")  # what a build imports, once for all children
    os.chdir(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), Path(sys.argv[2]))), flush=True)


if __name__ == "__main__":
    main()
