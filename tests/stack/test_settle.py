"""Layered defaults (DESIGN, section 5): which level wins, what may stand where, and where each value came from."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.settle import write as write_recipes
from stackbuild.core.errors import UsageError
from stackbuild.report.settings import OneSetting, SettledStack
from stackbuild.stack.document import Document
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from stackbuild.stack.table import Table

PROJECT = """\
[stack]
name = "web"
[base]
distro = "debian/bookworm"
[packages]
install = ["nginx-light", "curl", "python3 (>= 3.11)"]
[users.app]
uid = 10001
[[layer]]
name = "site"
copy = [{ from = "site/", to = "/srv/" }]
[[layer]]
name = "tool"
run = ["make", "make install"]
env = { CC = "gcc", "odd key" = "{{ '{{' }}" }
[image]
env = { TZ = "UTC", LANG = "C" }
cmd = ["a", "b"]
[container]
ports = ["8080:80", "53:53/udp"]
volumes = ["./data:/data", "cache:/cache"]
healthcheck = { http = "http://127.0.0.1/", retries = 3 }
env = { LEVEL = "info" }
"""


class World:
    """A project with all the files that may say something about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = self.write("stack.toml", PROJECT)
        self.user = folder / "user.toml"
        self.site = folder / "site.toml"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def settle(self, image_level: dict[str, Any] | None = None, **more: Any) -> Stack:
        question = Question(self.file, user_config=self.user, site_config=self.site, **more)
        return settle(question, image_level=image_level)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def test_a_stack_of_four_lines_has_a_default_for_everything_else(world: World) -> None:
    world.write("stack.toml", '[stack]\nname = "x"\n[base]\ndistro = "debian/bookworm"\n')
    stack = world.settle()
    assert (stack.name, stack.base.kind, stack.base.variant) == ("x", "distro", "apt")
    assert stack.image.platforms == ("linux/amd64",)
    assert stack.container.healthcheck.kind is None
    assert stack.packages.install == ()
    assert stack.lock_file == world.folder / "stack.lock"
    for name in ("packages", "image", "container", "build", "push"):
        model = Document.model_fields[name].annotation
        assert isinstance(model, type) and issubclass(model, Table)
        for key, field in model.model_fields.items():
            if "None" not in str(field.annotation) and field.default is None:
                assert getattr(getattr(stack, name), key) is not None, f"{name}.{key} has no default"


def test_each_level_wins_over_those_below_it(world: World) -> None:
    """engine, site, image, project, profile, user, environment, command line: one more level each time."""
    world.write("stack.toml", '[stack]\nname = "x"\n[base]\nimage = "example.com/base:1"\n')
    more: dict[str, Any] = {}

    def period() -> float:
        return world.settle(**more).container.stop_grace_period

    def said(seconds: int) -> str:
        return f"[container]\nstop-grace-period = {seconds}\n"

    assert period() == 10
    world.write("site.toml", said(1))
    assert period() == 1
    world.write("stack.toml", '[stack]\nname = "x"\n[base]\nimage = "example.com/base:1"\n' + said(2))
    assert period() == 2
    world.write("stack.prod.toml", said(3))
    world.write("stack.big.toml", said(4))
    more["profiles"] = ["prod", "big"]
    assert period() == 4
    more["profiles"] = ["big", "prod"]
    assert period() == 3
    world.write("user.toml", said(5))
    assert period() == 5
    more["environ"] = {"STACKBUILD__CONTAINER__STOP_GRACE_PERIOD": "6"}
    assert period() == 6
    more["sets"] = ["container.stop-grace-period=7", "container.stop-grace-period=8"]
    assert period() == 8
    history = world.settle(**more).settings["container", "stop-grace-period"].history
    assert [entry.value for entry in history] == ["10s", 1, 2, 4, 3, 5, 6, 7, 8]
    assert [entry.origin.level for entry in history] == [
        *["engine", "engine", "project", "profile", "profile", "user", "environment", "command line", "command line"]
    ]


def test_the_base_images_config_is_a_level_between_engine_and_project(world: World) -> None:
    world.write(
        "stack.toml", '[stack]\nname = "x"\n[base]\nimage = "example.com/base:1"\n[image]\nenv = { A = "mine" }\n'
    )
    config = {
        "rootfs": {},
        "config": {
            "Env": ["PATH=/opt/bin:/bin", "A=theirs", "B=2=3", "broken"],
            "User": "1000:1000",
            "Entrypoint": ["/init"],
            "Cmd": ["serve"],
            "WorkingDir": "srv",
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "StopSignal": "sigquit",
            "Labels": {"a": "b"},
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 3},
        },
    }
    image = world.settle(image_level=config).image
    assert dict(image.env) == {"PATH": "/opt/bin:/bin", "A": "mine", "B": "2=3"}
    assert (image.user, image.workdir, image.stop_signal) == ("1000:1000", "/srv", "SIGQUIT")
    assert (image.entrypoint, image.cmd) == (("/init",), ("serve",))
    assert (image.expose, image.volumes, dict(image.labels)) == (("80/tcp",), ("/data",), {"a": "b"})
    assert image.healthcheck is not None
    assert (image.healthcheck.test, image.healthcheck.interval) == (("CMD-SHELL", "true"), 5.0)
    assert str(world.settle(image_level=config).origin("image", "user")) == "example.com/base:1: image.user"


def test_a_new_entrypoint_ends_the_inherited_cmd_and_only_that(world: World) -> None:
    """Docker's rule: the base's arguments were meant for the base's program."""
    base = {"Entrypoint": ["/init"], "Cmd": ["serve"]}
    head = '[stack]\nname = "x"\n[base]\nimage = "example.com/base:1"\n[image]\n'
    for lines, entrypoint, cmd in (
        ("", ("/init",), ("serve",)),
        ('entrypoint = ["/mine"]', ("/mine",), ()),
        ('cmd = ["other"]', ("/init",), ("other",)),
        ('entrypoint = ["/mine"]\ncmd = ["arg"]', ("/mine",), ("arg",)),
    ):
        world.write("stack.toml", head + lines)
        image = world.settle(image_level=base).image
        assert (image.entrypoint, image.cmd) == (entrypoint, cmd)


def test_named_things_merge_by_name_and_others_replace(world: World) -> None:
    world.write(
        "stack.prod.toml",
        """
[base]
image = "example.com/base:1"
[packages]
install = ["curl=7.88*", "!nginx-light", "jq"]
[[layer]]
name = "tool"
env = { CC = "clang" }
[[layer]]
name = "site"
files = [{ path = "/x", content = "y" }]
[[layer]]
name = "last"
remove = ["/y"]
[image]
cmd = ["c"]
env = { LANG = "de" }
[container]
ports = ["127.0.0.1:9090:80"]
volumes = ["other:/cache"]
healthcheck = { tcp = "127.0.0.1:80" }
""",
    )
    stack = world.settle(profiles=["prod"])
    assert (stack.base.kind, stack.base.image) == ("image", "example.com/base:1")
    assert [str(request) for request in stack.packages.install] == ["curl=7.88*", "python3 (>= 3.11)", "jq"]
    assert [(layer.name, layer.action) for layer in stack.layers] == [
        ("site", "files"),
        ("tool", "run"),
        ("last", "remove"),
    ]
    assert stack.layers[1].env["CC"] == "clang"
    assert stack.layers[1].run == ("make", "make install")
    assert stack.image.cmd == ("c",)
    assert {**stack.image.env, "PATH": ""} == {"PATH": "", "TZ": "UTC", "LANG": "de"}
    assert [(port.name, port.host_port) for port in stack.container.ports] == [("80/tcp", 9090), ("53/udp", 53)]
    assert [volume.source for volume in stack.container.volumes] == ["./data", "other"]
    assert (stack.container.healthcheck.kind, stack.container.healthcheck.retries) == ("tcp", 3)
    assert stack.lock_file.name == "stack.prod.lock"


def test_resets_start_over(world: World) -> None:
    world.write(
        "stack.prod.toml",
        """
[packages]
install = [{ reset = true }, "vim"]
[[layer]]
name = "!site"
[image]
env = { "!reset" = true, ONLY = "this" }
cmd = [{ reset = true }, "z"]
""",
    )
    stack = world.settle(profiles=["prod"])
    assert [str(request) for request in stack.packages.install] == ["vim"]
    assert [layer.name for layer in stack.layers] == ["tool"]
    assert dict(stack.image.env) == {"ONLY": "this"}
    assert stack.image.cmd == ("z",)
    assert ("packages", "install", "curl") in stack.everything
    world.write("stack.prod.toml", '[container]\n"!reset" = true\nrestart = "always"\n')
    container = world.settle(profiles=["prod"]).container
    assert (container.ports, container.restart, container.stop_grace_period) == ((), "always", 10)


def test_a_mistake_after_a_marker_still_points_at_its_own_line(world: World) -> None:
    world.write("stack.prod.toml", '[packages]\ninstall = [\n{ reset = true },\n"vim",\n"a b",\n]\n')
    with pytest.raises(UsageError) as found:
        world.settle(profiles=["prod"])
    assert str(found.value.where) == "stack.prod.toml:5: packages.install.2"


@pytest.mark.parametrize("which", ["user", "site"])
def test_a_users_or_sites_config_cannot_change_what_is_in_an_image(world: World, which: str) -> None:
    world.write(
        f"{which}.toml", '[container]\nruntime = "runc"\n[image]\nuser = "root"\n[packages]\ninstall = ["vim"]\n'
    )
    with pytest.raises(UsageError) as found:
        world.settle()
    assert [str(error.where) for error in found.value.errors] == [
        f"{which}.toml:3: image",
        f"{which}.toml:5: packages",
    ]
    assert "project's to say" in found.value.errors[0].why
    world.write(f"{which}.toml", '[container]\nruntime = "runc"\n[registries."example.com"]\nca = "ca.pem"\n')
    stack = world.settle()
    assert stack.container.runtime == "runc"
    assert stack.registries["example.com"].ca == str(world.folder / "ca.pem")  # beside the file that names it


def test_variables_match_known_keys_without_case_and_free_keys_as_written(world: World) -> None:
    stack = world.settle(
        environ={
            "STACKBUILD__CONTAINER__ENV__My_Var": "1.10",
            "STACKBUILD__container__Read_Only": "true",
            "STACKBUILD__CONTAINER__ENV__A__B": '"quoted"',
            "STACKBUILD__LAYER__tool__RUN": '["true"]',
            "STACKBUILD__CONTAINER__RESOURCES__MEMORY": "1GiB",
            "STACKBUILD__CONTAINER__HEALTHCHECK": "{ tcp = 'localhost:80' }",
            "STACKBUILD_STORE": "/nowhere",
        }
    )
    assert dict(stack.container.env) == {"LEVEL": "info", "My_Var": "1.10", "A__B": "quoted"}
    assert stack.container.read_only
    assert stack.layers[1].run == ("true",)
    assert stack.container.resources.memory == 1 << 30
    assert stack.container.healthcheck.kind == "tcp"
    assert stack.origin("container", "read-only").file == "STACKBUILD__container__Read_Only"
    assert [path for path, _ in stack.overrides()] == [("layer", "tool", "copy|files|remove|fetch|run")]


@pytest.mark.parametrize(
    ("sets", "environ", "words"),
    [
        (["nope"], {}, "not KEY=VALUE"),
        (["container.evn.A=1"], {}, "evn"),
        (["container.init=maybe"], {}, "must be true or false"),
        (["=1"], {}, "not KEY=VALUE"),
        ([], {"STACKBUILD__CONTANER__INIT": "true"}, "unknown key `CONTANER`"),
        ([], {"STACKBUILD__CONTAINER__INIT__X": "true"}, "unknown key `X`"),
        ([], {"STACKBUILD__IMAGE__LAYERS": "900"}, "at most 120"),
    ],
)
def test_mistakes_in_variables_and_options_name_them(
    world: World, sets: list[str], environ: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as found:
        world.settle(sets=sets, environ=environ)
    assert found.value.where is not None
    assert found.value.where.file.startswith(("--set", *environ))


def test_mistakes_of_all_files_are_reported_at_once(world: World) -> None:
    world.write("stack.prod.toml", "[container]\ninnit = true\n")
    world.write("user.toml", "[build]\njbos = 1\n")
    with pytest.raises(UsageError) as found:
        world.settle(profiles=["prod"], sets=["image.user=1 2"])
    places = [str(error.where) for error in found.value.errors]
    assert places == ["stack.prod.toml:2: container.innit", "user.toml:2: build.jbos", "--set image.user: image.user"]


def test_a_file_or_profile_that_is_not_there(world: World) -> None:
    with pytest.raises(UsageError, match=r"there is no .*nostack.toml"):
        settle(Question(Path("nostack.toml")))
    world.write("stack.prod.toml", "")
    with pytest.raises(UsageError, match="no profile `prd`") as found:
        world.settle(profiles=["prd"])
    assert "`prod`" in found.value.hints[0].text
    with pytest.raises(UsageError, match="not the name of a profile"):
        world.settle(profiles=["../x"])


def test_two_levels_may_say_a_source_together(world: World) -> None:
    source = '[[packages.source]]\nurl = "https://example.com/d"\nsuites = ["s"]\n'
    world.write("stack.toml", PROJECT + source + 'components = ["main"]\n')
    with pytest.raises(UsageError, match="needs `signed-by`"):
        world.settle()
    world.write("stack.prod.toml", source + 'signed-by = "keys/a.gpg"\nsnapshot = "20261101T000000Z"\n')
    (found,) = world.settle(profiles=["prod"]).packages.source
    assert (found.components, found.signed_by, found.snapshot) == (("main",), "keys/a.gpg", "20261101T000000Z")


def test_origins_of_what_the_plan_asks_for(world: World) -> None:
    stack = world.settle(sets=["container.env.LEVEL=debug"])
    assert str(stack.origin("layer", "tool", "run")) == "stack.toml:14: layer.1.run"
    assert str(stack.origin("layer", "site", "copy", 0, "from")) == "stack.toml:11: layer.0.copy.0.from"
    assert str(stack.origin("packages", "install", "python3")) == "stack.toml:6: packages.install.2"
    assert str(stack.origin("base", "distro")) == "stack.toml:4: base.distro"
    assert stack.origin("container", "env", "LEVEL").level == "command line"
    assert stack.origin("image", "compression").level == "engine"
    assert str(stack.origin("nothing", "at", "all")) == "stack.toml: nothing.at.all"
    assert set(stack.read) == {world.file, world.user, world.site}


def test_what_config_prints_gives_the_same_stack(world: World) -> None:
    world.write(
        "stack.prod.toml",
        '[[layer]]\nname = "note"\nfiles = [{ path = "/n", content = "a\\n\\"b\\" \\\\ é\\u0001" }]\n',
    )
    first = world.settle(profiles=["prod"], sets=["packages.install=['!curl']"])
    for shown in (SettledStack(first), SettledStack(first, origins=True)):
        text = shown.to_text()
        tomllib.loads(text)
        again = settle(Question(world.write("again.toml", text)))
        for name in ("name", "base", "packages", "users", "layers", "image", "push", "container", "build"):
            assert getattr(again, name) == getattr(first, name), name
        assert again.tree == first.tree
        assert SettledStack(again).to_text() == SettledStack(first).to_text()
    json.dumps(shown.to_json())


def test_one_value_with_everything_that_it_overrode(world: World) -> None:
    world.write("user.toml", '[container]\nenv = { LEVEL = "warn" }\n')
    stack = world.settle(sets=["container.env.LEVEL=debug"])
    lines = OneSetting(stack, ("container", "env", "LEVEL")).to_text().splitlines()
    assert [[part.strip() for part in line.split("  # ")] for line in lines] == [
        ['container.env.LEVEL = "debug"', "--set container.env.LEVEL (command line)"],
        ['#   over "warn"', "user.toml:2 (user)"],
        ['#   over "info"', "stack.toml:23 (project)"],
    ]
    found = OneSetting(stack, ("container", "env", "LEVEL")).to_json()
    assert (found["value"], [old["value"] for old in found["over"]]) == ("debug", ["warn", "info"])
    assert OneSetting(stack, ("base", "distro")).to_text().startswith('base.distro = "debian/bookworm"')
    assert "nothing is said" in OneSetting(stack, ("container", "user")).to_text()
    with pytest.raises(UsageError, match="no key") as error:
        OneSetting(stack, ("container", "evn")).to_text()
    assert "`env`" in error.value.hints[0].text


def test_settling_five_recipes_takes_under_fifty_milliseconds(tmp_path: Path) -> None:
    file = write_recipes(tmp_path / "five", 5)
    assert len(settle(Question(file)).layers) == 5
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        settle(Question(file))
        best = min(best, time.process_time() - start)
    assert best < 0.05
