"""Published ports: listens on the host, connects inside the container's network. TCP and UDP; no root, no helper.

The supervisor listens before it moves into the container's network namespace; every socket that it makes
afterwards is in there, so no connection has to change namespaces.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from stackbuild.core.errors import Hint, HostError
from stackbuild.run.loop import Loop
from stackbuild.run.spec import Port

BUFFER = 256 << 10
CONNECTIONS = 4096  # of all ports of one container
UDP_IDLE = 60.0  # seconds after which the way back to a UDP client is forgotten


def listen(ports: Sequence[Port]) -> list[tuple[Port, socket.socket]]:
    """Sockets on the host's addresses, with the real number where any free port was asked for.

    Raises HostError that names the port if it is taken.
    """
    made: list[tuple[Port, socket.socket]] = []
    for port in ports:
        try:
            sock = _socket(port)
        except OSError as error:
            for _, other in made:
                other.close()
            raise _refused(port, error) from error
        made.append((port._replace(host_port=sock.getsockname()[1]), sock))
    return made


def _socket(port: Port) -> socket.socket:
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    both = not port.host_ip and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in port.host_ip else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        sock.bind((port.host_ip, port.host_port))
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _refused(port: Port, error: OSError) -> HostError:
    where = f"port {port.host_port}" + (f" of {port.host_ip}" if port.host_ip else "")
    hints: tuple[Hint, ...] = ()
    if error.errno == errno.EADDRINUSE:
        hints = (
            Hint("see who has it", f"ss -lp 'sport = :{port.host_port}'"),
            Hint(f'publish another one, such as ports = ["{port.host_port % 60000 + 1}:{port.container_port}"]'),
        )
    elif error.errno in (errno.EACCES, errno.EPERM):
        hints = (Hint("ordinary users may publish ports from 1024 on"),)
    return HostError(f"cannot listen on {where}", why=os.strerror(error.errno or 0), hints=hints)


class Forwarder:
    """Carries bytes between the listening sockets and the container's ports on its loopback address."""

    def __init__(self, loop: Loop, listening: Sequence[tuple[Port, socket.socket]]) -> None:
        self._loop = loop
        self._count = 0
        for port, sock in listening:
            if port.protocol == "udp":
                _Datagrams(loop, sock, port.container_port)
            else:
                loop.watch(sock.fileno(), read=partial(self._accept, sock, port.container_port))

    def _accept(self, sock: socket.socket, port: int) -> None:
        try:
            client, _ = sock.accept()
        except OSError:
            return
        if self._count >= CONNECTIONS:
            client.close()
            return
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for one in (client, server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        result = server.connect_ex(("127.0.0.1", port))
        if result not in (0, errno.EINPROGRESS):
            client.close()
            server.close()
            return
        self._count += 1
        _Connection(self._loop, client, server, self._ended)

    def _ended(self) -> None:
        self._count -= 1


class _Connection:
    """Two sockets; what one sends the other gets. Reads no more than the other side takes."""

    def __init__(self, loop: Loop, client: socket.socket, server: socket.socket, ended: Callable[[], None]) -> None:
        self._loop, self._ended = loop, ended
        self._connecting = True
        self._sockets = (client, server)
        self._pending = (bytearray(), bytearray())  # for the client, for the server
        self._open = [True, True]  # may still be read from
        self._update()

    def _update(self) -> None:
        for side, sock in enumerate(self._sockets):
            wants = self._open[side] and len(self._pending[1 - side]) < BUFFER and not (self._connecting and side)
            pending = bool(self._pending[side]) or (self._connecting and side == 1)
            self._loop.watch(
                sock.fileno(),
                read=partial(self._read, side) if wants and not self._connecting else None,
                write=partial(self._write, side) if pending else None,
            )

    def _read(self, side: int) -> None:
        try:
            data = self._sockets[side].recv(BUFFER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._close()
            return
        if data:
            self._pending[1 - side].extend(data)
            self._write(1 - side)
        else:
            self._open[side] = False
            self._finish(1 - side)

    def _write(self, side: int) -> None:
        sock = self._sockets[side]
        if self._connecting and side == 1:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._close()
                return
            self._connecting = False
        pending = self._pending[side]
        try:
            if pending:
                del pending[: sock.send(pending)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._close()
            return
        self._finish(side)

    def _finish(self, side: int) -> None:
        """Pass an end of input on once all before it was sent; end when both sides have ended."""
        if not self._open[1 - side] and not self._pending[side]:
            try:
                self._sockets[side].shutdown(socket.SHUT_WR)
            except OSError:
                pass
        if any(self._open) or any(self._pending):
            self._update()
        else:
            self._close()

    def _close(self) -> None:
        for sock in self._sockets:
            if sock.fileno() >= 0:
                self._loop.watch(sock.fileno())
                sock.close()
        if self._ended is not None:
            self._ended()
            self._ended = _forgotten


def _forgotten() -> None:
    pass


class _Datagrams:
    """UDP: one inner socket for each client, so that answers find their way back."""

    def __init__(self, loop: Loop, sock: socket.socket, port: int) -> None:
        self._loop, self._sock, self._port = loop, sock, port
        self._clients: dict[Any, tuple[socket.socket, list[float]]] = {}
        loop.watch(sock.fileno(), read=self._from_client)

    def _from_client(self) -> None:
        try:
            data, client = self._sock.recvfrom(65536)
            if client not in self._clients:
                if len(self._clients) >= CONNECTIONS:
                    return
                self._add(client)
            inner, used = self._clients[client]
            used[0] = time.monotonic()
            inner.send(data)
        except OSError:
            pass  # as the network does: what cannot be delivered is lost

    def _add(self, client: Any) -> None:
        inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        inner.setblocking(False)
        inner.connect(("127.0.0.1", self._port))
        self._clients[client] = (inner, [time.monotonic()])
        self._loop.watch(inner.fileno(), read=lambda: self._from_server(client))
        self._loop.later(UDP_IDLE, lambda: self._forget(client))

    def _from_server(self, client: Any) -> None:
        inner, used = self._clients[client]
        try:
            used[0] = time.monotonic()
            self._sock.sendto(inner.recv(65536), client)
        except OSError:
            pass

    def _forget(self, client: Any) -> None:
        inner, used = self._clients[client]
        left = used[0] + UDP_IDLE - time.monotonic()
        if left > 0:
            self._loop.later(left, lambda: self._forget(client))
            return
        del self._clients[client]
        self._loop.watch(inner.fileno())
        inner.close()
