"""The recipes that ship: each settles with each of its examples, says what it is for, and is in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.stack.find_recipe import FILE, SHIPPED
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from stackbuild.stack.try_recipe import header_of, try_recipe
from tests.machine import REPOSITORY

NAMES = sorted(path.parent.name for path in SHIPPED.glob(f"*/{FILE}"))
DOCS = REPOSITORY / "docs" / "howto" / "recipes.md"


def test_they_are_there() -> None:
    assert set(NAMES) >= {"ci-runner", "node-app", "postgres", "python-app", "redis", "web-service", "web-static"}


@pytest.mark.parametrize("name", NAMES)
def test_each_settles_with_each_example(name: str) -> None:
    examples = list((SHIPPED / name / "examples").glob("*.toml"))
    assert len(examples) >= 2 and len(try_recipe(SHIPPED / name, None)) == len(examples)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_for(name: str) -> None:
    header = header_of(SHIPPED / name)
    assert header.name == name and header.description
    assert [param for param, what in header.params.items() if not what.help] == []
    docs = DOCS.read_text()
    assert f"| [`{name}`](#{name}) |" in docs and f"\n## {name}\n" in docs


def settled(folder: Path, text: str) -> Stack:
    (folder / "stack.toml").write_text(f'[stack]\nname = "x"\nrecipes = [{text}]\n')
    return settle(Question(folder / "stack.toml"))


def test_web_static_settles_what_was_asked(tmp_path: Path) -> None:
    plain = settled(tmp_path, '{ use = "web-static" }')
    config = plain.layers[0].files[0].content or ""
    assert "try_files $uri $uri/ =404;" in config and "immutable" not in config
    assert plain.image.user == "www-data" and plain.layers[1].copy_[0].from_ == "./"
    app = settled(tmp_path, '{ use = "web-static", with = { single-page = true, immutable = ["/a.b/"] } }')
    config = app.layers[0].files[0].content or ""
    assert "try_files $uri $uri/ /index.html;" in config and '"~^/a\\.b/" "public, max-age=31536000' in config
    with pytest.raises(Exception, match="does not have the form"):
        settled(tmp_path, '{ use = "web-static", with = { immutable = ["/; return 200"] } }')


def test_web_service_copies_only_what_was_named(tmp_path: Path) -> None:
    stack = settled(tmp_path, '{ use = "web-service", with = { command = ["./a", "b c"], port = 9000 } }')
    assert (stack.layers, stack.image.entrypoint, stack.image.env["PORT"]) == ((), ("./a", "b c"), "9000")
    assert stack.container.healthcheck.http == "http://127.0.0.1:9000/"


def test_servers_are_published_to_this_machine_alone_and_keep_their_ids(tmp_path: Path) -> None:
    for name, uid in (("redis", 901), ("postgres", 900)):
        stack = settled(tmp_path, f'{{ use = "{name}" }}')
        assert stack.users[name].uid == uid and stack.image.user == name
        assert [port.host_ip for port in stack.container.ports] == ["127.0.0.1"]


def test_secrets_of_installing_are_asked_for_only_when_wanted(tmp_path: Path) -> None:
    for name, param, secret in (("python-app", "pip-config", "PIP_CONF"), ("node-app", "npm-config", "NPMRC")):
        command = 'command = ["x"]'
        [stage] = settled(tmp_path, f'{{ use = "{name}", with = {{ {command} }} }}').stages.values()
        assert stage.layers[0].secrets == () and stage.layers[0].network
        use = f'{{ use = "{name}", with = {{ {command}, {param} = true, ca-certs = true }} }}'
        [stage] = settled(tmp_path, use).stages.values()
        assert stage.layers[0].secrets == (secret, "CA_CERTS")
