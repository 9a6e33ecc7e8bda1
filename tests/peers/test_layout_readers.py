"""The store's images are an OCI layout that any tool reads: skopeo and umoci do."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from tests.conftest import Hello
from tests.machine import need, run

pytestmark = pytest.mark.peer


def test_skopeo_inspects_the_image(hello: Hello, tag: str) -> None:
    told = json.loads(run([need("skopeo"), "inspect", tag]).out)
    assert told["Digest"] == hello.digest and told["Os"] == "linux" and told["Architecture"] == "amd64"
    assert told["Labels"]["org.opencontainers.image.title"] == "hello" and "TZ=UTC" in told["Env"]
    assert told["Created"].startswith("1980-01-01T00:00:01")


def test_skopeo_copies_it_and_finds_the_same_bytes(hello: Hello, tag: str, tmp_path: Path) -> None:
    run([need("skopeo"), "--insecure-policy", "copy", "--quiet", tag, f"oci:{tmp_path / 'copy'}:x"], timeout=120)
    manifest = json.loads((tmp_path / "copy/index.json").read_text())["manifests"][0]
    assert manifest["digest"] == hello.digest


def test_every_layer_says_its_own_diff_id_and_history(hello: Hello) -> None:
    import gzip

    blobs = hello.layout / "blobs/sha256"
    manifest = json.loads((blobs / hello.digest.removeprefix("sha256:")).read_text())
    config = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    layers = [blobs / layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]
    found = []
    for layer in layers:
        hasher = hashlib.sha256()
        with gzip.open(layer) as stream:
            while piece := stream.read(1 << 20):
                hasher.update(piece)
        found.append(f"sha256:{hasher.hexdigest()}")
    assert found == config["rootfs"]["diff_ids"]
    assert len([h for h in config["history"] if not h.get("empty_layer")]) == len(layers)


def test_umoci_unpacks_the_tree(hello: Hello, tag: str, tmp_path: Path) -> None:
    name = tag.removeprefix("oci:")
    run([need("umoci"), "unpack", "--image", name, tmp_path / "bundle"], timeout=120)
    tree = tmp_path / "bundle/rootfs"
    page = tree / "srv/www/index.html"
    assert page.read_text() == "<h1>Hello from stackbuild</h1>\n"
    assert (page.stat().st_uid, stat.S_IMODE(page.stat().st_mode)) == (33, 0o644)
    assert os.readlink(tree / "var/log/nginx/access.log") == "/dev/stdout"
    assert not (tree / "var/www/html").exists()  # removed by a whiteout
    note = tree / "opt/built/note"
    assert note.read_text() == "by a run step\n" and note.stat().st_uid == 10001
    assert stat.S_IMODE((tree / "usr/bin/passwd").stat().st_mode) == 0o4755
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
