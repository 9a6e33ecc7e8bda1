"""Health checks: one check as a child process, and the rule by which results become a state."""

from __future__ import annotations

import os
import signal
import socket
from typing import NamedTuple, NoReturn

from stackbuild.run.spec import Health

REPORT = 4096  # bytes kept of what a check said
FIRST = 0.05  # seconds after the start; a container that is ready at once need not wait a whole interval


class Progress(NamedTuple):
    """Where a container's health stands. counted: failures in a row. age: seconds since the start."""

    state: str = "starting"
    counted: int = 0
    checks: int = 0
    last_counted: float = 0.0


def after(health: Health, before: Progress, passed: bool, age: float) -> Progress:
    """The next state. Pure.

    Until the first success checks come more often than the interval; such an early failure does not count
    unless an interval has passed since the last one that did, nor does one within the start period.
    """
    one_more = before._replace(checks=before.checks + 1)
    if passed:
        return one_more._replace(state="healthy", counted=0, last_counted=age)
    early = before.state == "starting" and (age < health.start_period or age - before.last_counted < health.interval)
    if early:
        return one_more
    counted = before.counted + 1
    state = "unhealthy" if counted >= health.retries else before.state
    return one_more._replace(state=state, counted=counted, last_counted=age)


def pause(health: Health, progress: Progress) -> float:
    """Seconds until the next check: short at first, growing to the interval."""
    if progress.state == "starting":
        return float(min(health.interval, FIRST * 1.5 ** min(progress.checks, 40)))
    return health.interval


def shell_argv(health: Health) -> tuple[str, ...]:
    """The command of a "test" check."""
    return ("/bin/sh", "-c", *health.what[1:2]) if health.what[0] == "CMD-SHELL" else health.what[1:]


def start_request(health: Health) -> tuple[int, int]:
    """Fork a child that asks an http or tcp endpoint from this process's network. (pid, what it says)."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    pid = os.fork()
    if pid == 0:
        _child(health, write_end)
    os.close(write_end)
    return pid, read_end


def _child(health: Health, out: int) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        report = check(health)
        code = 0
    except Exception as error:
        report = str(error) or type(error).__name__
    try:
        os.write(out, report.encode("utf-8", "replace")[:REPORT])
    finally:
        os._exit(code)


def check(health: Health) -> str:
    """Ask once, now. Returns what to tell people. Raises OSError or ValueError if it is not healthy."""
    address = health.what[0]
    if health.kind == "tcp":
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=health.timeout):
            return f"{address} accepts connections"
    status = _http_status(address, health.timeout)
    if not 200 <= status < 400:
        raise ValueError(f"{address} answers {status}")
    return f"{address} answers {status}"


def _http_status(url: str, timeout: float) -> int:
    """The status code of a GET. No redirect is followed, no certificate is checked: the other end is our own."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    host, port = authority, 443 if scheme == "https" else 80
    if authority.rpartition(":")[2].isdigit() and not authority.endswith("]"):
        host, port = authority.rpartition(":")[0], int(authority.rpartition(":")[2])
    with socket.create_connection((host.strip("[]"), port), timeout=timeout) as plain:
        sock = plain
        if scheme == "https":
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(plain, server_hostname=host.strip("[]"))
        lines = (f"GET {slash + path or '/'} HTTP/1.1", f"Host: {authority}", "User-Agent: stackbuild")
        sock.sendall("\r\n".join((*lines, "Accept: */*", "Connection: close", "", "")).encode())
        with sock.makefile("rb") as answer:
            line = answer.readline(4096).split()
    if len(line) < 2 or not line[0].startswith(b"HTTP/") or not line[1].isdigit():
        raise ValueError(f"{url} does not answer as a web server")
    return int(line[1])
