"""Fixtures for all tests: an isolated world, the command as a process, and what is made once for a whole run."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.machine import REPOSITORY, Ran, kill_group, locked, need, need_root, once, run
from tests.projects import write_hello

FOREIGN = ("XDG_", "STACKBUILD", "SOURCE_DATE_EPOCH", "NO_COLOR", "FORCE_COLOR", "DOCKER_", "CONTAINER", "REGISTRY_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what came out as what is expected, then read the diff"
    )


def pytest_configure(config: pytest.Config) -> None:
    """How long an example of hypothesis takes says something about the machine alone."""
    slow = (*settings().suppress_health_check, HealthCheck.too_slow)
    settings.register_profile("any machine", settings(deadline=None, suppress_health_check=slow))
    settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that is marked `root` does what only root may; this is known before its fixtures are made."""
    if item.get_closest_marker("root") is not None:
        need_root()


@pytest.fixture(scope="session", autouse=True)
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's files or obeys the user's variables, in this process or a child of it."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(FOREIGN):
            del os.environ[name]
    home = tmp_path_factory.mktemp("home")
    os.environ.update(HOME=str(home), STACKBUILD_STORE=str(home / "store"), LC_ALL="C.UTF-8", TERM="dumb")
    mask = os.umask(0o022)
    yield
    os.umask(mask)
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a committed file; `--update-golden` writes the file instead."""

    def compare(file: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        assert text == file.read_text(), (
            f"another {file.name}; if it is meant: pytest --update-golden, then read the diff"
        )

    return compare


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all xdist workers of this run see; see `machine.once`."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@dataclass(frozen=True)
class Stackbuild:
    """The command as a user runs it: a process of its own in a project folder, with a store."""

    folder: Path
    store: Path
    argv: tuple[str, ...] = (sys.executable, "-m", "stackbuild")
    environ: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "STACKBUILD_STORE": str(self.store), **self.environ}

    def __call__(
        self, *words: str | Path, code: int | None = 0, timeout: float = 300, env: Mapping[str, str] | None = None
    ) -> Ran:
        """Run it to its end; `code` is the exit code that it must have (None: any).

        A build that begins within 50 ms of an edit leaves no stamp; no person is as quick as a test.
        """
        if {"build", "up", "plan", "lock"} & set(words):
            time.sleep(0.06)
        environ = {**self.environment(), **(env or {})}
        return run([*self.argv, *words], code=code, timeout=timeout, env=environ, cwd=self.folder)

    def start(self, *words: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start it in a session of its own, stdout and stderr as pipes; end it with `machine.kill_group`."""
        return subprocess.Popen(
            [*self.argv, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**self.environment(), **(env or {})},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def at(self, folder: Path | None = None, store: Path | None = None, **environ: str) -> Stackbuild:
        """The same command elsewhere."""
        return Stackbuild(folder or self.folder, store or self.store, self.argv, {**self.environ, **environ})


@pytest.fixture
def stackbuild(tmp_path: Path) -> Stackbuild:
    """The command in a new, empty project folder with an empty store."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Stackbuild(folder, tmp_path / "store")


@pytest.fixture
def running() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Hands a started process through and ends it after the test."""
    children: list[subprocess.Popen[str]] = []

    def keep(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
        children.append(child)
        return child

    yield keep
    for child in children:
        kill_group(child)
        child.communicate(timeout=30)


@dataclass(frozen=True)
class Person:
    """An ordinary user of this machine with a subuid range, a home that others can read, and stackbuild installed."""

    name: str
    home: Path
    python: Path

    def argv(self, *words: str | Path) -> list[str]:
        """A command as this user, with nothing of root's environment."""
        environ = [
            f"HOME={self.home}",
            f"USER={self.name}",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LC_ALL=C.UTF-8",
        ]
        return [need("runuser"), "-u", self.name, "--", need("env"), "-i", *environ, *map(str, words)]

    def run(self, *words: str | Path, code: int | None = 0, timeout: float = 300, cwd: Path | None = None) -> Ran:
        return run(self.argv(*words), code=code, timeout=timeout, cwd=cwd or self.home)

    def stackbuild(self, folder: Path) -> Stackbuild:
        """The command as this user."""
        return Stackbuild(folder, self.home / "store", tuple(self.argv(self.python, "-m", "stackbuild")))


@pytest.fixture(scope="session")
def installed(shared: Path) -> Path:
    """The Python of a virtual environment into which stackbuild was really installed, not linked; others may run it."""
    need_root()

    def make(folder: Path) -> None:
        # Not below pytest's own folder, which only its owner may enter.
        place = Path(tempfile.mkdtemp(prefix="stackbuild-test-", dir="/var/tmp"))
        place.chmod(0o755)
        (folder / "place").write_text(str(place))
        source = place / "source"
        source.mkdir()
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(REPOSITORY / name, source)
        shutil.copytree(REPOSITORY / "stackbuild", source / "stackbuild", ignore=shutil.ignore_patterns("__pycache__"))
        # The interpreter of this run may be in a home that nobody else can enter.
        base = Path(sys.executable).resolve()
        python = base if all(part.stat().st_mode & 0o001 for part in base.parents) else Path("/usr/bin/python3")
        run([python, "-m", "venv", place / "venv"])
        run([place / "venv/bin/python", "-m", "pip", "install", "-qq", source], timeout=300, env=pip_environment())

    return Path((once(shared / "installed", make) / "place").read_text()) / "venv/bin/python"


def pip_environment() -> dict[str, str]:
    """The environment with the user's real home: pip's settings are there."""
    return {**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir}


@pytest.fixture(scope="session")
def account(shared: Path) -> Iterator[str]:
    """The name of an ordinary user, made for this worker."""
    need_root()
    need("newuidmap")
    mine = f"sbtest{os.getpid()}"
    with locked(shared / "accounts.lock"):
        for left in pwd.getpwall():  # of a run that was killed
            found = re.fullmatch(r"sbtest([0-9]+)", left.pw_name)
            if found and (left.pw_name == mine or not Path("/proc", found[1]).exists()):
                shutil.rmtree(left.pw_dir, ignore_errors=True)
                run([need("userdel"), "-f", left.pw_name], code=None)
        run([need("useradd"), "-m", mine])
    top = Path(pwd.getpwnam(mine).pw_dir)
    top.chmod(0o755)
    yield mine
    shutil.rmtree(top, ignore_errors=True)
    with locked(shared / "accounts.lock"):
        run([need("userdel"), "-f", mine], code=None)


@pytest.fixture
def person(account: str, installed: Path) -> Iterator[Person]:
    """An ordinary user with a home that no other test has seen; all that they started ends with the test."""
    known = pwd.getpwnam(account)
    home = Path(tempfile.mkdtemp(dir=known.pw_dir, prefix=""))
    home.chmod(0o755)
    os.chown(home, known.pw_uid, known.pw_gid)
    yield Person(account, home, installed)
    for process in processes_of(known.pw_uid):
        subprocess.run(["kill", "-9", str(process)], stderr=subprocess.DEVNULL)
    shutil.rmtree(home, ignore_errors=True)  # files of the subuid range are there too


def processes_of(uid: int) -> list[int]:
    """The processes of a user that was made for the tests."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                found.append(int(entry.name))
        except FileNotFoundError:
            pass
    return found


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What `installed` left outside of pytest's folder goes with the run (the controller's end, when under xdist)."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None and (left := factory.getbasetemp() / "installed/place").exists():
        shutil.rmtree(left.read_text(), ignore_errors=True)


@dataclass(frozen=True)
class Hello:
    """The stack of tests/projects.py `HELLO`, locked and built once for all tests of a run.

    To be read: a store in which somebody builds cannot be copied by another test at the same time.
    """

    folder: Path
    store: Path
    digest: str

    @property
    def layout(self) -> Path:
        return self.store / "images"

    def copy_project(self, target: Path) -> Path:
        """The project and its lock in another folder."""
        return Path(shutil.copytree(self.folder, target))

    def copy_store(self, target: Path) -> Path:
        """A store with all that was built, to build in."""
        run([need("cp"), "-al", self.store, target])
        return target

    def store_with_downloads(self, target: Path) -> Path:
        """A new store that holds the package files and indexes, and nothing built: no network is needed for a build."""
        target.mkdir(parents=True)
        for area in ("packages.v1", "indexes.v1"):
            if (self.store / area).exists():
                run([need("cp"), "-al", self.store / area, target / area])
        return target


@pytest.fixture(scope="session")
def hello(shared: Path) -> Hello:
    """Resolves, downloads and builds real packages (half a minute), the first time that it is asked for."""
    need_root()

    def make(folder: Path) -> None:
        write_hello(folder / "project")
        command = Stackbuild(folder / "project", folder / "store")
        (folder / "digest").write_text(command("build", timeout=600).out.strip())

    folder = once(shared / "hello", make)
    return Hello(folder / "project", folder / "store", (folder / "digest").read_text())
