"""`[users]`: the account files as useradd(8) writes them, home folders, and ids that are taken."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import StepError
from tests.build.own import COMMON, Bench, Layer, small_tree
from tests.machine import need, need_root


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "work", tmp_path / "project", [small_tree(tmp_path / "base")])


def users(bench: Bench, **found: dict[str, Any]) -> Layer:
    return bench.layer("users", {"users": found})


def last(layer: Layer, name: str) -> str:
    return layer.content(f"etc/{name}").decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "table", "options"),
    [
        ("app", {"uid": 10001, "groups": ["www-data", "adm"]}, ["-u", "10001", "-U", "-G", "www-data,adm"]),
        ("svc", {"uid": 500, "gid": 501, "system": True}, ["-r", "-u", "500", "-g", "svc"]),
        ("plain", {}, ["-U"]),
    ],
)
def test_the_files_are_those_that_useradd_writes(
    bench: Bench, tmp_path: Path, name: str, table: dict[str, Any], options: list[str]
) -> None:
    need_root()
    other = tmp_path / "peer"
    shutil.copytree(bench.lowers[0], other, symlinks=True)
    shutil.copy("/etc/login.defs", other / "etc")
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(COMMON["epoch"])}
    if "-g" in options:
        subprocess.run([need("groupadd"), "--prefix", other, "-g", "501", name], check=True, env=environ)
    shell = ["-s", "/bin/sh", "-d", f"/home/{name}", "-M"]
    subprocess.run([need("useradd"), "--prefix", other, *options, *shell, name], check=True, env=environ)
    layer = users(bench, **{name: {"shell": "/bin/sh", **table}})
    for file in ("passwd", "group", "shadow", "gshadow"):
        mine = sorted(layer.content(f"etc/{file}").decode().splitlines())
        assert mine == sorted((other / "etc" / file).read_text().splitlines()), file


def test_the_layer_holds_the_files_as_they_were_and_the_home(bench: Bench) -> None:
    layer = users(bench, app={"uid": 10001, "groups": ["www-data", "fresh"], "home": "/srv/app"})
    found = {name: (f"{entry.mode:04o}", entry.uid, entry.gid) for name, entry in layer.entries.items()}
    assert found == {
        "etc": ("0755", 0, 0), "etc/group": ("0644", 0, 0), "etc/gshadow": ("0644", 0, 0),
        "etc/passwd": ("0644", 0, 0), "etc/shadow": ("0640", 0, 0), "srv": ("0755", 0, 0),
        "srv/app": ("0755", 10001, 10001),
    }  # fmt: skip
    assert last(layer, "shadow") == "app:!:3652:0:99999:7:::"  # 1980-01-01
    assert last(layer, "group") == "fresh:x:100:app"
    assert "www-data:x:33:app\n" in layer.content("etc/group").decode()
    assert layer.facts["ids"] == {"app": [10001, 10001]} and layer.facts["created_by"] == "users app (10001)"


def test_free_ids_do_not_depend_on_the_order_of_the_table(bench: Bench) -> None:
    tables: dict[str, dict[str, Any]] = {"zed": {}, "abe": {}, "sys": {"system": True}, "own": {"uid": 1000}}
    one = users(bench, **tables)
    two = users(bench, **dict(reversed(tables.items())))
    assert one.digest == two.digest
    assert one.facts["ids"] == {"own": [1000, 1000], "abe": [1001, 1001], "sys": [100, 100], "zed": [1002, 1002]}


def test_a_user_that_is_there_keeps_its_ids_and_joins_groups(bench: Bench) -> None:
    layer = users(bench, **{"www-data": {"uid": 33, "groups": ["adm"], "shell": "/bin/sh"}})
    assert list(layer.entries) == ["etc", "etc/group", "etc/gshadow"]
    assert "adm:x:4:www-data\n" in layer.content("etc/group").decode()
    assert users(bench, **{"www-data": {}}).facts["empty"] is True


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("app", {"uid": 33}, "the user `app` cannot have the id 33: it belongs to the user `www-data` of the layers"),
        ("app", {"gid": 4}, "the group `app` cannot have the id 4: it belongs to the group `adm` of the layers below"),
        ("www-data", {"uid": 34}, "`www-data` cannot have the uid 34: the layers below have it with the uid 33"),
        ("adm", {"gid": 9}, "`adm` cannot have the gid 9: the layers below have it with the gid 4"),
    ],
)
def test_an_id_that_is_taken_is_an_error(bench: Bench, name: str, table: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError) as error:
        users(bench, **{name: table})
    assert str(error.value).startswith(message) and error.value.hints


def test_an_empty_tree_gets_files_of_its_own_and_no_shadow(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for bench.lowers in ([], [tmp_path / "empty"]):
        layer = users(bench, app={"uid": 7, "home": "/nonexistent"})
        assert layer.content("etc/passwd") == b"app:!:7:7::/nonexistent:/bin/sh\n"
        assert list(layer.entries) == ["etc", "etc/group", "etc/passwd"]


def test_a_home_that_is_there_stays_as_it_is(bench: Bench) -> None:
    layer = users(bench, app={"uid": 7, "home": "/var/www"})
    assert not [name for name in layer.entries if name.startswith("var")]
