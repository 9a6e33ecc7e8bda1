"""Ten real stacks in one registry and one store: how much they share, and what an update of one package moves."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.archive import archive, stack_of
from tests.conftest import Hello, Stackbuild
from tests.machine import need, need_root, run
from tests.peers.registry import running_registry

pytestmark = pytest.mark.root

STACKS = {
    "data-science": ("python3", "python3-numpy", "python3-pandas"),
    "git-tools": ("git", "openssh-client", "curl"),
    "java-service": ("openjdk-17-jre-headless", "curl"),
    "media": ("ffmpeg", "python3"),
    "node-service": ("nodejs", "curl"),
    "php-site": ("php-fpm", "apache2"),
    "postgres": ("postgresql",),
    "python-web": ("python3", "curl", "nginx-light"),
    "redis": ("redis-server",),
    "static-site": ("nginx-light",),
}
"""Those of tests/data/sharing, by what they ask for."""

MOVED = "libexpat1"
"""A package of python-web's first wave of which the main archive and the security updates have a version each."""

DATABASE = {"var/lib/dpkg/status"}
"""What the configure layer of a later wave has of all packages, not of its own alone."""


def write(folder: Path, name: str, host: str, more: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "stack.toml").write_text(
        f'[stack]\nname = "{name}"\n[base]\ndistro = "debian/bookworm"\n[packages]\n'
        f"install = {json.dumps(STACKS[name])}\n{more}"
        f'[push]\nto = ["{host}/ten/{name}:latest"]\n[registries."{host}"]\ninsecure = true\n'
    )


def pin(folder: Path) -> str:
    """Lines that hold MOVED at the older of its two versions. folder: where this machine's own apt is asked."""
    said = run([need("apt-cache"), "madison", MOVED], cwd=folder).out
    versions = sorted({line.split("|")[1].strip() for line in said.splitlines()})
    older = [
        v
        for v in versions
        if any(run(["dpkg", "--compare-versions", v, "lt", o], code=None).code == 0 for o in versions)
    ]
    if not older:
        pytest.skip(f"the archives have one version of {MOVED} today")
    return f'[packages.pin.{MOVED}]\nversion = "{older[0]}"\npriority = 1001\n'


def layers(store: Path, name: str) -> dict[str, dict[str, Any]]:
    """Of an image of the store: digest -> size, diff_id, what made it, lowest first."""
    layout = store / "images"

    def blob(digest: str) -> Any:
        return json.loads((layout / "blobs/sha256" / digest.partition(":")[2]).read_bytes())

    manifests = json.loads((layout / "index.json").read_bytes())["manifests"]
    [found] = [m for m in manifests if m["annotations"]["org.opencontainers.image.ref.name"] == f"{name}:latest"]
    manifest = blob(found["digest"])
    config = blob(manifest["config"]["digest"])
    return {
        layer["digest"]: {"size": layer["size"], "diff_id": diff_id, "made": history["created_by"]}
        for layer, diff_id, history in zip(
            manifest["layers"], config["rootfs"]["diff_ids"], config["history"], strict=True
        )
    }


def content(store: Path, digest: str) -> dict[str, tuple[Any, ...]]:
    """Each path of a layer: type, mode, owner, time, target, and the bytes of a file."""
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(store / "images/blobs/sha256" / digest.partition(":")[2]) as tar:
        for one in tar:
            file = tar.extractfile(one) if one.isreg() else None
            found[one.name] = (
                one.type,
                one.mode,
                one.uid,
                one.gid,
                one.mtime,
                one.linkname,
                file.read() if file else b"",
            )
    return found


def megabytes(amount: int) -> str:
    return f"{amount / 1e6:.0f} MB"


def in_registry(folder: Path) -> int:
    """Bytes of all blobs that a registry keeps."""
    return sum(path.stat().st_size for path in folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data"))


def unpacked(store: Path, images: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[int, int]:
    """Bytes of the unpacked layers: of each image for itself, and of all together."""
    sizes: dict[str, int] = {}
    apart = 0
    for image in images.values():
        for layer in image.values():
            hexadecimal = layer["diff_id"].partition(":")[2]
            if hexadecimal not in sizes:
                trees = list(store.glob(f"rootfs.v*/*/{hexadecimal}"))
                sizes[hexadecimal] = int(run(["du", "-sk", *trees[:1]]).out.split()[0]) * 1024 if trees else 0
            apart += sizes[hexadecimal]
    return apart, sum(sizes.values())


def updated(store: Path, before: Mapping[str, Any], after: Mapping[str, Any], package: str) -> list[int]:
    """That an update of one package made others of these layers alone: its group, the configure layer of its wave, and
    in the waves after it the database of all packages. Returns the sizes of the new ones."""
    assert len(after) == len(before)
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    group, own, *later = changed
    assert after[own[1]]["made"].startswith("configure") and f" {package} " in f"{after[own[1]]['made']} "
    assert "configure" not in after[group[1]]["made"]
    for old, new in later:
        assert after[new]["made"].startswith("configure")
        one, other = content(store, old), content(store, new)
        assert {path for path in one | other if one.get(path) != other.get(path)} == DATABASE
    return [after[new]["size"] for _, new in changed]


def test_an_update_of_one_package_changes_its_group_its_waves_layer_and_later_the_database_alone(
    stackbuild: Stackbuild, hello: Hello, tmp_path: Path
) -> None:
    """Three waves of small packages on a real Debian, whose dpkg configures them."""
    need_root()
    with archive(tmp_path / "archive") as made:
        for name in ("first", "second", "third"):
            script = f"#!/bin/sh\necho configured > /var/lib/{name}\n"
            made.package(name, files={f"usr/share/{name}": f"{name}\n", "DEBIAN/postinst": script})
        made.publish()
        file = stack_of(made, stackbuild.folder, ["first", "second", "third"]) / "stack.toml"
        base = f'image = "oci:{hello.layout}:hello:latest"'
        file.write_text(file.read_text().replace('distro = "debian/bookworm"\nvariant = "custom"', base))
        stackbuild("build")
        before = layers(stackbuild.store, "small")
        files = {"usr/share/second": "another\n", "DEBIAN/postinst": "#!/bin/sh\necho again > /var/lib/second\n"}
        made.package("second", "2.0", files=files)
        made.publish()
        stackbuild("lock", "--update", "second")
        stackbuild("build")
    assert len(updated(stackbuild.store, before, layers(stackbuild.store, "small"), "second")) == 3


@pytest.mark.whole
@pytest.mark.timeout(3600)
def test_ten_stacks_in_one_registry_and_an_update_of_one_package(stackbuild: Stackbuild, tmp_path: Path) -> None:
    need_root()
    with running_registry(tmp_path / "registry") as host:
        held = pin(tmp_path)
        for name in STACKS:
            write(stackbuild.folder / name, name, host, held if name == "python-web" else "")
        stackbuild("build", "--push", *STACKS, timeout=3000)
        images = {name: layers(stackbuild.store, name) for name in STACKS}
        common = set.intersection(*(set(image) for image in images.values()))
        apart = sum(layer["size"] for image in images.values() for layer in image.values())
        once = {digest: layer["size"] for image in images.values() for digest, layer in image.items()}
        base = sum(once[digest] for digest in common)
        on_base = base + sum(layer["size"] for i in images.values() for d, layer in i.items() if d not in common)
        kept = in_registry(tmp_path / "registry")
        print(f"layers of ten images {megabytes(apart)}, on one base {megabytes(on_base)}, registry {megabytes(kept)}")
        trees_apart, trees = unpacked(stackbuild.store, images)
        print(f"unpacked: each for itself {megabytes(trees_apart)}, in the store {megabytes(trees)}")
        counts = {name: len(image) for name, image in images.items()}
        print(f"layers {counts}, all different ones {len(once)}, common to all {len(common)}")
        assert kept < sum(once.values()) * 1.01, "each layer is kept once"
        assert kept < 0.62 * apart and kept < on_base
        assert trees < 0.7 * trees_apart

        before = images["python-web"]
        write(stackbuild.folder / "python-web", "python-web", host)
        project = stackbuild.at(stackbuild.folder / "python-web")
        assert f"{MOVED} " in project("lock", "--update", MOVED).out
        project("build", "--push")
        after = layers(stackbuild.store, "python-web")
        sent = in_registry(tmp_path / "registry") - kept
        sizes = updated(stackbuild.store, before, after, MOVED)
        whole = megabytes(sum(layer["size"] for layer in after.values()))
        print(
            f"an update of {MOVED}: of {whole} these layers are others, in bytes: {sizes}; {sent} new to the registry"
        )
        for name in set(STACKS) - {"python-web"}:
            assert layers(stackbuild.store, name) == images[name]
