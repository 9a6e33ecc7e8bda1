"""A copy source, a fetched archive or a tree cannot reach outside the root it belongs to, nor hide a deletion."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.project_files import ProjectFiles
from stackbuild.core.errors import StackError, StepError, UsageError
from tests.build.own import ORIGIN, Bench, small_tree, write

SECRET = "the host's own"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write(tmp_path / "outside", {"secret": SECRET, "deep/secret": SECRET})
    project = write(tmp_path / "project", {"site/index.html": "x", "real/file": "inside"})
    return Bench(tmp_path / "work", project, [small_tree(tmp_path / "base")])


@pytest.mark.parametrize(
    ("link", "target", "source", "named"),
    [
        ("leak", "../outside/secret", "leak", "leak"),
        ("leak", "../outside", "leak/deep", "leak"),
        ("leak", "../outside", "leak/*", "leak"),
        ("site/up", "../../outside", "site/up/secret", "site/up"),
        ("leak", "/etc", "leak/passwd", "leak"),
        ("leak", "..", "leak/outside/secret", "leak"),
        ("leak", "site/../../outside/secret", "lea?", "leak"),
    ],
)
def test_a_source_that_leaves_through_a_link_is_refused_and_named(
    bench: Bench, link: str, target: str, source: str, named: str
) -> None:
    (bench.project / link).symlink_to(target)
    with pytest.raises(UsageError) as error:
        ProjectFiles(bench.project).select(source, where=ORIGIN)
    assert str(error.value).startswith("stack.toml:7: layer.site.copy: `")
    assert f"leaves the project: `{named}` is a link to /" in str(error.value)


@pytest.mark.parametrize("source", ["../outside/secret", "site/../../outside", "/etc/passwd", "..", "a/../.."])
def test_a_source_that_leaves_by_its_name_is_refused(bench: Bench, source: str) -> None:
    with pytest.raises(UsageError, match="leaves the project"):
        ProjectFiles(bench.project).select(source)


def test_a_link_inside_a_folder_is_copied_as_a_link_wherever_it_leads(bench: Bench) -> None:
    (bench.project / "site/abs").symlink_to("/etc/shadow")
    (bench.project / "site/up").symlink_to("../../outside")
    layer = bench.layer("copy", {"copy": [{"from": "site/", "to": "/www/"}]})
    assert layer.entries["www/abs"].linkname == "/etc/shadow" and layer.entries["www/up"].issym()
    assert SECRET.encode() not in layer.blob and set(layer.entries) == {"www", "www/abs", "www/up", "www/index.html"}


def test_links_within_the_project_may_be_named(bench: Bench) -> None:
    (bench.project / "current").symlink_to("real")
    (bench.project / "abs").symlink_to(bench.project / "real/file")
    layer = bench.layer("copy", {"copy": [{"from": "current/", "to": "/a/"}, {"from": "abs", "to": "/b"}]})
    assert layer.content("a/file") == layer.content("b") == b"inside"


def test_a_project_reached_through_a_link_is_the_project(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("project")
    assert ProjectFiles(tmp_path / "way").select("site")[0].name == "site"


def test_an_ignore_file_cannot_be_outside(bench: Bench) -> None:
    (bench.project / "ig").symlink_to("../outside/secret")
    with pytest.raises(UsageError, match="`ig` leaves the project"):
        ProjectFiles(bench.project).select("site", ignore="ig")


def test_what_is_neither_file_folder_nor_link_is_refused(bench: Bench) -> None:
    os.mkfifo(bench.project / "site/pipe")
    with pytest.raises(UsageError, match="`site/pipe` cannot be copied: it is neither a file, a folder nor a link"):
        ProjectFiles(bench.project).select("site")
    assert ProjectFiles(bench.project).select("site", exclude=["pipe"])
    here = os.getcwd()
    os.chdir(bench.project)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("sock")
    finally:
        os.chdir(here)
    with pytest.raises(UsageError, match="`sock` cannot be copied"):
        ProjectFiles(bench.project).select("sock")


@pytest.mark.parametrize("name", [".wh.passwd", ".wh..wh..opq", ".wh.d/x"])
def test_a_name_that_means_a_deletion_is_refused(bench: Bench, name: str) -> None:
    write(bench.project, {f"site/{name}": ""})
    with pytest.raises(StepError, match=r"names that begin with `\.wh\.` mean deletions"):
        bench.layer("copy", {"copy": [{"from": "site/", "to": "/etc/"}]})
    write(bench.lowers[0], {"usr/bin/sh": "never started"})
    with pytest.raises(StepError, match=r"names that begin with `\.wh\.` mean deletions"):
        bench.layer("run", {"script": ["true"], "inputs": ["site"]})


def test_names_that_are_no_text_survive(bench: Bench) -> None:
    with open(os.fsencode(bench.project) + b"/site/\xff\n\xe9", "w") as file:
        file.write("bytes")
    layer = bench.layer("copy", {"copy": [{"from": "site/", "to": "/www/"}]}, worker=True)
    assert layer.content("www/\udcff\n\udce9") == b"bytes"


def test_links_of_the_tree_stay_in_the_tree(bench: Bench, tmp_path: Path) -> None:
    base = bench.lowers[0]
    (base / "srv").symlink_to(tmp_path / "outside")
    (base / "up").symlink_to("../../../../../../../../../../etc")
    layer = bench.layer("files", {"files": [{"path": "/srv/new", "content": "x"}, {"path": "/up/new", "content": "y"}]})
    assert "etc/new" in layer.entries and f"{tmp_path}/outside/new".lstrip("/") in layer.entries
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["deep", "secret"]


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o644
    return info


ATTACKS = {
    "dots": [member("../../escaped")],
    "absolute": [member("/tmp/escaped")],
    "through a link": [member("l", tarfile.SYMTYPE, "OUT"), member("l/escaped")],
    "hard link": [member("h", tarfile.LNKTYPE, "OUT/secret")],
    "hard link by dots": [member("h", tarfile.LNKTYPE, "../../../outside/secret")],
    "hard link through a link": [member("l", tarfile.SYMTYPE, "OUT"), member("h", tarfile.LNKTYPE, "l/secret")],
    "whiteout": [member(".wh.bin")],
    "device": [member("d", tarfile.CHRTYPE)],
    "pipe": [member("p", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_fetched_archive_writes_and_reads_nothing_outside(bench: Bench, tmp_path: Path, attack: str) -> None:
    outside = tmp_path / "outside"
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for info in ATTACKS[attack]:
            info.linkname = info.linkname.replace("OUT", str(outside))
            archive.addfile(info, io.BytesIO())
    try:
        blob = _unpacked(bench, tmp_path / "evil.tar").blob
    except StackError as error:
        assert "evil cannot be unpacked" in str(error) or "`.wh.`" in str(error)
        blob = b""
    assert SECRET.encode() not in blob
    assert sorted(path.name for path in outside.iterdir()) == ["deep", "secret"]
    assert not Path("/tmp/escaped").exists()
    assert all(path.is_relative_to(bench.folder) for path in tmp_path.rglob("escaped"))
    if attack in ("whiteout", "pipe"):
        assert not blob, "it would have meant something in the layer"


def _unpacked(bench: Bench, archive: Path) -> Any:
    bench.fetched = {"fetch/0": archive}
    item = {"input": "fetch/0", "to": "/opt/", "unpack": True, "name": "evil"}
    return bench.layer("copy", {"fetched": [item]})


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "l/escaped"])
def test_a_fetched_zip_writes_nothing_outside(bench: Bench, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        link = zipfile.ZipInfo("l")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "outside"))
        archive.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(StepError, match="evil cannot be unpacked"):
        _unpacked(bench, tmp_path / "z")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("data", [b"", b"no archive at all" * 100, b"\x1f\x8b\x08garbage", b"PK\3\4garbage", b"BZh9x"])
def test_what_is_no_archive_is_an_error(bench: Bench, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "z").write_bytes(data)
    with pytest.raises(StepError, match="evil cannot be unpacked"):
        _unpacked(bench, tmp_path / "z")
