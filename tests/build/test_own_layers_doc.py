"""The examples of docs/howto/own-layers.md are what the models accept, and make layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stackbuild.stack.image_tables import Layer, UserTable
from tests.build.own import PROGRAMS, Bench, small_tree, write
from tests.machine import REPOSITORY, need_root, once

TEXT = (REPOSITORY / "docs/howto/own-layers.md").read_text()
TABLES = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.S)]
LAYERS = {layer["name"]: layer for table in TABLES for layer in table.get("layer", ())}


@pytest.fixture
def bench(tmp_path: Path, shared: Path) -> Bench:
    need_root()
    base = once(shared / "run-base", lambda folder: small_tree(folder / "root", PROGRAMS))
    project = write(
        tmp_path / "project",
        {"site/index.html": "x", "site/a.tmp": "", "package.json": "{}", "src/a": "a", ".gitignore": ""},
    )
    write(tmp_path, {"token": "a-long-token", "doc/usr/share/doc/x/copyright": "", "cache": None})
    return Bench(
        tmp_path / "work", project, [base / "root", tmp_path / "doc"],
        secrets={"NPM_TOKEN": tmp_path / "token"}, caches={"/root/.cache": tmp_path / "cache"},
    )  # fmt: skip


EXPECTED = {
    "site": {"srv/www/index.html"},
    "manifests": {"app/package.json"},
    "config": {"etc/app/app.conf", "var/log/app.log"},
    "slim": {"var/.wh.www", "usr/share/doc/.wh.x"},
    "assets": {"app/a", "app/stamp"},
    "private": set(),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_makes_the_layer_that_the_page_tells_of(bench: Bench, name: str) -> None:
    model = Layer.model_validate(LAYERS[name])
    values: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    params = {**values, "script": values["run"]} if "run" in values else {model.action: values[model.action]}
    layer = bench.layer(model.action, params)
    folders = {entry for entry, info in layer.entries.items() if info.isdir()}
    assert set(layer.entries) - folders == EXPECTED[name]


def test_every_example_is_tried_or_needs_a_network() -> None:
    assert set(LAYERS) == {*EXPECTED, "tool"}
    assert Layer.model_validate(LAYERS["tool"]).action == "fetch"


def test_the_accounts_are_made(bench: Bench) -> None:
    users = next(table["users"] for table in TABLES if "users" in table)
    dumped = {name: UserTable.model_validate(user).model_dump(mode="json") for name, user in users.items()}
    assert bench.layer("users", {"users": dumped}).facts["ids"] == {"app": [10001, 10001], "worker": [100, 100]}
