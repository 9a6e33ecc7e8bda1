"""The accounts of an image without scripts: base-passwd's list, the stack's few, or what a package ships."""

from __future__ import annotations

from pathlib import Path

from stackbuild.oci.tree_view import TreeView
from stackbuild.packages.deb.plain_accounts import account_files
from tests.machine import need, run

DAY = 20000


def test_base_passwds_list_is_what_update_passwd_makes_of_it(tmp_path: Path) -> None:
    """The real program, on an empty system of its own; it leaves `*` where there is no shadow to point to."""
    masters = Path("/usr/share/base-passwd")
    share, etc = tmp_path / "tree/usr/share/base-passwd", tmp_path / "etc"
    share.mkdir(parents=True)
    etc.mkdir()
    words: list[str | Path] = [need("update-passwd"), "--verbose"]
    for name, option in (("passwd", "-p"), ("group", "-g")):
        (share / f"{name}.master").write_bytes((masters / f"{name}.master").read_bytes())
        (etc / name).touch()
        words += [option, share / f"{name}.master", f"--{'passwd' if name == 'passwd' else 'group'}", etc / name]
    (etc / "shadow").touch()
    run([*words, "--shadow", etc / "shadow"])
    made = account_files(TreeView([tmp_path / "tree"]), DAY * 86400)
    for name in ("passwd", "group"):
        theirs = sorted(line.split(":") for line in (etc / name).read_text().splitlines())
        ours = sorted(line.split(":") for line in made[name.encode()][0].decode().splitlines())
        assert [[n, *rest] for n, _, *rest in ours] == [[n, *rest] for n, _, *rest in theirs] and len(ours) > 15
    assert all(line.split(b":")[1] == b"*" for line in made[b"shadow"][0].splitlines())


def test_what_a_package_ships_stays(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/false\nme:x:7:7::/:/bin/false\n")
    made = account_files(TreeView([tmp_path]), DAY * 86400)
    assert sorted(made) == [b"group", b"shadow"]
    assert made[b"shadow"] == (b"root:*:20000:0:99999:7:::\nme:*:20000:0:99999:7:::\n", 0o640)
