"""What a copy takes out of a stage: within its tree whatever its links say, the same bytes from the same files."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from stackbuild.build.do.copy import do as copy
from stackbuild.build.do.pick import do
from stackbuild.build.tree_part import TreePart
from stackbuild.core.action import Action, Room
from stackbuild.core.errors import StepError
from tests.build.own import write
from tests.machine import need_root

NO_ID = 0xFFFFFFFF  # of an entry of an ACL that names nobody


def pick(folder: Path, wanted: str, *lowers: Path, exclude: tuple[str, ...] = ()) -> tuple[dict[str, Any], bytes]:
    """Facts, and the archive."""
    out = folder / f"out{len(list(folder.glob('out*')))}"
    out.mkdir()
    params = {"from": wanted, "exclude": list(exclude)}
    action = Action("pick", params, {}, (), ("files", "folders"), "linux/amd64")
    facts = dict(do(action, Room({}, lowers, out, folder)))
    facts["folders"] = json.loads((out / "folders").read_bytes())
    return facts, (out / "files").read_bytes()


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(archive), read_across_frames=True).read()
    return {member.name: member for member in tarfile.open(fileobj=io.BytesIO(data))}


def test_a_folder_with_modes_and_links_but_not_owners_and_times(tmp_path: Path) -> None:
    need_root()
    root = write(tmp_path / "a", {"app/dist/x": "x", "app/dist/in/y": "y", "app/dist/l": "-> ../../etc/shadow"})
    os.chown(root / "app/dist/x", 5, 6)
    (root / "app/dist/x").chmod(0o4750)
    os.link(root / "app/dist/x", root / "app/dist/z")
    facts, archive = pick(tmp_path, "/app/dist/", root)
    found = members(archive)
    assert set(found) == {"0", "0/x", "0/z", "0/in", "0/in/y", "0/l"}
    assert (found["0/x"].mode, found["0/x"].uid, found["0/x"].gid) == (0o4750, 0, 0)
    assert found["0/z"].islnk() and found["0/z"].linkname == "0/x"
    assert found["0/l"].linkname == "../../etc/shadow"
    assert facts["folders"] == [{"name": "dist", "folders": ["", "in"]}]
    os.utime(root / "app/dist/x", (1, 1))
    write(root, {"app/other": "new"})
    assert pick(tmp_path, "/app/dist", root)[1] == archive


def test_layers_lie_over_each_other(tmp_path: Path) -> None:
    low = write(tmp_path / "low", {"d/a": "low", "d/b": "low", "d/gone": "low"})
    high = write(tmp_path / "high", {"d/b": "high", "d/.wh.gone": ""})
    found = members(pick(tmp_path, "/d", low, high)[1])
    assert set(found) == {"0", "0/a", "0/b"} and found["0/b"].size == 4


@pytest.mark.parametrize("link", ["/etc/secret", "../../../../../../etc/secret", "/proc/self/root/etc/secret"])
def test_a_hostile_link_leads_nowhere_but_into_the_stage(tmp_path: Path, link: str) -> None:
    """Followed by the kernel, each would be a file of this machine: tmp_path is made to have one at the same place."""
    root = write(
        tmp_path / "a", {"etc/secret": "the stage's", "x": f"-> {link}", "evil": "-> /", "proc/self/root": "-> /"}
    )
    (root / "y").symlink_to(f"{tmp_path}/outside")
    (tmp_path / "outside").write_text("of this machine")
    assert members(pick(tmp_path, "/x", root)[1])["0"].size == len("the stage's")
    assert members(pick(tmp_path, "/evil/etc/secret", root)[1])["0"].size == len("the stage's")
    with pytest.raises(StepError, match="link that leads nowhere"):
        pick(tmp_path, "/y", root)


def test_patterns_and_exclude(tmp_path: Path) -> None:
    root = write(tmp_path / "a", {"b/1.js": "", "b/2.js": "", "b/3.map": "", "b/n/4.map": "", "b/n/5.js": ""})
    facts, _ = pick(tmp_path, "/b/*.js", root)
    assert [source["name"] for source in facts["sources"]] == ["1.js", "2.js"]
    assert set(members(pick(tmp_path, "/b", root, exclude=("*.map", "/1.js"))[1])) == {"0", "0/2.js", "0/n", "0/n/5.js"}
    with pytest.raises(StepError, match="leaves nothing"):
        pick(tmp_path, "/b/*.map", root, exclude=("*.map",))
    with pytest.raises(StepError, match="nothing in the stage matches"):
        pick(tmp_path, "/b/*.css", root)


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    root = write(tmp_path / "a", {"app/dist/x": "x"})
    with pytest.raises(StepError) as found:
        pick(tmp_path, "/app/dits", root)
    assert "/app/dist" in found.value.hints[0].text and "has no `dits`" in found.value.why


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "a", {"d/x": ""})
    os.mkfifo(root / "d/pipe")
    with pytest.raises(StepError, match="/d/pipe of the stage cannot be copied"):
        pick(tmp_path, "/d", root)
    assert set(members(pick(tmp_path, "/d", root, exclude=("pipe",))[1])) == {"0", "0/x"}


def test_extended_attributes_come_along_but_an_acl_stays_with_the_users_it_names(tmp_path: Path) -> None:
    need_root()
    root = write(tmp_path / "a", {"d/x": "x", "d/in/y": "y"})
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    acl = struct.pack("<I" + "HHI" * 5, 2, 1, 6, NO_ID, 2, 4, 33, 4, 4, NO_ID, 16, 4, NO_ID, 32, 4, NO_ID)
    os.setxattr(root / "d/x", "security.capability", capability)
    os.setxattr(root / "d/x", "user.note", b"\xff")
    os.setxattr(root / "d/x", "system.posix_acl_access", acl)
    os.setxattr(root / "d/in", "user.note", b"of a folder")
    facts, archive = pick(tmp_path, "/d", root)
    (tmp_path / "files").write_bytes(archive)
    (tmp_path / "facet").write_bytes(TreePart({}, {}, {b"new": None}).to_json())
    item = {"to": "/new", "staged": "files", "sources": facts["sources"]}
    params = {"epoch": 0, "compression": "zstd", "created_by": "copy", "copies": [item]}
    room = Room({name: tmp_path / name for name in ("files", "facet")}, (), tmp_path, tmp_path)
    copy(Action("copy", params, {}, (), ("layer",), "linux/amd64"), room)
    found = {name: member.pax_headers for name, member in members((tmp_path / "layer").read_bytes()).items()}
    note = "SCHILY.xattr.user.note"
    assert set(found["new/x"]) == {note, "SCHILY.xattr.security.capability"}
    assert found["new/in"] == {note: "of a folder"} and not found["new/in/y"]
