"""Real engines of the tests' own, each started at most once for a worker."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.engines import Engine, dockerd
from benchmarks.engines import podman as podman_of
from tests.conftest import Hello
from tests.machine import need, need_root, run


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets and overlay options."""
    need_root()
    folder = Path(tempfile.mkdtemp(prefix="sb", dir="/tmp"))
    yield folder
    for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if (place := mount.split()[1]).startswith(f"{folder}/"):
            run([need("umount"), "-l", place], code=None)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def podman(short_folder: Path) -> Engine:
    """podman with runc and a storage of its own."""
    for program in ("podman", "runc", "conmon"):
        need(program)
    return podman_of(short_folder / "p")


@pytest.fixture(scope="session")
def docker(short_folder: Path) -> Iterator[Engine]:
    """A Docker daemon of its own; tests that use it are in the xdist group "docker"."""
    for program in ("dockerd", "docker", "containerd"):
        need(program)
    with dockerd(short_folder / "d") as engine:
        yield engine


@pytest.fixture(scope="session")
def tag(hello: Hello) -> str:
    """The reference of the built image in containers-transports words."""
    index = json.loads((hello.layout / "index.json").read_text())
    name = next(m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"] if is_it(m, hello))
    return f"oci:{hello.layout}:{name}"


def is_it(manifest: dict[str, str], hello: Hello) -> bool:
    return manifest["digest"] == hello.digest
