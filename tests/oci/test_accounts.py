"""Users and groups of trees, hostile ones too: names to ids, and near names where there are none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.oci.accounts import Accounts
from tests.build.own import write

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:34:w:/var/www:/usr/sbin/nologin\n"
GROUP = b"root:x:0:\nadm:x:4:www-data,app\nwww-data:x:33:\n"
ACCOUNTS = Accounts.of_texts(PASSWD, GROUP)


@pytest.mark.parametrize(
    ("owner", "ids"),
    [
        ("www-data", (33, 34)),
        ("www-data:adm", (33, 4)),
        ("33:33", (33, 33)),
        ("33", (33, 33)),
        (0, (0, 0)),
        (None, (0, 0)),
        ("root:33", (0, 33)),
        (":adm", (0, 4)),
    ],
)
def test_an_owner_is_a_user_and_a_group_by_name_or_id(owner: str | int | None, ids: tuple[int, int]) -> None:
    assert ACCOUNTS.resolve_owner(owner) == ids


def test_an_unknown_user_is_an_error_with_near_names() -> None:
    with pytest.raises(UsageError) as error:
        ACCOUNTS.resolve_owner("ww-data")
    assert str(error.value) == "the image has no user `ww-data`: /etc/passwd has no such line"
    assert error.value.hints[0].text == "did you mean `www-data`?"
    with pytest.raises(UsageError, match="the image has no group `admn`: /etc/group"):
        ACCOUNTS.resolve_owner("root:admn")


@pytest.mark.parametrize("owner", ["", "root:", ":", "a:b:c"])
def test_what_is_no_owner_is_refused(owner: str) -> None:
    with pytest.raises(UsageError, match="is not an owner"):
        ACCOUNTS.resolve_owner(owner)


def test_broken_lines_are_passed_over_and_the_first_of_a_name_counts() -> None:
    text = (
        b"\xff:x:1\nroot:x:0:0:::\nroot:x:7:7:::\nbig:x:99999999999:0:::\nneg:x:-1:0:::\n#c:x:5:5:::\n:x:1:1:::\n\0\n"
    )
    accounts = Accounts.of_texts(text, b"g:x:\ng:x:5:a,,b\n+\n")
    assert accounts.user("root") == (0, 0) and set(accounts.users) == {"root"}
    assert accounts.group("g") == 5 and accounts.groups["g"].members == ("a", "b")


def test_ids_are_those_that_the_c_library_finds() -> None:
    here = Accounts.of_texts(Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes())
    for name in ("root", "daemon", "www-data", "nobody"):
        said = subprocess.run(["id", "-u", name], capture_output=True, text=True, check=True).stdout
        assert here.user(name) is not None and here.users[name].uid == int(said)


def test_the_topmost_layer_that_has_the_file_counts(tmp_path: Path) -> None:
    low = write(tmp_path / "low", {"etc/passwd": PASSWD, "etc/group": GROUP})
    high = write(tmp_path / "high", {"etc/passwd": b"app:x:5:5:::\n", "etc/.wh.group": b""})
    accounts = Accounts.of_tree([low, high])
    assert accounts.user("app") == (5, 5) and accounts.user("www-data") is None
    assert not accounts.groups


def test_links_lead_to_the_trees_own_files_never_to_the_hosts(tmp_path: Path) -> None:
    tree = write(tmp_path / "tree", {"etc/passwd": "-> /etc/../../../../usr/lib/passwd", "usr/lib/passwd": PASSWD})
    assert Accounts.of_tree([tree]).user("www-data") == (33, 34)
    (tree / "usr/lib/passwd").unlink()
    write(tree, {"etc/group": "-> ../../../../../../../../../etc/group"})  # this machine has one
    accounts = Accounts.of_tree([tree])
    assert not accounts.users and not accounts.groups


def test_a_pipe_or_a_circle_in_place_of_a_file_is_an_empty_file(tmp_path: Path) -> None:
    tree = write(tmp_path / "tree", {"etc/group": "-> group"})
    os.mkfifo(tree / "etc/passwd")
    accounts = Accounts.of_tree([tree])
    assert not accounts.users and not accounts.groups
