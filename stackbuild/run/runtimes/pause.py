"""Processes that only exist: a tiny program, and the process 1 under bwrap that it keeps alive. Runs no command.

The program needs nothing of the image. bwrap becomes process 1 of a new PID namespace: it reaps orphans, and
all end with it; the program, its child, says that everything is in place and then sleeps for ever. (bwrap's
`--block-fd` would save the program, but then process 1 keeps a descriptor of the host's /proc open.)
"""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from stackbuild.core.errors import Hint, HostError
from stackbuild.core.text import harmless

_BASE = 0x400000

_X86_64 = {
    # write(1, BASE, 1); again: pause(); goto again
    "pause": "b801000000 bf01000000 be00004000 ba01000000 0f05 b822000000 0f05 ebf7",
    # exit(0)
    "exit": "b83c000000 31ff 0f05",
}
_AARCH64 = {
    # x0=1 x1=BASE x2=1 x8=write svc; again: x0..x3=0 x8=ppoll svc; b again
    "pause": "200080d2 0108a0d2 220080d2 080880d2 010000d4 000080d2 010080d2 020080d2 030080d2 280980d2 010000d4"
    " faffff17",
    # x0=0 x8=exit svc
    "exit": "000080d2 a80b80d2 010000d4",
}
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def program(name: str) -> bytes:
    """A static ELF executable for this processor: "pause" or "exit". b"" if we have none for it."""
    machine, texts = _MACHINES.get(os.uname().machine, (0, {}))
    if not machine:
        return b""
    code = bytes.fromhex(texts[name])
    size = 120 + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + 120, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + code


class Held(NamedTuple):
    """Namespaces that are kept alive. monitor: our child; init: process 1 in them. Both as seen from here."""

    monitor: int
    init: int


def hold(bwrap: str, arguments: Sequence[str]) -> Held:
    """Run bwrap with these options (which must mount /proc) and a program that pauses. It dies with this thread.

    Raises HostError with bwrap's own words.
    """
    code = program("pause")
    if not code:
        hint = Hint('use runtime = "runc" with init = false')
        raise HostError("no process 1 for this processor", why=os.uname().machine, hints=(hint,))
    memory = os.memfd_create("pause", 0)
    os.write(memory, code)
    info, info_write = os.pipe()
    ready, ready_write = os.pipe()
    words, words_write = os.pipe()
    monitor = os.fork()
    if monitor == 0:
        for fd in (info, ready, words):
            os.close(fd)
        _become_bwrap(bwrap, arguments, memory, info_write, (ready_write, words_write))
    for fd in (memory, info_write, ready_write, words_write):
        os.close(fd)
    with open(info, "rb") as told, open(ready, "rb") as alive, open(words, "rb") as complaints:
        if alive.read(1) == b"\x7f":
            return Held(monitor, int(json.loads(told.read())["child-pid"]))
        why = complaints.read(4096).decode(errors="replace").strip().replace("\n", "; ")
    os.waitpid(monitor, 0)
    raise HostError("bubblewrap cannot make the container", why=harmless(why))


def _become_bwrap(bwrap: str, arguments: Sequence[str], memory: int, info: int, outputs: tuple[int, int]) -> NoReturn:
    try:
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        given = os.memfd_create("arguments", 0)  # not in argv: process 1's is for all in the container to read
        common = ("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--unshare-pid")
        os.write(given, b"".join(os.fsencode(word) + b"\0" for word in (*common, *arguments)))
        os.lseek(given, 0, os.SEEK_SET)
        os.set_inheritable(info, True)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        last = ("--info-fd", str(info), "--", f"/proc/self/fd/{memory}")
        os.execv(bwrap, ["bwrap", "--args", str(given), *last])
    except OSError as error:
        os.write(outputs[1], f"{bwrap}: {error.strerror}".encode())
    os._exit(127)
