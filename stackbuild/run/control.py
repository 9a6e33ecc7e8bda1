"""The way to talk to a supervisor: a socket in the container's folder; one JSON message each way, and descriptors.

It works across user namespaces, so `exec` and `stop` need not find a way into the one that the supervisor lives in.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stackbuild.core.errors import HostError

MESSAGE = 1 << 20  # bytes of one message


def address(folder: int) -> str:
    """The socket's name by the descriptor of its folder: a store's path may be longer than a socket's name may be."""
    return f"/proc/self/fd/{folder}/control"


def serve(folder: Path) -> socket.socket:
    """The listening socket; only its owner may connect."""
    (folder / "control").unlink(missing_ok=True)
    here = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        sock.bind(address(here))
    finally:
        os.umask(before)
        os.close(here)
    sock.listen(64)
    sock.setblocking(False)
    return sock


class Line:
    """A connection, from either end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Raises OSError when the other end is gone."""
        data = json.dumps(message).encode()
        if len(data) > MESSAGE:
            raise HostError("too long a command", why=f"{len(data)} bytes")
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE)
        socket.send_fds(self._sock, [data], fds)

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any] | None, list[int]]:
        """The next message and its descriptors; (None, []) at the end. Raises TimeoutError."""
        self._sock.settimeout(timeout)
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, MESSAGE, 4)
        except ConnectionError:
            return None, []
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            message = json.loads(data) if data else None
        except ValueError:
            message = None
        return (message if isinstance(message, dict) else None), fds

    def nudge(self) -> None:
        """Send an empty message, unless the other end has not read so many of them yet that it would block."""
        try:
            self._sock.send(b"{}", socket.MSG_DONTWAIT)
        except OSError:
            pass

    def nudged(self) -> bool:
        """Take all messages that are there; False at the end."""
        try:
            while self._sock.recv(MESSAGE, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return True
        except ConnectionError:
            pass
        return False

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def call(folder: Path) -> Line | None:
    """A line to the supervisor of the container in `folder`; None if there is none."""
    try:
        here = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(address(here))
    except OSError:
        sock.close()
        return None
    finally:
        os.close(here)
    return Line(sock)
