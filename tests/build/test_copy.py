"""`copy` and `fetch` layers: what is where, with which owner and mode; the same bytes whatever the checkout."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.steps.copy import Copy
from stackbuild.core.errors import StepError, UsageError
from tests.build.own import LATE, Bench, Layer, edit_late, small_tree, write
from tests.machine import need_root

SITE = {
    "site/index.html": "hello",
    "site/css/a.css": "a",
    "site/bin/tool": "#!/bin/sh\n",
    "site/latest": "-> css",
    "site/empty": None,
    "package.json": "{}",
    "package-lock.json": "{}",
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    project = write(tmp_path / "project", SITE)
    (project / "site/bin/tool").chmod(0o755)
    return Bench(tmp_path / "work", project, [small_tree(tmp_path / "base")])


def copy(bench: Bench, *items: Mapping[str, Any]) -> Layer:
    return bench.layer("copy", {"copy": list(items)})


def modes(layer: Layer) -> dict[str, str]:
    return {name: f"{entry.mode:04o} {entry.uid}:{entry.gid}" for name, entry in layer.entries.items()}


def test_a_folders_content_goes_into_the_target_with_owner_and_normal_modes(bench: Bench) -> None:
    layer = copy(bench, {"from": "site/", "to": "/srv/www/", "owner": "www-data"})
    assert modes(layer) == {
        "srv": "0755 0:0",  # a missing parent is root's
        "srv/www": "0755 33:33",
        "srv/www/bin": "0755 33:33",
        "srv/www/bin/tool": "0755 33:33",
        "srv/www/css": "0755 33:33",
        "srv/www/css/a.css": "0644 33:33",
        "srv/www/empty": "0755 33:33",
        "srv/www/index.html": "0644 33:33",
        "srv/www/latest": "0777 33:33",
    }
    assert layer.entries["srv/www/latest"].linkname == "css"
    assert layer.content("srv/www/index.html") == b"hello"
    assert {entry.mtime for entry in layer.entries.values()} == {315532801}
    assert layer.facts["created_by"] == "copy site/ to /srv/www/" and layer.facts["empty"] is False


def test_a_file_goes_to_the_path_or_into_the_folder_as_with_docker(bench: Bench) -> None:
    (bench.lowers[0] / "srv/there").mkdir(parents=True)
    one = {"from": "package.json"}
    assert list(copy(bench, {**one, "to": "/srv/x"}).entries) == ["srv", "srv/x"]
    assert list(copy(bench, {**one, "to": "/srv/x/"}).entries) == ["srv", "srv/x", "srv/x/package.json"]
    assert "srv/there/package.json" in copy(bench, {**one, "to": "/srv/there"}).entries
    several = copy(bench, {"from": "package*.json", "to": "/app/"})
    assert list(several.entries) == ["app", "app/package-lock.json", "app/package.json"]


def test_several_sources_need_a_target_that_is_written_as_a_folder(bench: Bench) -> None:
    with pytest.raises(UsageError) as error:
        copy(bench, {"from": "package*.json", "to": "/app"})
    assert "`package*.json` is 2 sources, and `/app` is not written as a folder" in str(error.value)
    assert error.value.hints[0].text == 'write to = "/app/"'


@pytest.mark.parametrize(
    ("mode", "index", "tool", "folder"),
    [("a+rX", 0o644, 0o755, 0o755), ("0600", 0o600, 0o600, 0o700), ("go=", 0o600, 0o700, 0o700)],
)
def test_modes_are_chmods(bench: Bench, mode: str, index: int, tool: int, folder: int) -> None:
    entries = copy(bench, {"from": "site", "to": "/www", "mode": mode}).entries
    assert [entries[name].mode for name in ("www/index.html", "www/bin/tool", "www/css")] == [index, tool, folder]


def test_links_of_the_tree_are_followed_and_stay(bench: Bench) -> None:
    write(bench.project, {"root/bin/mine": "x", "root/var/www/page": "y"})
    (bench.lowers[0] / "var/www").chmod(0o2750)
    os.chown(bench.lowers[0] / "var/www", 33, 33)
    layer = copy(bench, {"from": "root/", "to": "/"})
    assert list(layer.entries) == ["usr", "usr/bin", "usr/bin/mine", "var", "var/www", "var/www/page"]
    assert modes(layer)["var/www"] == "2750 33:33"  # what is there keeps its mode and owner
    (bench.lowers[0] / "data").symlink_to("/var/lib/data")
    assert "var/lib/data/package.json" in copy(bench, {"from": "package.json", "to": "/data/"}).entries


def test_an_image_of_nothing_can_be_filled(bench: Bench) -> None:
    bench.lowers = []
    assert list(copy(bench, {"from": "package.json", "to": "/a/b"}).entries) == ["a", "a/b"]
    assert list(copy(bench, {"from": "site/css", "to": "/"}).entries) == ["a.css"]


def test_items_of_one_layer_see_each_other(bench: Bench) -> None:
    layer = copy(bench, {"from": "site/css", "to": "/opt/x"}, {"from": "package.json", "to": "/opt/x"})
    assert "opt/x/package.json" in layer.entries
    layer = copy(
        bench, {"from": "package.json", "to": "/a/f"}, {"from": "site/index.html", "to": "/a/f", "owner": "33"}
    )
    assert layer.content("a/f") == b"hello" and layer.entries["a/f"].uid == 33


def test_a_target_that_cannot_be_is_an_error_that_says_why(bench: Bench) -> None:
    with pytest.raises(StepError) as error:
        copy(bench, {"from": "package.json", "to": "/etc/passwd/x"})
    assert str(error.value) == "there can be no /etc/passwd/x: /etc/passwd is not a folder: it is a file"
    with pytest.raises(StepError, match="/etc/passwd cannot be a folder: the image has a file there"):
        copy(bench, {"from": "site/", "to": "/etc/passwd"})
    (bench.lowers[0] / "loop").symlink_to("/loop")
    with pytest.raises(StepError, match="the links of /loop/x lead in a circle"):
        copy(bench, {"from": "package.json", "to": "/loop/x"})
    write(bench.lowers[0], {"srv/index.html/x": ""})
    with pytest.raises(StepError, match=r"a file cannot take the place of the folder /srv/package\.json"):
        (bench.lowers[0] / "srv/package.json").mkdir()
        copy(bench, {"from": "package.json", "to": "/srv/"})


def test_an_unknown_owner_is_an_error_with_near_names(bench: Bench) -> None:
    with pytest.raises(StepError) as error:
        copy(bench, {"from": "package.json", "to": "/x", "owner": "ww-data:adn"})
    assert str(error.value) == "the image has no user `ww-data`: /etc/passwd has no such line"
    assert error.value.hints[0].text == "did you mean `www-data`?"


def test_a_file_that_changes_or_goes_meanwhile_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_late(bench, monkeypatch, Copy)
    for why in LATE:
        with pytest.raises(StepError, match=rf"package.json changed while the image was built: {why}"):
            copy(bench, {"from": "package.json", "to": "/x"})


def test_why_it_ran_is_told_in_the_users_words(bench: Bench) -> None:
    item = {"from": "site/", "to": "/srv/www/"}
    before = copy(bench, item).inputs
    (bench.project / "site/index.html").write_text("changed")
    after = copy(bench, item).inputs
    assert [name for name in after.reads if after.reads[name] != before.reads.get(name)] == ["site/index.html"]
    assert before.params == after.params and before.builder == after.builder and before.key != after.key


def test_the_key_depends_on_the_facet_alone_never_on_the_tree(bench: Bench) -> None:
    item = {"from": "site/", "to": "/srv/www/", "owner": "www-data"}
    before = copy(bench, item)
    write(bench.lowers[0], {"usr/lib/new.so": "x", "etc/new": "y"})
    with open(bench.lowers[0] / "etc/passwd", "a") as file:
        file.write("more:x:99:99:::\n")
    after = copy(bench, item)
    assert (after.inputs.key, after.action.digest, after.digest) == (
        before.inputs.key, before.action.digest, before.digest,
    )  # fmt: skip
    write(bench.lowers[0], {"etc/passwd": "www-data:x:34:34:::\n"})
    moved = copy(bench, item)
    assert moved.inputs.key != before.inputs.key and moved.entries["srv/www"].uid == 34


def test_editing_a_file_asks_the_tree_nothing(bench: Bench) -> None:
    params = {"copy": [{"from": "site/", "to": "/srv/www/"}]}
    _, before = bench.facet(params)
    write(bench.project, {"site/index.html": "changed", "site/css/new.css": "n"})
    assert bench.facet(params)[1].key == before.key
    write(bench.project, {"site/new/x": "n"})
    assert bench.facet(params)[1].key != before.key


def test_which_item_a_file_belongs_to_is_part_of_the_key(bench: Bench) -> None:
    write(bench.project, {"i": "index.html\n", "j": "css\n"})
    items = [{"from": "site", "to": "/a/", "ignore": "i"}, {"from": "site", "to": "/b/", "ignore": "j"}]
    before = copy(bench, *items)
    write(bench.project, {"i": "css\n", "j": "index.html\n"})
    after = copy(bench, *items)
    assert before.digest != after.digest and before.inputs.key != after.inputs.key


def as_nobody(work: Callable[[], None]) -> None:
    """In a child process of user `nobody` with umask 077."""
    child = os.fork()
    if child == 0:
        try:
            os.umask(0o077)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_bytes_do_not_depend_on_folder_times_umask_user_or_sandbox(bench: Bench, tmp_path: Path) -> None:
    need_root()
    item = {"from": "site/", "to": "/srv/www/", "owner": "www-data"}
    first = copy(bench, item)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        other = write(folder / "other name", SITE)
        base = small_tree(folder / "base")
        for path in [*other.rglob("*"), *base.rglob("*")]:
            os.utime(path, (86400, 86400), follow_symlinks=False)
        for path in other.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o700 if path.name == "tool" else 0o600)
            os.chown(path, 65534, 65534, follow_symlinks=False)
        result = folder / "digest"

        def work() -> None:
            elsewhere = Bench(folder / "work", other, [base], sandbox="chroot")
            again = copy(elsewhere, item)
            result.write_text(f"{again.digest} {again.inputs.key} {again.action.digest}")

        as_nobody(work)
        assert result.read_text() == f"{first.digest} {first.inputs.key} {first.action.digest}"


def test_the_layer_unpacks_to_what_it_says(bench: Bench, tmp_path: Path) -> None:
    """GNU tar is the other reader."""
    need_root()
    layer = copy(bench, {"from": "site/", "to": "/srv/www/", "owner": "www-data"})
    (tmp_path / "layer").write_bytes(layer.blob)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xzpf", tmp_path / "layer", "-C", tmp_path / "out", "--numeric-owner"], check=True)
    made = tmp_path / "out/srv/www"
    assert (made / "latest/a.css").read_text() == "a" and os.access(made / "bin/tool", os.X_OK)
    assert (made / "index.html").stat().st_uid == 33 and (tmp_path / "out/srv").stat().st_uid == 0


def tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: Any = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.uid, info.mtime = kind, mode, target, 1001, 12345
    return info


RELEASE = [
    (member("tool-1/", tarfile.DIRTYPE, 0o700), b""),
    (member("tool-1/z", mode=0o4775), b"program"),
    (member("tool-1/a", tarfile.LNKTYPE, target="tool-1/z"), b""),
    (member("tool-1/l", tarfile.SYMTYPE, target="../../etc/passwd"), b""),
    (member("bin/x"), b"x"),
]


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2", "w:"])
def test_a_fetched_archive_is_unpacked_with_normal_owners_and_modes(bench: Bench, tmp_path: Path, mode: str) -> None:
    bench.fetched = {"fetch/0": tar(tmp_path / "t", RELEASE, mode)}
    (bench.lowers[0] / "opt").mkdir()
    (bench.lowers[0] / "opt/bin").symlink_to("../usr/bin")
    item = {"input": "fetch/0", "to": "/opt", "unpack": True, "name": "tool.tar", "owner": None, "mode": None}
    layer = bench.layer("copy", {"fetched": [item]})
    assert modes(layer) == {
        "opt": "0755 0:0", "opt/tool-1": "0755 0:0", "opt/tool-1/a": "0755 0:0", "opt/tool-1/l": "0777 0:0",
        "opt/tool-1/z": "0755 0:0", "usr": "0755 0:0", "usr/bin": "0755 0:0", "usr/bin/x": "0644 0:0",
    }  # fmt: skip
    assert layer.entries["opt/tool-1/z"].linkname == "opt/tool-1/a" and layer.content("opt/tool-1/a") == b"program"
    assert layer.facts["created_by"] == "fetch tool.tar to /opt"


def test_a_fetched_zip_is_unpacked(bench: Bench, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        info = zipfile.ZipInfo("d/program")
        info.external_attr = 0o100755 << 16
        archive.writestr(info, "p")
        archive.writestr("plain.txt", "t")
    bench.fetched = {"fetch/0": tmp_path / "z"}
    item = {"input": "fetch/0", "to": "/opt", "unpack": True, "name": "tool.zip", "owner": "www-data"}
    assert modes(bench.layer("copy", {"fetched": [item]})) == {
        "opt": "0755 33:33", "opt/d": "0755 33:33", "opt/d/program": "0755 33:33", "opt/plain.txt": "0644 33:33",
    }  # fmt: skip


def test_a_fetched_file_is_put_as_it_is(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"#!x")
    bench.fetched = {"fetch/0": tmp_path / "f"}
    item = {"input": "fetch/0", "to": "/usr/local/bin/", "unpack": False, "name": "tool", "mode": "0755"}
    layer = bench.layer("copy", {"fetched": [item]})
    assert modes(layer)["usr/local/bin/tool"] == "0755 0:0" and layer.content("usr/local/bin/tool") == b"#!x"
