"""`[base] image`: the same tree from a layout, from either archive and from a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Stackbuild
from tests.peers.registry import running_registry
from tests.projects import write_tiny

pytestmark = pytest.mark.root
OWN = '[[layer]]\nname = "own"\nrun = ["read page < /srv/index.html", "echo from $page > /own"]\n'


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with running_registry(tmp_path) as host:
        yield host


def test_an_image_is_a_base_in_every_form(stackbuild: Stackbuild, tmp_path: Path, registry: str) -> None:
    write_tiny(stackbuild.folder, image='env = { COLOUR = "blue" }')
    forms = {
        f"oci:{tmp_path}/dir:v1": f"oci:{tmp_path}/dir:v1",
        f"oci-archive:{tmp_path}/o.tar": f"oci-archive:{tmp_path}/o.tar",
        f"docker-archive:{tmp_path}/d.tar": f"docker-archive:{tmp_path}/d.tar:tiny:v1",
        f"{registry}/team/tiny:1": f"docker://{registry}/team/tiny:1",
    }
    stackbuild("build", *(word for to in forms.values() for word in ("--to", to)))
    other = stackbuild.at(store=tmp_path / "other")  # has none of its blobs
    layers = set()
    for number, base in enumerate(forms):
        (other.folder / "stack.toml").write_text(f'[stack]\nname = "own"\n[base]\nimage = "{base}"\n{OWN}')
        digest = other("build", "--to", f"rootfs:{tmp_path}/tree{number}").out.strip().removeprefix("sha256:")
        assert (tmp_path / f"tree{number}/own").read_text() == "from tiny\n"
        blobs = other.store / "images/blobs/sha256"
        manifest = json.loads((blobs / digest).read_text())
        config = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
        assert "COLOUR=blue" in config["config"]["Env"]
        layers.add(tuple(config["rootfs"]["diff_ids"]))
    assert len(layers) == 1 and len(layers.pop()) == 4
