"""The user's terminal joined with a container's: raw mode, window size, bytes both ways. And plain output."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from stackbuild.core.errors import Hint, UsageError


def output(stream: str, data: bytes) -> None:
    """Write what a container wrote to the stream of the same name, byte for byte."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    target.buffer.write(data)
    target.buffer.flush()


def need_terminal() -> None:
    """Raises UsageError if stdin is no terminal."""
    if not sys.stdin.isatty():
        raise UsageError("-t needs a terminal, and stdin is none", hints=(Hint("leave out -t"),))


def join(master: int, stdin: bool, out: int = 1) -> None:
    """Carry bytes between our terminal and the container's until nobody holds that any more; closes `master`.

    out: the descriptor that shows what comes. In a thread that is not the main one a new window size is not seen.
    """
    _resize(master)
    with _raw(), _on_resize(master):
        sources = [master, 0] if stdin else [master]
        while True:
            ready = select.select(sources, [], [])[0]
            if master in ready:
                try:
                    data = os.read(master, 1 << 16)
                except OSError:  # EIO: the other end is closed
                    data = b""
                if not data:
                    break
                _write(out, data)
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    sources = [master]
                else:
                    _write(master, data)
    os.close(master)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _resize(master: int) -> None:
    try:
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        pass  # our stdin is no terminal


@contextmanager
def _on_resize(master: int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGWINCH, lambda *_: _resize(master))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _raw() -> Iterator[None]:
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # not FLUSH: what was typed ahead is for the container
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
