"""A real docker-registry on a free loopback port, for tests: the fixture `registry` gives its "host:port"."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machine import free_port, need

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
{more}
"""


@contextmanager
def running_registry(folder: Path, more: str = "") -> Iterator[str]:
    """A registry that keeps its data in `folder`. more: further lines of its config (auth, ...)."""
    program = need("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "data", port=port, more=more))
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 20
        while not _answers(port):
            assert child.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry without a login, its own for each test module."""
    with running_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host
