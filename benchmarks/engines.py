"""A Docker daemon and podman of the benchmark's (or a test's) own: own socket, own folders, ended by process id."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
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
        deadline = time.monotonic() + 60
        while not socket.exists() or engine("info", check=False).returncode:
            if time.monotonic() > deadline or daemon.poll() is not None:
                raise RuntimeError(f"dockerd did not come up:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


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
