"""User over image over engine: what of the three reaches the RuntimeSpec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.run.container import container_name
from stackbuild.run.settings import Wanted, runtime_spec, soft_settings, stop_signal, wanted
from stackbuild.run.spec import DEFAULT_CAPABILITIES, Health, Limits, Mount, Port, RuntimeSpec
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack

IMAGE = {
    "config": {
        "Entrypoint": ["server"],
        "Cmd": ["--flag"],
        "Env": ["PATH=/opt/bin", "A=image", "B=image"],
        "User": "www-data",
        "WorkingDir": "/srv",
        "StopSignal": "SIGQUIT",
        "Volumes": {"/var/lib/data": {}},
        "Labels": {"a": "b"},
        "Healthcheck": {"Test": ["CMD", "check"], "Interval": 3000000000, "Retries": 7},
    }
}


def settled(folder: Path, container: str = "") -> Stack:
    file = folder / "stack.toml"
    file.write_text(f'[stack]\nname = "web"\n[base]\nscratch = true\n[container]\n{container}')
    nowhere = folder / "no-such-file"
    return settle(Question(file, environ={}, user_config=nowhere, site_config=nowhere))


def spec_of(folder: Path, container: str = "", image: Any = IMAGE, soft: Any = (), **more: Any) -> RuntimeSpec:
    own = wanted(settled(folder, container).container, folder, soft)
    return runtime_spec(image, Wanted.from_tree(json.loads(json.dumps(own.to_tree()))), "web-1", **more)


def test_the_images_config_is_what_runs(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    assert spec.argv == ("server", "--flag") and spec.user == "www-data" and spec.cwd == "/srv"
    assert spec.env == {"PATH": "/opt/bin", "A": "image", "B": "image"} and spec.stop_signal == 3
    assert spec.health == Health("test", ("CMD", "check"), interval=3, timeout=5, retries=7)
    assert [(mount.kind, mount.target) for mount in spec.mounts] == [("volume", "/var/lib/data")]
    assert spec.mounts[0].source.startswith("web-1-")
    assert spec.capabilities == DEFAULT_CAPABILITIES and spec.network == "private" and spec.init


def test_the_container_table_is_over_the_image(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        """
        env = { A = "mine" }
        user = "1000:1000"
        ports = ["8080:80", "127.0.0.1:53:53/udp"]
        volumes = ["./data:/srv/data:ro", "cache:/var/cache"]
        tmpfs = ["/run:size=1m"]
        resources = { memory = "64MiB", cpus = 1.5 }
        cap-add = ["CAP_NET_RAW"]
        cap-drop = ["CHOWN"]
        ulimits = { nofile = "64:128" }
        stop-grace-period = "3s"
        healthcheck = { http = "http://127.0.0.1/", interval = "1s" }
        """,
        command=("--other",),
    )
    assert spec.argv == ("server", "--other") and spec.user == "1000:1000" and spec.env["A"] == "mine"
    assert spec.ports == (Port(80, 8080), Port(53, 53, "127.0.0.1", "udp"))
    assert spec.mounts[0] == Mount("tmpfs", "/run", size=1 << 20)
    assert spec.mounts[1] == Mount("bind", "/srv/data", str(tmp_path / "data"), read_only=True)
    assert spec.mounts[2] == Mount("volume", "/var/cache", "cache")
    assert (spec.limits.memory, spec.limits.cpus) == (64 << 20, 1.5)
    assert "NET_RAW" in spec.capabilities and "CHOWN" not in spec.capabilities and spec.added == ("NET_RAW",)
    assert spec.rlimits == {"nofile": (64, 128)} and spec.stop_grace == 3
    assert spec.health is not None and (spec.health.kind, spec.health.interval) == ("http", 1.0)


def test_all_capabilities_can_be_dropped_and_one_given_back(tmp_path: Path) -> None:
    assert spec_of(tmp_path, 'cap-drop = ["ALL"]\ncap-add = ["KILL"]').capabilities == ("KILL",)


def test_a_check_can_be_taken_away(tmp_path: Path) -> None:
    assert spec_of(tmp_path, 'healthcheck = { test = ["NONE"] }').health is None


def test_what_nobody_asked_for_is_soft(tmp_path: Path) -> None:
    assert "resources.pids" in soft_settings(settled(tmp_path))
    assert "resources.pids" not in soft_settings(settled(tmp_path, "resources = { pids = 10 }"))


def test_an_image_without_a_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no command to run"):
        spec_of(tmp_path, image={"config": {}})


def test_ports_without_a_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ports cannot be published"):
        spec_of(tmp_path, 'network = "none"\nports = ["80"]')


def test_with_the_hosts_network_ports_keep_their_number(tmp_path: Path) -> None:
    assert spec_of(tmp_path, 'network = "host"\nports = ["80"]').ports == (Port(80, 80),)
    with pytest.raises(UsageError, match="port 80 cannot become 8080"):
        spec_of(tmp_path, 'network = "host"\nports = ["8080:80"]')


def test_a_spec_survives_its_json(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path, 'ports = ["8080:80"]\ntmpfs = ["/run"]\nulimits = { nofile = 64 }', soft=("resources.pids",)
    )
    assert RuntimeSpec.from_json(spec.to_json()) == spec
    assert RuntimeSpec.from_json(RuntimeSpec("a", ("b",), limits=Limits(memory=1)).to_json()).limits.memory == 1
    with pytest.raises(ValueError, match="not a runtime spec"):
        RuntimeSpec.from_json(b"[]")


def test_a_containers_name_is_the_stacks_and_its_folders() -> None:
    one, other = container_name("web", Path("/a")), container_name("web", Path("/b"))
    assert one != other and one.startswith("web-") and len(one) == 12


def test_signals_by_name_or_number() -> None:
    assert [stop_signal(word) for word in ("SIGQUIT", "quit", "3", 3)] == [3] * 4
    with pytest.raises(UsageError, match="`SIGNOTHING` is not a signal"):
        stop_signal("SIGNOTHING")
