"""A layer of several packages names each path once: podman and Docker refuse one that does not."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

from stackbuild.build.do.unpack import do
from stackbuild.core.action import Action, Blob, Room
from stackbuild.core.digest import digest_of_file
from tests.machine import need, run


def deb(folder: Path, name: str, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    """A package of these files and hard links (new name -> existing one)."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example.com>\nDescription: x\n"
    )
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for new, old in (links or {}).items():
        os.link(tree / old, tree / new)
    run([need("dpkg-deb"), "--root-owner-group", "-Zgzip", "-b", tree, folder / f"{name}.deb"])
    return folder / f"{name}.deb"


def layer_of(tmp_path: Path, debs: list[Path]) -> tuple[tarfile.TarFile, Path]:
    """What `unpack` makes of them: the layer, and its unpacked tree."""
    packages = [{"name": d.stem, "version": "1", "architecture": "all", "file": d.name} for d in debs]
    inputs = {f"packages/{d.name}": Blob(*digest_of_file(d)) for d in debs}
    params: dict[str, Any] = {"packages": packages, "epoch": 315532801}
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    action = Action("unpack", params, inputs, (), ("layer",), "linux/amd64")
    do(action, Room({f"packages/{d.name}": d for d in debs}, (), out, scratch))
    return tarfile.open(out / "layer"), out / "tree"


def test_shared_folders_are_named_once(tmp_path: Path) -> None:
    one = deb(tmp_path, "one", {"usr/share/one/a": "1"})
    two = deb(tmp_path, "two", {"usr/share/two/b": "2", "usr/share/one/c": "3"})
    layer, tree = layer_of(tmp_path, [one, two])
    names = layer.getnames()
    assert len(names) == len(set(names)) and {"usr", "usr/share", "usr/share/one/a", "usr/share/one/c"} <= set(names)
    for name in names:  # a folder stands before what is in it
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name)
    assert (tree / "usr/share/one/c").read_text() == "3"


def test_of_a_file_that_two_packages_ship_the_last_is_kept_and_its_hard_links_keep_theirs(tmp_path: Path) -> None:
    old = deb(
        tmp_path,
        "old",
        {"usr/bin/x": "old", "usr/bin/other": "other"},
        {"usr/bin/y": "usr/bin/x", "usr/bin/z": "usr/bin/x"},
    )
    new = deb(tmp_path, "new", {"usr/bin/x": "new"})
    layer, tree = layer_of(tmp_path, [old, new])
    names = layer.getnames()
    assert len(names) == len(set(names))
    layer.extractall(tmp_path / "read", filter="fully_trusted")
    for root in (tree, tmp_path / "read"):
        assert [(root / "usr/bin" / n).read_text() for n in ("x", "y", "z", "other")] == ["new", "old", "old", "other"]
        assert (root / "usr/bin/y").samefile(root / "usr/bin/z")
