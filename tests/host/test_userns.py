"""host/userns.py: an ordinary user becomes root of a namespace with all ids, or is told what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.errors import HostError
from stackbuild.host import userns
from tests.conftest import Person
from tests.machine import REPOSITORY, need_root, run

HERE = Path(__file__).parent


@pytest.fixture
def scenario(person: Person) -> Iterator[Path]:
    """The scenario where an ordinary user can read it."""
    folder = person.home / "scenario"
    folder.mkdir(mode=0o755)
    for name in ("rootless_scenario.py", "tiny_root.py"):
        shutil.copy(HERE / name, folder / name)
    shutil.chown(folder, person.name)
    yield folder / "rootless_scenario.py"
    shutil.rmtree(folder)


def test_rootless_and_root_and_both_sandboxes_give_the_same_changes(
    person: Person, scenario: Path, tmp_path: Path
) -> None:
    """Owners, modes, file capabilities (which have another form in a user namespace), hard links, whiteouts."""
    rootless = json.loads(person.run(person.python, scenario, "overlay", scenario.parent / "work").out)
    results = [rootless]
    for name in ("overlay", "chroot"):
        words: list[str | Path] = [sys.executable, HERE / "rootless_scenario.py", name, tmp_path / name]
        results.append(json.loads(run(words, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}).out))
    assert results[0] == results[1] == results[2]
    assert rootless["chosen"] == "overlay" and rootless["codes"] == [0, 0] and rootless["output"] == "0\n"
    assert rootless["deleted"] == ["d/f", "etc/issue", "gone"]
    assert rootless["present"]["d/x"][:4] == ["0o104711", 1000, 1000, 2]
    assert rootless["present"]["d/x"][4] == {"security.capability": "0100000200040000000000000000000000000000"}
    assert not {"etc/passwd", "new"} & set(rootless["present"]) and "kept/f" in rootless["present"]


def test_a_second_process_joins_the_namespace_of_the_first(person: Person, scenario: Path) -> None:
    def start(*more: str) -> tuple[subprocess.Popen[str], list[str]]:
        argv = person.argv(person.python, scenario, "namespace", "-", *more)
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=person.home)
        assert child.stdout is not None
        return child, child.stdout.readline().split()

    first, one = start()
    second, two = start(one[1])
    third, three = start()
    try:
        assert one[0] == two[0] != three[0] != str(os.stat("/proc/self/ns/user").st_ino)
        assert one[2] == two[2] == three[2] == "0"
    finally:
        for child in (first, second, third):
            child.communicate("\n", timeout=20)


def test_root_is_left_alone() -> None:
    need_root()
    code = (
        "import os; from stackbuild.host.userns import *; reenter_if_needed(); print(MARK in os.environ, os.getpid())"
    )
    assert run([sys.executable, "-c", code], cwd=REPOSITORY).out.startswith("False")


def test_a_user_without_ids_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "tool", lambda name: Path("/usr/bin") / name)
    error = userns.missing("nobody-here", 4242)
    assert error is not None and error.why == "/etc/subuid gives nobody-here 0 ids, 65536 are needed"
    command = error.hints[0].command.split()
    assert command[:2] == ["sudo", "usermod"] and command[-1] == "nobody-here"
    first, last = map(int, command[3].split("-"))
    taken = [(start, start + count) for _, start, count in userns._entries("/etc/subuid")]
    assert last - first == 65535 and all(last < start or first >= end for start, end in taken)


def test_a_range_may_be_given_by_name_or_number_and_in_parts(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("other:1:2\nann:100000:65536\n# note\n1000:300000:10\nann:bad:1\n")
    assert userns.ranges(str(file), "ann", 1000) == (userns.Range(100000, 65536), userns.Range(300000, 10))
    assert userns._map(1000, userns.ranges(str(file), "ann", 1000)) == (
        ["0", "1000", "1", "1", "100000", "65536", "65537", "300000", "10"]
    )
    assert userns.ranges(str(tmp_path / "none"), "ann", 1000) == ()


def test_without_newuidmap_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "SYSTEM_PATH", "/nonexistent")
    error = userns.missing("ann", 1000)
    assert error is not None and error.why == "newuidmap is not installed"
    assert error.hints[0].command == "sudo apt-get install uidmap"


@pytest.mark.parametrize(
    ("path", "value", "command"),
    [
        ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ],
)
def test_switched_off_user_namespaces_are_named(
    monkeypatch: pytest.MonkeyPatch, path: str, value: str, command: str
) -> None:
    monkeypatch.setattr(userns, "_read", lambda asked: value if asked == path else "1")
    error = userns.disabled()
    assert error is not None and error.why == f"{path} is {value}" and error.hints[0].command == command


def test_apparmors_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "_read", lambda asked: "1" if "apparmor" in asked else "")
    error = userns.refused(13)
    assert "AppArmor restricts unprivileged user namespaces" in error.why
    assert error.hints[0].command == "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


def test_a_mark_without_root_is_refused_instead_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv(userns.MARK, "1000")
    with pytest.raises(HostError, match="not as its root"):
        userns.reenter_if_needed()


def test_doctor_of_an_ordinary_user_tries_what_its_builds_will_do(person: Person) -> None:
    ran = person.run(person.python, "-m", "stackbuild", "doctor", "--format", "json", code=None)
    found = {check["name"]: check for check in json.loads(ran.out)["checks"]}
    assert found["user namespaces"]["detail"] == "entered, with the full range of ids"
    assert found["overlay"]["ok"] and found["sandbox"]["detail"].startswith("overlay")
    assert ran.code == (0 if json.loads(ran.out)["runs"] else 5)
