"""`cache ls|du|prune|verify`, `tag`, `rmi`: a real store, its images kept, its damage found."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackbuild.cli import building
from stackbuild.cli.options import parse
from stackbuild.cli.wiring import App
from stackbuild.core import stamps
from tests.conftest import Stackbuild
from tests.machine import REPOSITORY, need_root
from tests.projects import write_tiny

pytestmark = pytest.mark.root
RUN = '[[layer]]\nname = "made"\nrun = ["echo made > /made"]\n'


@pytest.fixture
def built(stackbuild: Stackbuild) -> Stackbuild:
    need_root()
    write_tiny(stackbuild.folder, layers=RUN)
    stackbuild("build")
    return stackbuild


def data(stackbuild: Stackbuild, *words: str, code: int = 0) -> Any:
    return json.loads(stackbuild(*words, "--format", "json", code=code).out)


def test_ls_and_du_tell_what_is_kept_and_what_can_go(built: Stackbuild) -> None:
    items = data(built, "cache", "ls")
    kept = [item for item in items if item["kept_by"] == "tag tiny:latest"]
    assert len(kept) == 6  # manifest, config, four layers
    assert {item["area"] for item in items} >= {"images", "rootfs.v1"}
    total = data(built, "cache", "du")
    assert total["can_go"] == sum(item["size"] for item in items if not item["kept_by"])
    assert {area["name"] for area in total["areas"]} >= {"images", "steps.v2", "rootfs.v1"}
    assert "tag tiny:latest" in built("cache", "ls").out and "CAN GO" in built("cache", "du").out


def test_prune_leaves_the_tagged_image_and_rmi_lets_it_go(built: Stackbuild) -> None:
    first = built("build").out
    built("tag", "tiny", "safe:1")
    would = data(built, "cache", "prune", "--all", "--dry-run")
    gone = data(built, "cache", "prune", "--all")
    assert {item["path"] for item in gone["items"]} == {item["path"] for item in would["items"]} and gone["size"] > 0
    assert not [item for item in data(built, "cache", "ls") if not item["kept_by"]]
    assert built("build", "--to", f"oci:{built.folder}/out").out == first  # nothing of the image was lost
    built("rmi", "tiny")
    assert "tag safe:1" in built("cache", "ls").out
    built("rmi", "safe:1")
    data(built, "cache", "prune", "--all")
    assert data(built, "cache", "ls") == []
    assert built("build").out == first
    assert "did you" not in built("rmi", "nothing", code=2).err and "tiny:latest" in built("rmi", "tin", code=2).err


def test_prune_wants_to_know_how_much(built: Stackbuild) -> None:
    said = built("cache", "prune", code=2)
    assert "--older-than" in said.err and "max-cache-size" in said.err
    assert data(built, "cache", "prune", "--older-than", "7d")["items"] == []
    (built.folder / "stack.toml").open("a").write('[build]\nmax-cache-size = "1kB"\n')
    assert data(built, "cache", "prune")["items"]


def test_a_build_keeps_the_store_to_its_limit(built: Stackbuild) -> None:
    (built.folder / "site/index.html").write_bytes(b"a" * 400_000)
    built("build")
    text = (built.folder / "stack.toml").read_text()
    (built.folder / "stack.toml").write_text(text + '[build]\nmax-cache-size = "1kB"\n')
    (built.folder / "site/index.html").write_text("small\n")
    ran = built("build")
    assert "max-cache-size" in ran.err
    assert built("build").out == ran.out
    left = [path for path in built.store.rglob("index.html") if path.is_file()]
    assert left and not [path for path in left if path.stat().st_size == 400_000]


def layer_of(store: Path, number: int = -1) -> Path:
    index = json.loads((store / "images/index.json").read_text())
    blobs = store / "images/blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][-1]["digest"][7:]).read_text())
    digest: str = manifest["layers"][number]["digest"]
    return blobs / digest[7:]


def record_of(store: Path) -> Path:
    return max((store / "steps.v2/results").glob("??/*"), key=lambda path: path.stat().st_mtime)


def tree_of(store: Path) -> Path:
    return next(path for path in (store / "rootfs.v1").rglob("made") if path.is_file())


def flip(path: Path) -> None:
    """One bit in the middle of a file; length and times stay."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with open(path, "r+b") as file:
        file.write(content)


@pytest.mark.parametrize(
    ("find", "area"),
    [
        (layer_of, "images"),
        pytest.param(record_of, "steps.v2", marks=pytest.mark.whole),
        (tree_of, "rootfs.v1"),
    ],
)
def test_verify_finds_one_flipped_bit_and_the_next_build_makes_it_again(
    built: Stackbuild, find: Callable[[Path], Path], area: str
) -> None:
    first = built("build").out
    assert data(built, "cache", "verify")["bad"] == []
    flip(find(built.store))
    bad = data(built, "cache", "verify")["bad"]
    assert [one["area"] for one in bad] == [area]
    assert all(one["dropped"] for one in bad)
    assert data(built, "cache", "verify")["bad"] == []
    assert built("build").out == first
    assert built("build", "--to", f"oci:{built.folder}/out").out == first


def test_the_commands_of_the_page_work(stackbuild: Stackbuild) -> None:
    need_root()
    write_tiny(stackbuild.folder, name="hello", layers=RUN)
    stackbuild("build")
    page = (REPOSITORY / "docs/howto/cache.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(lines) == 9
    for line in lines:
        stackbuild(*line.split()[1:])


def test_a_damaged_layer_is_found_when_it_is_needed_and_made_again(built: Stackbuild) -> None:
    lowest = layer_of(built.store, 0)
    whole = lowest.read_bytes()
    shutil.rmtree(built.store / "rootfs.v1")  # so that it has to be unpacked
    flip(lowest)
    write_tiny(built.folder, layers=RUN.replace("echo made", "echo other"))
    ran = built("build")
    assert f"{lowest.name} was damaged" in ran.err and "copy/busybox" in ran.err
    assert lowest.read_bytes() == whole
    clean = built.at(store=built.store.with_name("clean"))
    assert clean("build").out == ran.out


def test_a_damaged_layer_is_made_again_for_who_reads_it_after_the_build(built: Stackbuild) -> None:
    """No step has to run: it is sending the image, or starting it, that reads the layer."""
    first, lowest = built("build").out, layer_of(built.store, 0)
    whole = lowest.read_bytes()
    flip(lowest)
    failed = built("push", "--to", f"oci:{built.folder}/a", code=5)
    assert f"{lowest.name} was damaged and is dropped" in failed.err and not lowest.exists()
    assert "lost" in built("push", "--to", f"oci:{built.folder}/a", code=5).err
    assert built("build").out == first
    flip(lowest)
    sent = built("build", "--to", f"oci:{built.folder}/b")
    assert sent.out.startswith(first) and f"{lowest.name} was damaged" in sent.err
    assert lowest.read_bytes() == (built.folder / "b/blobs/sha256" / lowest.name).read_bytes() == whole
    shutil.rmtree(built.store / "rootfs.v1")
    flip(lowest)
    ran = built("up", "-d")
    try:
        assert f"{lowest.name} was damaged" in ran.err and lowest.read_bytes() == whole
    finally:
        built("down")


def test_a_damaged_download_is_fetched_again_and_areas_of_other_versions_are_left_alone(built: Stackbuild) -> None:
    (built.folder / "tool").write_bytes(b"tool" * 1000)
    sha = hashlib.sha256(b"tool" * 1000).hexdigest()
    layer = (
        f'[[layer]]\nname = "tool"\nfetch = [{{ url = "file:{built.folder}/tool", sha256 = "{sha}", to = "/TO" }}]\n'
    )
    write_tiny(built.folder, layers=layer)
    old = built.store / "steps.v1/results/aa/bb"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    built("build")
    flip(built.store / "packages.v1/sha256" / sha)
    write_tiny(built.folder, layers=layer.replace("/TO", "/tool"))
    ran = built("build")
    assert f"{sha} was damaged" in ran.err
    assert (built.store / "packages.v1/sha256" / sha).read_bytes() == b"tool" * 1000
    assert old.read_text() == "{}" and "another version" in built("cache", "du").out
    data(built, "cache", "prune", "--all")
    assert not (built.store / "steps.v1").exists()


@pytest.mark.root
def test_a_build_names_its_image_again_after_its_name_was_taken_away(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder)
    digest = stackbuild("build").out
    assert "is up to date" in stackbuild("build").err
    stackbuild("rmi", "tiny")
    assert stackbuild("build").out == digest
    assert "tiny" in stackbuild("images").out


def test_a_name_that_goes_while_its_build_ends_is_given_again_by_the_next(
    built: Stackbuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rmi` of another process, after the image was named and before the build has kept its stamp."""
    monkeypatch.chdir(built.folder)
    args = parse(["--store", str(built.store), "--quiet", "build", "-B"])
    remember = building.remember

    def late(app: App, *words: Any) -> None:
        app.layout.remove("tiny:latest")
        stamps.forget(app.paths.stamps)
        remember(app, *words)

    monkeypatch.setattr(building, "remember", late)
    with App.of(args, {}) as app:
        app.started -= 10**9  # as if the project were older
        assert building.build(app, building.prepare(app, again=True), args) is not None
    assert built("images").out.count("tiny") == 0
    assert "is up to date" not in built("build").err
    assert built("images").out.count("tiny") == 1


def test_images_names_one_that_is_damaged_and_the_next_build_mends_it(built: Stackbuild) -> None:
    ((name, digest),) = [(one["name"], one["digest"]) for one in data(built, "images")]
    blob = built.store / "images/blobs/sha256" / digest[7:]
    blob.write_bytes(b"{}")
    ran = built("images")
    assert f"{name} is damaged" in ran.err and digest[:19] in ran.out
    assert "Traceback" not in built("tag", "tiny", "tiny:other", code=4).err
    assert built("build").out.strip() == digest
    assert "damaged" not in built("images").err
