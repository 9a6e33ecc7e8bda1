"""The README's commands, exactly as they stand, in a fresh clone with an empty store."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import pip_environment
from tests.machine import REPOSITORY, Ran, free_port, need, need_root, run


class Clone:
    """A fresh clone of what is committed, with a store and a published port of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def __call__(self, line: str, code: int | None = 0, timeout: float = 500) -> Ran:
        environ = {
            **pip_environment(),
            "STACKBUILD_STORE": str(self.folder.parent / "store"),
            # The README's port may be taken on this machine; everything else is as it stands.
            "STACKBUILD__CONTAINER__PORTS": f'["127.0.0.1:{self.port}:8080"]',
            "PATH": f"{self.folder}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}",
        }
        return run(["sh", "-c", line], env=environ, cwd=self.folder, code=code, timeout=timeout)

    def page(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return str(answer.read().decode())


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    need_root()
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a clone")
    run([need("git"), "clone", "-q", REPOSITORY, tmp_path / "stackbuild"])
    made = Clone(tmp_path / "stackbuild", free_port())
    yield made
    if (made.folder / ".venv/bin/stackbuild").exists():
        made("stackbuild -f stack.toml.example down", code=None, timeout=60)


def tour() -> list[str]:
    """The commands of the README's tour."""
    section = re.split(r"^## ", (REPOSITORY / "README.md").read_text(), flags=re.M)
    [text] = [part for part in section if part.startswith("Sixty seconds")]
    return re.findall(r"^\$ (.+)$", text, flags=re.M)


def test_the_first_command_and_the_tour(clone: Clone) -> None:
    first = clone("scripts/up")
    assert "<h1>" in clone.page()
    assert str(clone.port) in first.out + first.err
    again = clone("scripts/up")
    assert again.seconds < 5 and "running" in again.out + again.err, again
    commands = tour()
    assert len(commands) >= 5
    for line in commands:
        clone(line, timeout=300)


def test_setup_names_the_one_command_for_an_ordinary_user(tmp_path: Path) -> None:
    """A machine without uidmap, as its user sees it: the first line says what to run."""
    need_root()
    for name in ("scripts", "pyproject.toml"):
        run(["cp", "-a", REPOSITORY / name, tmp_path])
    tmp_path.chmod(0o755)
    # What the script may find: everything of this machine but newuidmap.
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("sh", "id", "sha256sum", "cut", "cat", "dirname", "ls", "apt-get", "python3"):
        (programs / program).symlink_to(need(program))
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i", f"PATH={programs}"]
    visible = Path("/var/tmp") / f"sbsetup{os.getpid()}"
    subprocess.run(["cp", "-a", tmp_path, visible], check=True)
    try:
        ran = run([*argv[:-1], f"PATH={visible}/bin", f"{visible}/scripts/setup"], code=5)
    finally:
        subprocess.run(["rm", "-rf", visible], check=True)
    assert re.match(r"This machine lacks (python3-venv )?uidmap\. Run: sudo .*apt-get install -y .*uidmap", ran.err)
