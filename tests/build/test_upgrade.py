"""Upgrades and removals on top of a tree: scripts, conffiles, marks and databases are as dpkg and apt leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_configure import SCRIPT, both, gone
from tests.build.waves_bench import Bench, Package, base, inside
from tests.machine import need_root

pytestmark = pytest.mark.root
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


@pytest.fixture
def bench(shared: Path, tmp_path: Path) -> Bench:
    need_root()
    return base(shared).over(tmp_path / "bench")


def telling(bench: Bench, folder: Path, name: str, version: str, **more: str) -> Package:
    """A package whose scripts write down how they are called, with two configuration files."""
    scripts = {s: f'{SCRIPT}echo "{name} {version} {s} $*" >> /usr/share/called\n' for s in SCRIPTS}
    files = {
        f"etc/{name}/kept": f"{version}\n",
        f"etc/{name}/edited": f"{version}\n",
        f"usr/share/{name}/{version}": "\n",
    }
    conffiles = f"/etc/{name}/kept\n/etc/{name}/edited\n"
    return bench.make(folder, name, files, version, conffiles=conffiles, **scripts, **more)


def test_an_upgrade_is_dpkgs_own(bench: Bench, tmp_path: Path) -> None:
    old = {**telling(bench, tmp_path, "tool", "1"), "manual": False}
    both(bench, [old])
    both(bench, [bench.make(tmp_path, "editor", {}, postinst=SCRIPT + "echo mine > /etc/tool/edited\n")])
    new = telling(bench, tmp_path, "tool", "2")

    oracle = bench.whole(tmp_path / "oracle")
    (oracle / "root/new.deb").write_bytes(bench.file(new["file"]).read_bytes())
    done = inside(oracle, "dpkg", "--force-confdef", "--force-confold", "-i", "/root/new.deb")
    assert done.returncode == 0, done.stderr
    called = (oracle / "usr/share/called").read_text()
    assert "tool 1 prerm upgrade 2\ntool 2 preinst upgrade 1 2\ntool 1 postrm upgrade 2\n" in called

    facts, tree = both(bench, [{**new, "manual": False, "upgrades": "1"}], "reference")
    assert "in the tree already" in facts["reason"]
    whole = bench.whole(tmp_path / "whole")
    assert (whole / "usr/share/called").read_text() == called
    for file in ("kept", "edited", "edited.dpkg-dist"):
        assert (whole / "etc/tool" / file).read_text() == (oracle / "etc/tool" / file).read_text()
    assert (whole / "etc/tool/edited").read_text() == "mine\n" and (whole / "etc/tool/kept").read_text() == "2\n"
    assert gone(tree, "usr/share/tool/1") and (whole / "usr/share/tool/2").exists()
    assert inside(whole, "dpkg", "--audit").stdout == ""
    assert inside(whole, "apt-mark", "showauto", "tool").stdout == "tool\n"


def test_the_mark_of_an_upgraded_package_stays_unless_it_is_asked_for(bench: Bench, tmp_path: Path) -> None:
    both(bench, [bench.make(tmp_path, "byhand", {}), {**bench.make(tmp_path, "byneed", {}), "manual": False}])
    two = [{**bench.make(tmp_path, name, {}, "2"), "upgrades": "1"} for name in ("byhand", "byneed")]
    both(bench, [{**one, "manual": False} for one in two], "reference")
    whole = bench.whole(tmp_path / "whole")
    assert inside(whole, "apt-mark", "showmanual", "byhand", "byneed").stdout == "byhand\n"
    three = [{**bench.make(tmp_path, name, {}, "3"), "upgrades": "2", "manual": True} for name in ("byhand", "byneed")]
    both(bench, three, "reference")
    asked = bench.whole(tmp_path / "asked")
    assert inside(asked, "apt-mark", "showmanual", "byhand", "byneed").stdout == "byhand\nbyneed\n"


def test_a_removal_makes_room_for_what_conflicts(bench: Bench, tmp_path: Path) -> None:
    mta = {**telling(bench, tmp_path, "mta", "1"), "manual": False}
    needs = bench.make(tmp_path, "needs-mta", {"usr/share/needs/file": "\n"}, Depends="mta")
    both(bench, [mta, needs])
    other = telling(bench, tmp_path, "other", "1", Conflicts="mta")
    facts, tree = both(bench, [other], "reference", remove=["mta", "needs-mta"])
    assert facts["created_by"] == "configure other mta- needs-mta-"
    assert gone(tree, "usr/share/mta") and gone(tree, "usr/share/needs")
    whole = bench.whole(tmp_path / "whole")
    assert "mta 1 prerm remove\n" in (whole / "usr/share/called").read_text()
    assert (whole / "etc/mta/kept").read_text() == "1\n", "as apt-get remove: configuration stays"
    states = inside(whole, "dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", "mta", "other").stdout
    assert states == "mta config-files\nother installed\n"
    assert "mta" not in (whole / "var/lib/apt/extended_states").read_text()
    assert inside(whole, "dpkg", "--audit").stdout == ""
    assert inside(whole, "apt-get", "check").returncode == 0


def test_a_wave_may_only_remove(bench: Bench, tmp_path: Path) -> None:
    both(bench, [bench.make(tmp_path, "first", {"usr/share/first/file": "\n"})])
    end = len(bench.fragments)
    facts, place = bench.configure([], "auto", "removes", own=[end, end], remove=["first"], arch="amd64")
    assert facts.get("way") == "reference" and facts["reason"] == "first is removed", facts
    assert gone(place / "tree", "usr/share/first")
    bench.configured.append(place / "tree")
    assert inside(bench.whole(tmp_path / "whole"), "dpkg", "--audit").stdout == ""


def test_what_makes_room_by_an_upgrade_is_unpacked_first(bench: Bench, tmp_path: Path) -> None:
    both(bench, [bench.make(tmp_path, "part", {"usr/share/x/moved": "1\n"})])
    part = {**bench.make(tmp_path, "part", {"usr/share/x/own": "2\n"}, "2"), "upgrades": "1"}
    rival = bench.make(tmp_path, "rival", {"usr/share/x/moved": "r\n"}, Conflicts="part (<< 2)")
    both(bench, [part, rival], "reference")
    whole = bench.whole(tmp_path / "whole")
    assert (whole / "usr/share/x/moved").read_text() == "r\n" and (whole / "usr/share/x/own").exists()
