"""The same lock and sources are the same digest: elsewhere, later, for an ordinary user, in a plain container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from benchmarks.engines import podman as podman_of
from tests.conftest import Hello, Person, Stackbuild
from tests.machine import REPOSITORY, need, run
from tests.projects import other_times


def rebuilt(hello: Hello, folder: Path, store: Path, **environ: str) -> str:
    """The digest of the project, built from nothing but its lock and the downloads."""
    other_times(hello.copy_project(folder))
    hello.store_with_downloads(store)
    ran = Stackbuild(folder, store, environ=environ)("--offline", "build", "--locked", timeout=600)
    return ran.out.strip()


def test_another_folder_another_store_other_times_and_another_environment(hello: Hello, tmp_path: Path) -> None:
    odd = {
        "TZ": "Pacific/Auckland",
        "LC_ALL": "C",
        "HOME": str(tmp_path / "home"),
        "USER": "somebody",
        "LANGUAGE": "tr",
    }
    assert rebuilt(hello, tmp_path / "elsewhere/Ünd so", tmp_path / "a store", **odd) == hello.digest


def test_the_chroot_sandbox_gives_the_same_digest(hello: Hello, tmp_path: Path) -> None:
    assert rebuilt(hello, tmp_path / "p", tmp_path / "s", STACKBUILD_SANDBOX="chroot") == hello.digest


def test_rootless_gives_the_same_digest(hello: Hello, person: Person) -> None:
    folder = hello.copy_project(person.home / "project")
    store = person.home / "store"
    store.mkdir()
    for area in ("packages.v1", "indexes.v1"):
        if (hello.store / area).exists():
            shutil.copytree(hello.store / area, store / area)
    run([need("chown"), "-R", f"{person.name}:", person.home])
    assert (
        person.stackbuild(folder)("--offline", "--store", store, "build", "--locked", timeout=600).out.strip()
        == hello.digest
    )
    # Nothing of it needs root to be read by its owner's tools.
    told = person.run(need("skopeo"), "inspect", "--raw", f"oci:{store}/images:hello:latest", code=None)
    assert told.code == 0, told


def test_a_plain_container_gives_the_same_digest(hello: Hello, tmp_path: Path) -> None:
    """As a CI job in podman with its default rights: root, no CAP_SYS_ADMIN, no user namespaces, no network."""
    for program in ("podman", "runc"):
        need(program)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version != "3.11":
        pytest.skip("the image's Python is Debian bookworm's 3.11; the packages of this run are for another")
    folder = hello.copy_project(tmp_path / "project")
    store = hello.store_with_downloads(tmp_path / "store")
    short = Path(tempfile.mkdtemp(prefix="sbp", dir="/tmp"))
    try:
        podman = podman_of(short)
        binds = {
            str(folder): "/project:rw",
            str(store): "/store:rw",
            str(REPOSITORY / "stackbuild"): "/code/stackbuild:ro",
            sysconfig.get_paths()["purelib"]: "/site:ro",
        }
        volumes = [word for source, target in binds.items() for word in ("-v", f"{source}:{target}")]
        environ = ["-e", "PYTHONPATH=/code:/site", "-e", "STACKBUILD_STORE=/store", "-e", "PYTHONDONTWRITEBYTECODE=1"]
        image = f"oci:{hello.layout}:hello:latest"
        options = [
            "--rm",
            "--quiet",
            "--network",
            "none",
            *volumes,
            *environ,
            "-w",
            "/project",
            "--entrypoint",
            "python3",
        ]
        words = ["-m", "stackbuild", "--offline", "build", "--locked"]
        done = podman("run", *options, image, *words, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip().splitlines()[-1] == hello.digest
        assert "chroot" in done.stderr  # it says once what this sandbox does not give
    finally:
        for mount in ("root/overlay",):
            subprocess.run(["umount", "-l", short / mount], stderr=subprocess.DEVNULL)
        shutil.rmtree(short, ignore_errors=True)


def test_building_as_root_leaves_no_files_of_others(hello: Hello) -> None:
    """What a store holds belongs to who built it, but for the trees."""
    strangers = [
        path
        for area in ("images", "packages.v*", "steps.v*")
        for folder in hello.store.glob(area)
        for path in folder.rglob("*")
        if path.lstat().st_uid != os.geteuid()
    ]
    assert not strangers
