"""What a facet says of a tree: only what it was asked, in one form, whatever the layers that the tree is made of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.tree_part import TreePart
from tests.build.own import Bench, small_tree, write

WANTED = {"users": ["www-data", "nobody"], "groups": ["adm"], "paths": ["/bin/tool", "/srv/www/"]}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "work", write(tmp_path / "project", {"x": ""}), [small_tree(tmp_path / "base")])


def facet(bench: Bench, params: dict[str, Any]) -> bytes:
    result, _ = bench.facet(params)
    return (bench.folder / "blobs" / result.outputs["facet"].digest).read_bytes()


def folder(mode: int = 0o755) -> dict[str, Any]:
    return {"kind": "dir", "mode": mode, "uid": 0, "gid": 0, "target": ""}


def test_it_holds_ids_and_each_ancestor_with_links_resolved(bench: Bench) -> None:
    assert json.loads(facet(bench, WANTED)) == {
        "users": {"www-data": [33, 33], "nobody": None},
        "groups": {"adm": 4},
        "paths": {
            "bin": {"kind": "symlink", "mode": 0o777, "uid": 0, "gid": 0, "target": "usr/bin"},
            "usr": folder(),
            "usr/bin": folder(),
            "usr/bin/tool": None,
            "srv": None,
            "srv/www": None,
        },
        "near": {"user nobody": []},
    }


def test_it_is_the_same_for_any_cut_into_layers(bench: Bench, tmp_path: Path) -> None:
    before = facet(bench, WANTED)
    upper = write(tmp_path / "upper", {"usr/bin/.wh.other": "", "var/new": "x", "usr/share/y": ""})
    os.mknod(upper / "usr/bin/gone", 0o020000, 0)  # the other form of a whiteout
    bench.lowers = [*bench.lowers, upper]
    assert facet(bench, WANTED) == before
    write(upper, {"usr/bin/tool": ""})
    assert facet(bench, WANTED) != before


def test_it_changes_with_the_mode_owner_or_attributes_of_an_ancestor(bench: Bench) -> None:
    before = facet(bench, WANTED)
    (bench.lowers[0] / "usr/bin").chmod(0o2755)
    with_mode = facet(bench, WANTED)
    os.setxattr(bench.lowers[0] / "usr", "user.note", b"\xff")
    with_note = facet(bench, WANTED)
    assert len({before, with_mode, with_note}) == 3
    part = TreePart.from_json(with_note)
    usr = part[b"usr"]
    assert usr is not None and usr.xattrs == {b"user.note": b"\xff"} and part.to_json() == with_note


def test_names_that_are_no_text_survive(bench: Bench) -> None:
    (bench.lowers[0] / "l").symlink_to(b"/\xff\n".decode("utf-8", "surrogateescape"))
    part = TreePart.from_json(facet(bench, {"paths": ["/l/x"]}))
    link = part[b"l"]
    assert link is not None and link.target == b"/\xff\n" and b"\xff\n/x" in part.paths


def test_what_a_layer_does_says_what_its_facet_asks(bench: Bench) -> None:
    write(bench.project, {"site/css/a": "", "one": ""})
    params = {
        "copy": [
            {"from": "site", "to": "/srv/", "owner": "www-data:33"},
            {"from": "one", "to": "/opt/", "owner": ":adm"},
        ]
    }
    _, inputs = bench.facet(params)
    assert inputs.params == {
        "users": ["www-data"],
        "groups": ["adm"],
        "paths": ["/opt/", "/opt//one", "/srv/", "/srv//css"],
    }
    part = TreePart.from_json(facet(bench, params))
    assert set(part.paths) == {b"opt", b"opt/one", b"srv", b"srv/css"}
