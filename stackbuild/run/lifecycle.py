"""Start, stop, remove and list containers: what commands call. The supervisor does the work; see also watch.py."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stackbuild.core.errors import Hint, HostError, StackError
from stackbuild.core.events import ContainerStateChanged, Listener, Note, nobody
from stackbuild.core.files import host_error, write_file
from stackbuild.core.paths import StorePaths, ensure
from stackbuild.host import overlay, syscalls
from stackbuild.run import network
from stackbuild.run.container import ALIVE, Container, Launch, State, containers, start_time
from stackbuild.run.requests import POLL, ask_to_stop, from_json
from stackbuild.run.runtimes.table import choose, find_programs, runtime
from stackbuild.run.spec import RuntimeSpec
from stackbuild.store.locks import lock

START_SECONDS = 60.0
How = Literal["unchanged", "started", "created", "replaced"]


class Started(NamedTuple):
    """A container that runs, and what had to be done for it."""

    container: Container
    how: How


def held(paths: StorePaths, name: str) -> AbstractContextManager[None]:
    """The lock under which a container is started, stopped or removed: the second of two waits for the first."""
    return lock(paths.locks, f"container-{name}")


def up(spec: RuntimeSpec, lowers: Sequence[Path], paths: StorePaths, listener: Listener = nobody) -> Started:
    """See to it that a container as in `spec` runs: leave it, start it, replace it or make it (DESIGN, section 11)."""
    container = Container(paths.containers / spec.name)
    with held(paths, spec.name):
        if container.exists and _same(container, spec, lowers):
            if container.state().status in ALIVE:
                return Started(container, "unchanged")
            _reap(container)
            _spawn(container, listener)
            return Started(container, "started")
        how: How = "replaced" if container.exists else "created"
        _remove(container)
        _create(container, spec, lowers, paths)
        _spawn(container, listener)
        return Started(container, how)


def _same(container: Container, spec: RuntimeSpec, lowers: Sequence[Path]) -> bool:
    try:
        return container.spec == spec and list(container.launch.lowers) == [str(lower) for lower in lowers]
    except (HostError, ValueError):
        return False  # of an older version, or damaged: it is made anew


def start(
    spec: RuntimeSpec,
    lowers: Sequence[Path],
    paths: StorePaths,
    listener: Listener = nobody,
    *,
    stdin: int | None = None,
) -> Container:
    """Make and start a new container. stdin: a descriptor that its command reads. Raises HostError if it exists."""
    container = Container(paths.containers / spec.name)
    with held(paths, spec.name):
        if container.exists:
            hint = Hint("remove it first", f"stackbuild down {spec.name}")
            raise HostError(f"there is a container {spec.name} already", hints=(hint,))
        _create(container, spec, lowers, paths)
        _spawn(container, listener, stdin)
    return container


def start_again(container: Container, paths: StorePaths, listener: Listener = nobody) -> None:
    """Start a stopped container from what is stored of it; nothing if it runs."""
    with held(paths, container.name):
        if container.state().status not in ALIVE:
            _reap(container)
            _spawn(container, listener)


def _create(container: Container, spec: RuntimeSpec, lowers: Sequence[Path], paths: StorePaths) -> None:
    """Write what the supervisor reads; spec.json last, because it makes the folder a container."""
    ensure(paths.containers)
    programs = find_programs()
    choice = choose(spec, programs, paths.containers / ".runtimes.json")
    shutil.rmtree(container.folder, ignore_errors=True)
    ensure(container.folder, 0o711)
    launch = Launch(
        runtime=choice.name,
        lowers=tuple(str(lower) for lower in lowers),
        programs=programs,
        volumes=str(paths.volumes),
        locks=str(paths.locks),
        notes=choice.notes,
    )
    if spec.seccomp:
        from stackbuild.host.seccomp import program

        write_file(container.path("seccomp.bpf"), program("container", capabilities=spec.capabilities))
    write_file(container.path("launch.json"), launch.to_json())
    container.write_state(State())
    write_file(container.path("spec.json"), spec.to_json(), mode=0o600)


def _spawn(container: Container, listener: Listener, stdin: int | None = None) -> None:
    """Start the supervisor and wait until the container runs. Raises what the supervisor reports."""
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from stackbuild.run import supervisor as s; s.main(sys.argv[1:])"
    ready, ready_write = os.pipe()
    python = os.path.realpath(sys.executable)
    try:
        with open(container.path("supervisor.log"), "ab") as log:
            child = subprocess.Popen(
                [python, "-I", "-S", "-c", code, str(container.folder), str(ready_write)],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                pass_fds=(ready_write,),
                start_new_session=True,
                preexec_fn=lambda: _protect(python),
            )
    except (OSError, subprocess.SubprocessError) as error:
        os.close(ready)
        raise HostError("cannot start the container's supervisor", why=str(error)) from error
    finally:
        os.close(ready_write)
    answer = _answer(ready, START_SECONDS)
    if answer is None or "error" in answer:
        try:
            child.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _reap(container)
        raise from_json(answer["error"]) if answer else _no_answer(container)
    child.returncode = 0  # it lives on its own; Popen need not warn about that
    state = container.state()
    for note in state.notes:
        listener(Note(note, "warning"))
    listener(ContainerStateChanged(container.name, "running", ", ".join(map(str, state.ports))))


def _protect(python: str) -> None:
    """In the child: let the supervisor's program be read-only for whoever finds it in /proc (CVE-2019-5736)."""
    overlay.unshare(syscalls.CLONE_NEWNS)
    overlay.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
    overlay.mount(python, python, "", syscalls.MS_BIND)
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
    try:
        overlay.mount("none", python, "", flags | syscalls.MS_NODEV | syscalls.MS_NOSUID)
    except OSError:
        overlay.mount("none", python, "", flags | _flags_of(python))  # in a user namespace these may not change


def _flags_of(path: str) -> int:
    """The mount flags that a remount in a user namespace must keep: they are locked."""
    found = os.statvfs(path).f_flag
    pairs = ((os.ST_NOSUID, syscalls.MS_NOSUID), (os.ST_NODEV, syscalls.MS_NODEV), (os.ST_NOATIME, 1024))
    return sum(flag for name, flag in pairs if found & name) | (1 << 21 if found & os.ST_RELATIME else 0)


def _answer(ready: int, seconds: float) -> dict[str, Any] | None:
    """What the supervisor says; None if it says nothing."""
    data = b""
    with open(ready, "rb", buffering=0) as pipe:
        deadline = time.monotonic() + seconds
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = pipe.read(65536)
            data += piece
            if not piece or data.endswith(b"}"):
                break
    try:
        answer = json.loads(data)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _no_answer(container: Container) -> HostError:
    try:
        said = container.path("supervisor.log").read_text(errors="replace").strip()[-2000:]
    except OSError:
        said = ""
    why = said.rpartition("\n")[2] or "it says nothing"
    return HostError("the container's supervisor ended before the container ran", why=why)


def _reap(container: Container) -> None:
    """Clear away what a supervisor left that was killed: processes, control groups, rules of the network."""
    try:
        state = State.from_json(container.path("state.json").read_bytes())
        launch = container.launch
    except (OSError, ValueError, StackError):
        return
    if container.supervised():
        return
    if state.pid and state.start and start_time(state.pid) == state.start:
        try:
            os.kill(state.pid, signal.SIGKILL)
        except OSError:
            pass
    runtime(launch.runtime).clear(container, launch.programs)
    network.clear(container.path("network.json"), launch.programs)
    if state.status in ALIVE:
        container.write_state(container.state())


def stop(container: Container, paths: StorePaths, grace: float | None = None) -> int | None:
    """Stop it: its stop signal, after `grace` seconds (None: its own setting) SIGKILL. Its exit code, if it ran."""
    with held(paths, container.name):
        return _stop(container, grace)


def _stop(container: Container, grace: float | None) -> int | None:
    if container.state().status in ALIVE:
        limit = (container.spec.stop_grace if grace is None else grace) + START_SECONDS
        line = ask_to_stop(container, grace)
        if line is not None:
            with line:
                try:
                    line.receive(limit)
                except TimeoutError:
                    pass
    deadline = time.monotonic() + START_SECONDS
    while container.supervised():
        if time.monotonic() > deadline:
            why = f"its supervisor is process {container.state().supervisor}"
            raise HostError(f"{container.name} does not stop", why=why)
        time.sleep(POLL / 4)
    _reap(container)
    return container.state().exit_code


def down(container: Container, paths: StorePaths, grace: float | None = None) -> None:
    """Stop and remove it; its volumes stay."""
    with held(paths, container.name):
        try:
            _stop(container, grace)
        except StackError:
            if container.supervised():
                raise
        _remove(container)


def _remove(container: Container) -> None:
    if not container.folder.exists():
        return
    if container.supervised():
        _stop(container, None)
    _reap(container)
    try:
        container.path("spec.json").unlink(missing_ok=True)  # first: half a container is none
        shutil.rmtree(container.folder)
    except OSError as error:
        raise host_error(error, container.folder) from error


class ContainerInfo(NamedTuple):
    """One line of `ps`."""

    name: str
    state: State
    image: str
    command: tuple[str, ...]


def ps(paths: StorePaths) -> tuple[ContainerInfo, ...]:
    """All containers of the store, by name; one that cannot be read is shown with the reason."""
    found = []
    for container in containers(paths.containers):
        try:
            spec = container.spec
            found.append(ContainerInfo(container.name, container.state(), spec.image, spec.argv))
        except (StackError, ValueError) as error:
            broken = container.state()._replace(detail=str(error))
            found.append(ContainerInfo(container.name, broken, "", ()))
    return tuple(found)
