"""Workers: forked from the warm process or started anew they do the same, and end as they should."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.executors.workers import Process, Workers
from stackbuild.build.worker import decode_error, encode
from stackbuild.core.action import Action, Room
from tests.machine import wait_until


def request(folder: Path, kind: str = "remove", params: Mapping[str, Any] | None = None) -> Path:
    """An action that needs no tree, in a folder as the executor makes it."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    action = Action(kind, params or {"nonsense": 1}, {}, (), (), "linux/amd64")
    (folder / "request.json").write_bytes(encode(action, Room({}, (), folder / "out", folder / "scratch")))
    return folder / "request.json"


def finish(child: Process) -> tuple[int, bytes]:
    said = b""
    while piece := os.read(child.output, 1 << 16):
        said += piece
    code = child.wait()
    child.close()
    return code, said


@pytest.fixture(params=[False, True], ids=["started", "forked"])
def workers(request: pytest.FixtureRequest) -> object:
    made = Workers(warm=request.param)
    made.warm()
    yield made
    made.close()


FACET = {"users": [], "groups": [], "paths": ["/etc/x"]}


def test_an_action_is_done(workers: Workers, tmp_path: Path) -> None:
    code, said = finish(workers.start(request(tmp_path / "a", "facet", FACET)))
    assert (code, said) == (0, b"")
    assert json.loads((tmp_path / "a/result.json").read_bytes()) == {"facts": {}, "outputs": {}}
    assert json.loads((tmp_path / "a/out/facet").read_bytes())


def test_a_bug_is_seen_and_an_expected_failure_is_handed_over(workers: Workers, tmp_path: Path) -> None:
    code, _ = finish(workers.start(request(tmp_path / "a")))
    assert code == 1 and "Traceback" in (tmp_path / "a/trouble").read_text()
    lost = {**FACET, "archives": [{"input": "x", "to": "/", "name": "x.tar"}]}
    path = request(tmp_path / "b", "facet", lost)
    tree = json.loads(path.read_bytes())
    (tmp_path / "b/x").write_bytes(b"no archive")
    tree["room"]["inputs"] = {"x": str(tmp_path / "b/x")}
    path.write_text(json.dumps(tree))
    code, _ = finish(workers.start(path))
    assert code == 1 and "cannot be unpacked" in decode_error((tmp_path / "b/error.json").read_bytes()).what


def test_many_at_once_and_nothing_is_left_open(workers: Workers, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for n in range(3):
        children = [workers.start(request(tmp_path / f"{n}-{m}", "facet", FACET)) for m in range(6)]
        assert [finish(child)[0] for child in children] == [0] * 6
    assert len(os.listdir("/proc/self/fd")) <= before  # the collector may have closed what tests before left open


def test_what_is_terminated_ends(workers: Workers, tmp_path: Path) -> None:
    path = request(tmp_path / "a", "facet", FACET)
    os.unlink(path)
    os.mkfifo(path)  # it waits for somebody to write its request
    child = workers.start(path)
    child.terminate()
    assert finish(child)[0] != 0


def test_without_the_warm_process_workers_are_started(tmp_path: Path) -> None:
    workers = Workers()
    workers.warm()
    zygote = workers._zygote
    assert zygote is not None
    assert finish(workers.start(request(tmp_path / "a", "facet", FACET)))[0] == 0
    os.kill(zygote.pid, signal.SIGKILL)
    zygote.wait()
    assert finish(workers.start(request(tmp_path / "b", "facet", FACET)))[0] == 0
    workers.close()


def test_workers_end_with_the_build(tmp_path: Path) -> None:
    """The warm process ends when its parent closes the socket, and a worker under way with it."""
    workers = Workers()
    workers.warm()
    path = request(tmp_path / "a", "facet", FACET)
    os.unlink(path)
    os.mkfifo(path)
    child = workers.start(path)
    zygote = workers._zygote
    assert zygote is not None
    workers.close()
    assert zygote.returncode == 0
    started = time.monotonic()
    assert finish(child)[0] != 0 and time.monotonic() - started < 20


def test_a_worker_has_no_variable_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    workers = Workers()
    workers.warm()
    zygote = workers._zygote
    assert zygote is not None
    wait_until(lambda: b"zygote" in Path(f"/proc/{zygote.pid}/cmdline").read_bytes(), 10)
    assert b"SECRET_TOKEN" not in Path(f"/proc/{zygote.pid}/environ").read_bytes()
    workers.close()
