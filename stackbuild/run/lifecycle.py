"""Start, stop, remove and list containers: what commands call. The supervisor does the work; see also watch.py."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple

from stackbuild.core.errors import Hint, HostError, StackError
from stackbuild.core.events import ContainerStateChanged, Listener, Note, nobody
from stackbuild.core.files import host_error, write_file
from stackbuild.core.paths import StorePaths, ensure
from stackbuild.run.container import ALIVE, Container, Launch, State, containers, start_time
from stackbuild.run.runtimes.table import choose, find_programs, runtime
from stackbuild.run.spawn import Spawned, spawned
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
            with spawned() as supervisor:
                _reap(container)
                _spawn(container, listener, supervisor)
            return Started(container, "started")
        how: How = "replaced" if container.exists else "created"
        with spawned() as supervisor:
            _remove(container)
            _create(container, spec, lowers, paths)
            _spawn(container, listener, supervisor)
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
    supervisor: Spawned,
    listener: Listener = nobody,
    *,
    stdin: bool = False,
) -> Container:
    """Make and start a new container. stdin: its command reads ours. Raises HostError if it exists."""
    container = Container(paths.containers / spec.name)
    with held(paths, spec.name):
        if container.exists:
            hint = Hint("remove it first", f"stackbuild down {spec.name}")
            raise HostError(f"there is a container {spec.name} already", hints=(hint,))
        _create(container, spec, lowers, paths)
        _spawn(container, listener, supervisor, stdin)
    return container


def start_again(
    container: Container, paths: StorePaths, listener: Listener = nobody, supervisor: Spawned | None = None
) -> bool:
    """Start a stopped container from what is stored of it; nothing if it runs. supervisor: one without a container.

    False: somebody has removed it."""
    with supervisor or spawned() as supervisor, held(paths, container.name):
        if not container.exists:
            return False
        if container.state().status not in ALIVE:
            _reap(container)
            _spawn(container, listener, supervisor)
        return True


def _create(container: Container, spec: RuntimeSpec, lowers: Sequence[Path], paths: StorePaths) -> None:
    """Write what the supervisor reads; spec.json last, because it makes the folder a container."""
    ensure(paths.containers)
    memory = paths.containers / ".runtimes.json"
    programs = find_programs(memory)
    choice = choose(spec, programs, memory)
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
        from stackbuild.host.seccomp import kept_program

        made = kept_program("container", spec.capabilities, ensure(paths.containers / ".seccomp"))
        write_file(container.path("seccomp.bpf"), made)
    write_file(container.path("launch.json"), launch.to_json())
    container.write_state(State())
    write_file(container.path("spec.json"), spec.to_json(), mode=0o600)


def _spawn(container: Container, listener: Listener, supervisor: Spawned, stdin: bool = False) -> None:
    """Let the supervisor start it, and wait until it runs. Raises what the supervisor reports."""
    supervisor.give(container.folder, stdin=stdin)
    import_module("stackbuild.run.watch")  # what comes next; there is time for it until the container runs
    try:
        answer = supervisor.answer(container.folder)
    except HostError:
        _reap(container)
        raise
    if "error" in answer:
        _reap(container)
        from stackbuild.run.requests import from_json

        raise from_json(answer["error"])
    state = container.state()
    for note in state.notes:
        listener(Note(note, "warning"))
    listener(ContainerStateChanged(container.name, "running", ", ".join(map(str, state.ports))))


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
    if container.path("network.json").exists():
        from stackbuild.run import network

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
        from stackbuild.run.requests import ask_to_stop  # a start has no need of it

        line = ask_to_stop(container, grace)
        if line is not None:
            with line:
                try:
                    line.receive(limit)
                except TimeoutError:
                    pass
    if not container.wait_unsupervised(START_SECONDS):
        why = f"its supervisor is process {container.state().supervisor}"
        raise HostError(f"{container.name} does not stop", why=why)
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
