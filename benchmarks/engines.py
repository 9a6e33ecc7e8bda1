"""A Docker daemon and podman of the benchmark's (or a test's) own: own socket, own folders, ended by process id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ULIMITS = ("--ulimit", "nofile=1024:1024")  # the daemon's default is above the hard limit of small machines


@dataclass(frozen=True)
class Engine:
    """A command line that talks to an engine of our own."""

    argv: tuple[str, ...]
    environ: dict[str, str]

    def __call__(
        self, *words: str | Path, timeout: float = 300, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.argv, *map(str, words)],
            env={**os.environ, **self.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=check,
        )


@contextmanager
def dockerd(folder: Path, arguments: Sequence[str] = ()) -> Iterator[Engine]:
    """A Docker daemon without networks (its containers may use the host's). `folder` must have a short path."""
    socket = folder / "socket"
    argv = ["/usr/sbin/dockerd", "--bridge=none", "--iptables=false", "-H", f"unix://{socket}"]
    argv += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen([*argv, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    environ = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(folder / "config")}
    engine = Engine(("/usr/bin/docker",), environ)
    try:
        _until(lambda: socket.exists() and not engine("info", check=False).returncode, daemon, folder / "log")
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _until(ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait, a minute at most, for a server that was just started."""
    deadline = time.monotonic() + 60
    while not ready():
        if time.monotonic() > deadline or child.poll() is not None:
            raise RuntimeError(f"a server did not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def podman(folder: Path) -> Engine:
    """podman with images and containers of its own. `folder` must have a short path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\nnetns = "none"\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "runc"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    environ = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    return Engine(("/usr/bin/podman",), environ)


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A docker-registry on a free port of the loopback, its data in `folder`: "host:port"."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: {host}}}\n"
    )
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(["/usr/bin/docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        _until(lambda: _listens(host), child, folder / "log")
        yield host
    finally:
        child.terminate()
        child.wait(timeout=30)


def _listens(host: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host.partition(":")[0], int(host.partition(":")[2]))) == 0
