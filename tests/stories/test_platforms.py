"""An image for several platforms: built, sent whole to every kind of place, read by others, run as this machine can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.build.image import BuiltImage
from stackbuild.cli.base_image import image_config_and_folders
from stackbuild.cli.building import build, prepare
from stackbuild.cli.options import parse
from stackbuild.cli.wiring import App
from stackbuild.host.processor import native
from tests.conftest import Stackbuild
from tests.machine import need, run
from tests.peers.registry import running_registry
from tests.projects import write_tiny

HERE = native()[0]
BOTH = ("linux/s390x", f"linux/{HERE}")  # of which this machine runs the second


@pytest.fixture
def tiny(tmp_path: Path) -> Stackbuild:
    platforms = f"platforms = {json.dumps(list(BOTH))}\ncmd = ['/bin/sh', '-c', 'true']"
    return Stackbuild(write_tiny(tmp_path / "tiny", image=platforms), tmp_path / "store")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


def platforms_of(document: str) -> list[str]:
    return [f"{one['platform']['os']}/{one['platform']['architecture']}" for one in json.loads(document)["manifests"]]


@pytest.mark.peer
def test_a_registry_and_skopeo_get_all_of_it(tiny: Stackbuild, tmp_path: Path, registry: str) -> None:
    place, skopeo = f"docker://{registry}/team/tiny:1", need("skopeo")
    digest = tiny("build", "--to", place, "--to", f"oci-archive:{tmp_path}/tiny.tar:1").out.strip()
    for source in (place, f"oci-archive:{tmp_path}/tiny.tar:1"):
        raw = run([skopeo, "inspect", "--raw", "--tls-verify=false", source]).out
        assert platforms_of(raw) == list(BOTH)
        for platform in BOTH:
            architecture = platform.split("/")[1]
            words = ["--override-arch", architecture, "--tls-verify=false", source]
            assert json.loads(run([skopeo, "inspect", *words]).out)["Architecture"] == architecture
    run([skopeo, "copy", "-q", "--all", "--insecure-policy", "--src-tls-verify=false", place, f"oci:{tmp_path}/all:1"])
    assert json.loads((tmp_path / "all/index.json").read_text())["manifests"][0]["digest"] == digest
    again = tiny("--progress", "plain", "push", "--to", place)
    assert "0 B sent" in again.err
    (tiny.folder / "site/index.html").write_text("changed\n")
    changed = tiny("build", "--to", place).out.strip()
    raw = run([skopeo, "inspect", "--raw", "--tls-verify=false", place]).out
    assert platforms_of(raw) == list(BOTH) and changed != digest


def test_one_platform_alone_is_the_image_that_the_index_names(tiny: Stackbuild, tmp_path: Path) -> None:
    digest = tiny("build").out.strip()
    index = json.loads((tiny.store / "images/blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    for entry, platform in zip(index["manifests"], BOTH, strict=True):
        archive = tmp_path / f"{platform.replace('/', '-')}.tar"
        one = tiny("build", "--locked", "--platform", platform, "--to", f"docker-archive:{archive}:tiny:1").out.strip()
        assert one.splitlines()[0] == entry["digest"] and archive.exists()
        assert tiny("build", "--platform", platform).out.strip() == entry["digest"]  # from its own stamp
    assert tiny("build").out.strip() == digest
    assert tiny("build", "--platform", BOTH[0], "--platform", BOTH[1]).out.strip() == digest
    assert "linux/s390x" in tiny("build", "-n", "--platform", BOTH[0]).out
    assert BOTH[1] not in tiny("build", "-n", "--platform", BOTH[0]).out


def test_what_cannot_be_is_told(tiny: Stackbuild, tmp_path: Path) -> None:
    refused = tiny("build", "--to", f"docker-archive:{tmp_path}/x.tar", code=2)
    assert "holds one image" in refused.err and ", ".join(BOTH) in refused.err
    assert "--platform linux/s390x" in refused.err and not (tmp_path / "x.tar").exists()
    other = tiny("build", "--platform", "linux/riscv64", code=2)
    assert "tiny is not for it" in other.err and ", ".join(BOTH) in other.err
    assert "stack.toml" in other.err


def test_what_runs_is_this_machines(tiny: Stackbuild, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first platform is another's; the second is that of this processor (or of one that runs its programs)."""
    monkeypatch.chdir(tiny.folder)
    args = parse(["--store", str(tiny.store), "--quiet", "build"])
    with App.of(args, {}) as app:
        image = build(app, prepare(app), args)
        assert isinstance(image, BuiltImage) and image.config["architecture"] == HERE
        assert image_config_and_folders(app, "tiny")[1]["architecture"] == HERE
    rows = json.loads(tiny("images", "--format", "json").out)
    sizes = dict(_layers(tiny.store, rows[0]["digest"]))
    assert rows[0]["size"] == sum(sizes.values())


def _layers(store: Path, digest: str) -> Iterator[tuple[str, int]]:
    """Digest and size of each layer of an image, or of all images of an index."""
    document = json.loads((store / "images/blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    for manifest in document.get("manifests", ()):
        yield from _layers(store, manifest["digest"])
    yield from ((layer["digest"], layer["size"]) for layer in document.get("layers", ()))


@pytest.mark.root
def test_it_starts(tiny: Stackbuild) -> None:
    tiny("build")
    assert tiny("run", "--rm", "--network", "none", "tiny", "/bin/busybox", "echo", "started").out == "started\n"
