"""An ordinary user with a subuid range runs containers, and a later command of theirs reaches them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stackbuild.host.syscalls import capability_mask
from stackbuild.run.spec import DEFAULT_CAPABILITIES
from tests.conftest import Person
from tests.machine import Ran, need, run

# Each call is a process of its own, and so has a user namespace of its own, as commands have.
SCRIPT = """
import json, os, sys
from pathlib import Path
from stackbuild.core.errors import StackError
from stackbuild.core.paths import StorePaths
from stackbuild.host.userns import reenter_if_needed
reenter_if_needed([sys.executable, *sys.argv])
from stackbuild.run import lifecycle, requests, watch
from stackbuild.run.container import Container
from stackbuild.run.spec import DEFAULT_PATH, Health, Limits, Port, RuntimeSpec
home, what = Path.home(), json.loads(sys.argv[1])
paths = StorePaths(home / "containers")
container = Container(paths.containers / "mine")
try:
    if what["do"] == "up":
        health = Health("http", ("http://127.0.0.1:80/index.html",), interval=5.0)
        limits = Limits(**what.get("limits", {}))
        spec = RuntimeSpec("mine", ("httpd", "-f", "-p", "127.0.0.1:80", "-h", "/srv/www"), {"PATH": DEFAULT_PATH},
                           user="app", ports=(Port(80, 0, "127.0.0.1"),), health=health, limits=limits,
                           runtime=what["runtime"], soft=("resources.pids",))
        lifecycle.up(spec, [home / "tree"], paths)
        watch.wait_healthy(container, 60)
        print(container.state().ports[0].host_port)
    elif what["do"] == "exec":
        sys.exit(requests.exec_(container, ["sh", "-c", what["script"]], (0, 1, 2)).wait())
    else:
        lifecycle.down(container, paths)
except StackError as error:
    print(error, *(hint.text for hint in error.hints), sep="\\n")
    sys.exit(error.exit_code)
"""


@pytest.fixture
def at_home(person: Person, tree: tuple[Path, ...]) -> Person:
    """A user with the container's tree and the script in their home."""
    target = person.home / "tree"
    shutil.rmtree(target, ignore_errors=True)
    run([need("cp"), "-a", tree[0], target])
    (target / "srv/www").mkdir()
    (target / "srv/www/index.html").write_text("rootless\n")
    run([need("chown"), "-hR", f"{person.name}:", target])  # an id that the namespace lacks cannot be copied up
    (person.home / "script.py").write_text(SCRIPT)
    return person


def ask(person: Person, code: int | None = 0, **what: object) -> Ran:
    return person.run(person.python, person.home / "script.py", json.dumps(what), code=code, timeout=90)


@pytest.mark.parametrize("runtime", ["bwrap", "runc"])
def test_a_container_of_an_ordinary_user(at_home: Person, runtime: str) -> None:
    need(runtime)
    if runtime == "runc":
        ask(at_home, do="down")
    port = int(ask(at_home, do="up", runtime=runtime).out)
    try:
        assert run([need("curl"), "-sS", f"http://127.0.0.1:{port}/index.html"]).out == "rootless\n"
        script = "id -u; cat /proc/self/status; (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null; echo $?"
        said = ask(at_home, do="exec", script=script).out
        status = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
        assert said.startswith("10001\n") and said.endswith("\n1\n")
        assert int(status["CapBnd"], 16) == capability_mask(DEFAULT_CAPABILITIES)
        assert (int(status["CapEff"], 16), status["Seccomp"], status["NoNewPrivs"]) == (0, "2", "1")
    finally:
        ask(at_home, do="down")
    assert not list((at_home.home / "containers/containers.v1").glob("[a-z]*"))


def test_a_limit_that_cannot_be_set_is_refused(at_home: Person) -> None:
    """Unless the machine hands its control groups to users, which version 1 never does."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("control groups of version 2 may have been handed to the user")
    ran = ask(at_home, code=5, do="up", runtime="bwrap", limits={"memory": 1 << 26})
    assert ran.out.startswith("bwrap cannot honour container.resources.memory: no control group `memory`")
    assert "runc can when run as root" in ran.out
