"""Each transport passes the contract, and its own peers read what it writes and write what it reads."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.oci.layout import Layout
from stackbuild.oci.transports import copy, open_source
from stackbuild.oci.validate import image_mistakes
from tests.oci.transports.contract import TransportContract, source


def run(*argv: str | Path) -> str:
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, timeout=60).stdout


class TestFolder(TransportContract):
    def place(self, tmp_path: Path) -> str:
        return f"oci:{tmp_path / 'new' / 'layout'}:2.0"

    def stored(self, tmp_path: Path) -> bytes | None:
        return (tmp_path / "new/layout/index.json").read_bytes()

    def test_a_second_copy_sends_nothing(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        whole = sum(blob.size for blob in image.blobs)
        first, second = copy(image, self.place(tmp_path)), copy(image, self.place(tmp_path))
        assert (first.sent, first.skipped, second.sent, second.skipped) == (whole, 0, 0, whole)

    def test_a_folder_with_other_things_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/file").write_text("precious")
        with pytest.raises(UsageError, match="not an image layout"):
            copy(source(tmp_path), f"oci:{tmp_path / 'mine'}")
        assert os.listdir(tmp_path / "mine") == ["file"]


class TestOciArchive(TransportContract):
    def place(self, tmp_path: Path) -> str:
        return f"oci-archive:{tmp_path / 'image.tar'}:2.0"

    def stored(self, tmp_path: Path) -> bytes | None:
        return (tmp_path / "image.tar").read_bytes()

    @pytest.mark.peer
    def test_skopeo_reads_and_writes_it(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        copy(image, self.place(tmp_path))
        assert json.loads(run("skopeo", "inspect", self.place(tmp_path)))["Digest"] == image.digest
        theirs = f"oci-archive:{tmp_path / 'theirs.tar'}:x"
        run("skopeo", "copy", "--insecure-policy", f"oci:{tmp_path / 'source'}:1.0", theirs)
        assert open_source(theirs).digest == image.digest
        run("gzip", tmp_path / "theirs.tar")
        assert not image_mistakes(open_source(f"oci-archive:{tmp_path / 'theirs.tar.gz'}"))


class TestDockerArchive(TransportContract):
    keeps_manifest: ClassVar[bool] = False
    takes_index: ClassVar[bool] = False

    def place(self, tmp_path: Path) -> str:
        return f"docker-archive:{tmp_path / 'image.tar'}:example.org/team/app:2.0"

    def stored(self, tmp_path: Path) -> bytes | None:
        return (tmp_path / "image.tar").read_bytes()

    @pytest.mark.peer
    def test_skopeo_reads_and_writes_it(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        copy(image, self.place(tmp_path))
        seen = json.loads(run("skopeo", "inspect", self.place(tmp_path)))
        assert seen["Env"] == list(image.config.env)
        theirs = f"docker-archive:{tmp_path / 'theirs.tar'}"
        run("skopeo", "copy", "--insecure-policy", f"oci:{tmp_path / 'source'}:1.0", f"{theirs}:example.org/a:1")
        back = open_source(f"{theirs}:example.org/a:1")
        assert back.config.diff_ids == image.config.diff_ids
        assert not image_mistakes(back)
        with pytest.raises(UsageError, match="no such image"):
            open_source(f"{theirs}:example.org/a:2")


class TestRegistry(TransportContract):
    @pytest.fixture(autouse=True)
    def _host(self, registry: str) -> None:
        self.host = registry

    def place(self, tmp_path: Path) -> str:
        return f"docker://{self.host}/{tmp_path.name.lower().strip('_')}/app:2.0"

    def test_only_what_is_missing_is_sent(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        whole = sum(blob.size for blob in image.blobs)
        assert (copy(image, self.place(tmp_path)).sent, copy(image, self.place(tmp_path)).sent) == (whole, 0)
        origin = open_source(self.place(tmp_path))
        moved = copy(origin, f"docker://{self.host}/other/{tmp_path.name.lower().strip('_')}:1")
        assert (moved.sent, moved.skipped) == (0, whole), "blobs of the same registry are mounted"

    @pytest.mark.peer
    def test_skopeo_reads_and_writes_it(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        copy(image, self.place(tmp_path))
        seen = json.loads(run("skopeo", "inspect", "--tls-verify=false", self.place(tmp_path)))
        assert seen["Digest"] == image.digest
        run("skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", self.place(tmp_path),
            f"oci:{tmp_path / 'pulled'}:x")  # fmt: skip
        assert Layout(tmp_path / "pulled").open_image("x").digest == image.digest
        theirs = f"docker://{self.host}/theirs/app:1"
        run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{tmp_path / 'source'}:1.0", theirs)
        assert open_source(theirs).digest == image.digest
        assert open_source(f"{self.host}/theirs/app@{image.digest}").digest == image.digest


@pytest.mark.root
def test_rootfs_is_the_flattened_tree(tmp_path: Path) -> None:
    image = source(tmp_path)
    copy(image, f"rootfs:{tmp_path / 'tree'}")
    root = os.fsencode(tmp_path / "tree")
    assert sorted(os.listdir(root + b"/etc")) == [b"caf\xe9", b"link", b"motd"], "the whiteout was applied"
    assert (tmp_path / "tree/etc/motd").read_text() == "second\n"
    found = os.stat(root + b"/opt/a")
    assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o4755, 2)
    assert (os.stat(root + b"/etc/caf\xe9").st_uid, int(os.stat(root + b"/opt").st_mtime)) == (7, 315532801)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".new-")]
    with pytest.raises(UsageError, match="already there"):
        copy(image, f"rootfs:{tmp_path / 'tree'}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oci:", "incomplete"),
        ("ftp://example.com/x", "no place for an image"),
        ("debian", "does not say which registry"),
        ("docker://example.com/Upper", "not an image reference"),
        ("rootfs:/tmp/x", "cannot be read as an image"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(text)
