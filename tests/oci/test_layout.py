"""The layout is what other tools read and write, survives many processes, and distrusts what it did not write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.core.digest import Digest
from stackbuild.core.errors import HostError, NetworkError, UsageError
from stackbuild.oci.config import parse_config
from stackbuild.oci.descriptor import INDEX, Platform
from stackbuild.oci.layout import Layout
from stackbuild.oci.manifest import make_index, make_manifest
from stackbuild.oci.validate import image_mistakes, layout_mistakes
from tests.oci.samples import sample, sample_config


def run(*argv: str | Path) -> str:
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.peer
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_reads_every_byte_of_it(tmp_path: Path, compression: str) -> None:
    layout, manifest = sample(tmp_path / "a", compression)
    seen = json.loads(run("skopeo", "inspect", f"oci:{layout.path}:1.0"))
    assert seen["Digest"] == manifest.digest
    assert seen["Layers"] == [layer.digest for layer in manifest.layers]
    assert seen["Env"] == ["PATH=/usr/bin:/bin", "EMPTY="]
    run("skopeo", "copy", "--insecure-policy", f"oci:{layout.path}:1.0", f"oci:{tmp_path / 'b'}:2.0")
    assert Layout(tmp_path / "b").open_image("2.0").digest == manifest.digest
    assert not layout_mistakes(Layout(tmp_path / "b"))


@pytest.mark.peer
@pytest.mark.root
def test_umoci_unpacks_the_tree_that_was_meant(tmp_path: Path) -> None:
    layout, _ = sample(tmp_path / "a")
    run("umoci", "unpack", "--image", f"{layout.path}:1.0", tmp_path / "bundle")
    root = os.fsencode(tmp_path / "bundle/rootfs")
    assert sorted(os.listdir(root + b"/etc")) == [b"caf\xe9", b"link", b"motd"]
    assert (tmp_path / "bundle/rootfs/etc/motd").read_text() == "second\n"
    assert (os.stat(root + b"/etc/caf\xe9").st_uid, os.stat(root + b"/etc/caf\xe9").st_gid) == (7, 8)
    assert os.stat(root + b"/opt/a").st_mode & 0o7777 == 0o4755
    assert os.stat(root + b"/opt/a").st_ino == os.stat(root + b"/opt/b").st_ino
    assert os.getxattr(root + b"/opt/" + b"long" * 40, "user.note") == b"kept"


@pytest.mark.peer
def test_a_layout_that_umoci_wrote_is_read(tmp_path: Path) -> None:
    run("umoci", "init", "--layout", tmp_path / "u")
    run("umoci", "new", "--image", f"{tmp_path / 'u'}:x")
    (tmp_path / "file").write_text("hello")
    run("umoci", "insert", "--image", f"{tmp_path / 'u'}:x", tmp_path / "file", "/file")
    image = Layout(tmp_path / "u").open_image("x", Platform("linux", "amd64"))
    assert len(image.layers) == 1
    assert not image_mistakes(image)


def test_the_config_comes_back_as_it_was_said() -> None:
    config = sample_config((Digest("sha256:" + "0" * 64),))
    assert parse_config(config.to_json(), "it") == config


def test_a_tag_moves_and_goes(tmp_path: Path) -> None:
    layout, first = sample(tmp_path / "a")
    second = make_manifest(first.config, first.layers, {"v": "2"})
    layout.add(second.raw, "1.0", {"note": "x"})
    layout.add(first.raw, "old")
    assert [(tag, item.digest) for tag, item in layout.images()] == [("1.0", second.digest), ("old", first.digest)]
    assert layout.open_image("1.0").digest == second.digest
    assert layout.open_image(str(first.digest)).digest == first.digest
    assert layout.remove("1.0") and not layout.remove("1.0")
    with pytest.raises(UsageError, match=r"no image `1\.0`"):
        layout.open_image("1.0")
    assert layout.open_image(str(second.digest)).digest == second.digest, "its blobs stay until they are pruned"


def test_an_image_whose_blob_is_missing_is_not_named(tmp_path: Path) -> None:
    layout, manifest = sample(tmp_path / "a")
    layout.blob_path(manifest.layers[0].digest).unlink()
    with pytest.raises(HostError, match="lacks a blob"):
        layout.add(manifest.raw, "new")


def test_many_processes_name_images_at_once(tmp_path: Path) -> None:
    layout, manifest = sample(tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from stackbuild.oci.layout import Layout\n"
        "layout = Layout(Path(sys.argv[1])); raw = layout.open_image('1.0').manifest.raw\n"
        "for n in range(10): layout.add(raw, f'{sys.argv[2]}.{n}')"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(layout.path), str(n)]) for n in range(4)]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    tags = {tag for tag, _ in layout.images()}
    assert tags == {"1.0"} | {f"{a}.{b}" for a in range(4) for b in range(10)}
    assert not layout_mistakes(layout)
    assert manifest.digest in {item.digest for _, item in layout.images()}


def test_an_index_gives_the_image_of_the_platform(tmp_path: Path) -> None:
    layout, manifest = sample(tmp_path / "a")
    arm = make_manifest(manifest.config, manifest.layers, {"p": "arm"})
    layout.put_bytes(arm.raw, arm.media_type)
    both = make_index(
        [
            replace(arm.descriptor, platform=Platform("linux", "arm64")),
            replace(manifest.descriptor, platform=Platform("linux", "amd64")),
        ]
    )
    layout.add(both.raw, "both")
    assert layout.find("both").media_type == INDEX
    assert layout.open_image("both").digest == manifest.digest
    assert layout.open_image("both", Platform("linux", "arm64", "v8")).digest == arm.digest
    with pytest.raises(NetworkError, match="no image for linux/s390x"):
        layout.open_image("both", Platform("linux", "s390x"))
    assert not layout_mistakes(layout)


def test_every_wrong_byte_is_found(tmp_path: Path) -> None:
    layout, manifest = sample(tmp_path / "a")
    path = layout.blob_path(manifest.layers[1].digest)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert any("layer 1" in line for line in layout_mistakes(layout))
    assert any("another digest" in line for line in layout_mistakes(layout))
