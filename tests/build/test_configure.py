"""What dpkg promises and package files alone do not give: diversions, Replaces, triggers, failures, answers, keys.

Each wave of made-up packages goes both ways over a real Debian base, and the layers must be the same.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.build.waves_bench import Bench, Packages, base, differences, inside
from tests.machine import need_root

SCRIPT = "#!/bin/sh\nset -e\n"
pytestmark = pytest.mark.root


@pytest.fixture
def bench(shared: Path, tmp_path: Path) -> Bench:
    need_root()
    return base(shared).over(tmp_path / "bench")


def both(bench: Bench, packages: Packages, way: str = "fast", **more: Any) -> tuple[dict[str, Any], Path]:
    """Configure a wave both ways, compare, keep the result below what comes next. Returns facts and the tree."""
    bench.unpack(packages)
    number = len(bench.configured)
    facts, place = bench.configure(packages, "auto", f"auto{number}", **more)
    assert "error" not in facts, facts
    other, reference = bench.configure(packages, "reference", f"reference{number}", **more)
    assert "error" not in other, other
    assert differences(place / "tree", reference / "tree") == []
    assert facts["diff_id"] == other["diff_id"]
    assert facts["way"] == way, facts["reason"]
    bench.configured.append(place / "tree")
    return facts, place / "tree"


def gone(tree: Path, path: str) -> bool:
    """Whether a layer deletes a path."""
    status = os.lstat(tree / path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def test_a_diversion_of_the_same_wave_moves_the_other_packages_file(bench: Bench, tmp_path: Path) -> None:
    divert = "dpkg-divert --quiet --package guard --divert /usr/bin/{0}.real --rename --add /usr/bin/{0}\n"
    guard = bench.make(
        tmp_path, "guard", {"usr/bin/halt": "guard\n"}, preinst=SCRIPT + divert.format("halt") + divert.format("stop")
    )
    plain = bench.make(tmp_path, "plain", {"usr/bin/halt": "plain\n", "usr/bin/stop": "stop\n"})
    _, tree = both(bench, [guard, plain])
    assert (tree / "usr/bin/halt").read_text() == "guard\n"
    assert (tree / "usr/bin/halt.real").read_text() == "plain\n"
    assert (tree / "usr/bin/stop.real").read_text() == "stop\n" and gone(tree, "usr/bin/stop")


def test_a_file_that_the_tree_below_diverts_goes_the_reference_way(bench: Bench, tmp_path: Path) -> None:
    divert = "dpkg-divert --quiet --package guard --divert /usr/bin/halt.real --rename --add /usr/bin/halt\n"
    both(bench, [bench.make(tmp_path, "guard", {"usr/bin/halt": "guard\n"}, preinst=SCRIPT + divert)])
    plain = bench.make(tmp_path, "plain", {"usr/bin/halt": "plain\n"})
    facts, tree = both(bench, [plain], "reference")
    assert facts["reason"] == "/usr/bin/halt of plain is diverted in the tree below"
    assert (tree / "usr/bin/halt").read_text() == "guard\n", "the fragment that lies above must not win"
    assert (tree / "usr/bin/halt.real").read_text() == "plain\n"


@pytest.mark.parametrize("order", ["old-first", "new-first"])
def test_replaces_decides_whose_file_it_is_and_mends_the_lists(bench: Bench, tmp_path: Path, order: str) -> None:
    old = bench.make(tmp_path, "old", {"usr/share/x/file": "old\n", "usr/share/x/other": "o\n"})
    new = bench.make(tmp_path, "new", {"usr/share/x/file": "new\n"}, Replaces="old (<< 2)")
    _, _ = both(bench, [old, new] if order == "old-first" else [new, old])
    whole = bench.whole(tmp_path / "whole")
    assert (whole / "usr/share/x/file").read_text() == "new\n"
    assert "/usr/share/x/file\n" not in (whole / "var/lib/dpkg/info/old.list").read_text()
    assert inside(whole, "dpkg", "-S", "/usr/share/x/file").stdout == "new: /usr/share/x/file\n"


def test_two_packages_with_one_file_are_refused_in_dpkgs_words(bench: Bench, tmp_path: Path) -> None:
    packages = [bench.make(tmp_path, name, {"usr/share/x/file": name}) for name in ("one", "two")]
    bench.unpack(packages)
    facts, _ = bench.configure(packages, "auto")
    assert facts["error"].startswith("dpkg cannot install package") and "trying to overwrite" in facts["why"]


def test_taking_over_a_file_of_the_tree_below_goes_the_reference_way(bench: Bench, tmp_path: Path) -> None:
    both(bench, [bench.make(tmp_path, "old", {"usr/share/x/file": "old\n"})])
    facts, _ = both(
        bench, [bench.make(tmp_path, "new", {"usr/share/x/file": "new\n"}, Replaces="old (<< 2)")], "reference"
    )
    assert facts["reason"] == "/usr/share/x/file of new is in the tree below already"
    whole = bench.whole(tmp_path / "whole")
    assert (whole / "usr/share/x/file").read_text() == "new\n"
    assert inside(whole, "dpkg", "-S", "/usr/share/x/file").stdout == "new: /usr/share/x/file\n"


def test_an_upgrade_deletes_what_the_new_version_does_not_ship(bench: Bench, tmp_path: Path) -> None:
    both(
        bench,
        [bench.make(tmp_path, "tool", {"usr/lib/tool/a": "1\n", "usr/lib/tool/b": "1\n", "usr/share/t/x": "1\n"})],
    )
    facts, tree = both(bench, [bench.make(tmp_path, "tool", {"usr/lib/tool/a": "2\n"}, "2")], "reference")
    assert facts["reason"] == "tool is in the tree already (1, installed)"
    assert gone(tree, "usr/lib/tool/b") and gone(tree, "usr/share/t")
    assert not (tree / "usr/lib/tool/a").exists(), "the fragment has it"


def test_what_a_layer_below_deleted_comes_back(bench: Bench, tmp_path: Path) -> None:
    first = bench.make(tmp_path, "first", {"usr/share/x/a": "1\n"}, postinst=SCRIPT + "rm -r /usr/share/x\n")
    both(bench, [first])
    facts, _ = both(bench, [bench.make(tmp_path, "second", {"usr/share/x/b": "2\n"})], "reference")
    assert "deleted by a layer below" in facts["reason"]
    assert [p.name for p in (bench.whole(tmp_path / "whole") / "usr/share/x").iterdir()] == ["b"]


def test_a_folder_keeps_the_mode_and_owner_that_it_has(bench: Bench, tmp_path: Path) -> None:
    both(bench, [bench.make(tmp_path, "first", {"srv/data/": "0700"}, postinst=SCRIPT + "chown 33:33 /srv/data\n")])
    both(bench, [bench.make(tmp_path, "second", {"srv/data/": "0755", "srv/data/file": "2\n"})])
    status = (bench.whole(tmp_path / "whole") / "srv/data").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o700, 33, 33)


def test_a_package_that_another_replaces_whole_is_left_to_dpkg(bench: Bench, tmp_path: Path) -> None:
    both(bench, [bench.bare(tmp_path, "first", {"srv/data/": "0755"})])
    facts, _ = both(bench, [bench.make(tmp_path, "second", {"srv/data/file": "2\n"})], "reference")
    assert facts["reason"] == "second ships every path of first, which dpkg then takes for gone"


def test_file_triggers_of_waves_before_and_of_the_same_wave_run_once_all_is_there(bench: Bench, tmp_path: Path) -> None:
    handler = SCRIPT + 'if [ "$1" = triggered ]; then ls /usr/share/icons/*/ > /var/lib/{0}-index; fi\n'
    index = bench.make(
        tmp_path, "index", {}, postinst=handler.format("index"), triggers="interest-noawait /usr/share/icons\n"
    )
    both(bench, [index])
    wait = bench.make(tmp_path, "wait", {}, postinst=handler.format("wait"), triggers="interest /usr/share/icons\n")
    icons = bench.make(tmp_path, "icons", {"usr/share/icons/a/icon": "i\n"}, triggers="activate-noawait elsewhere\n")
    _, tree = both(bench, [wait, icons])
    assert (tree / "var/lib/index-index").read_text() == "icon\n"
    assert "wait" in (bench.whole(tmp_path / "whole") / "var/lib/dpkg/triggers/File").read_text()


def test_a_statoverride_or_a_configuration_file_from_a_preinst_goes_the_reference_way(
    bench: Bench, tmp_path: Path
) -> None:
    override = SCRIPT + "dpkg-statoverride --add root mail 2755 /usr/bin/sender\n"
    holder = bench.make(tmp_path, "holder", {}, preinst=override)
    facts, _ = both(bench, [holder, bench.make(tmp_path, "sender", {"usr/bin/sender": "s\n"})], "reference")
    assert facts["reason"] == "a preinst set a statoverride for /usr/bin/sender"
    assert "/usr/bin/sender" in (bench.whole(tmp_path / "whole") / "var/lib/dpkg/statoverride").read_text()
    made = bench.make(
        tmp_path, "made", {"etc/made.conf": "shipped\n"}, conffiles="/etc/made.conf\n",
        preinst=SCRIPT + "echo shipped > /etc/made.conf\n",
    )  # fmt: skip
    facts, _ = both(bench, [made], "reference")
    assert facts["reason"] == "a preinst made the configuration file /etc/made.conf"


def test_preinsts_run_before_the_files_are_there(bench: Bench, tmp_path: Path) -> None:
    check = SCRIPT + 'test ! -e /usr/share/early/file\ntest "$1" = install\necho $DPKG_MAINTSCRIPT_PACKAGE >&2\n'
    both(bench, [bench.make(tmp_path, "early", {"usr/share/early/file": "e\n"}, preinst=check)])
    assert b"early\n" in (bench.folder / "auto1/output").read_bytes()


@pytest.mark.parametrize("script", ["preinst", "postinst"])
@pytest.mark.parametrize("way", ["fast", "reference"])
def test_a_script_that_fails_is_named_with_its_last_words(bench: Bench, tmp_path: Path, script: str, way: str) -> None:
    package = bench.make(
        tmp_path, "broken", {"usr/share/broken": "b\n"}, **{script: SCRIPT + "echo sorry >&2\nexit 9\n"}
    )
    bench.unpack([package])
    facts, _ = bench.configure([package], way)
    assert facts["error"] == f"the {script} script of package broken failed"
    assert "9" in facts["why"] and "sorry" in facts["output"]
    assert "stackbuild build --shell-on-failure" in facts["hints"]


def test_questions_get_the_stacks_answers(bench: Bench, tmp_path: Path) -> None:
    ask = SCRIPT + '. /usr/share/debconf/confmodule\ndb_get asks/colour\necho "$RET" > /etc/colour\n'
    asks = bench.make(
        tmp_path, "asks", {}, Depends="debconf", postinst=ask,
        templates="Template: asks/colour\nType: string\nDefault: grey\nDescription: Colour?\n",
    )  # fmt: skip
    _, tree = both(bench, [asks], debconf={"asks/colour": "deep blue", "other/question": "x"})
    assert (tree / "etc/colour").read_text() == "deep blue\n"


KEYS = SCRIPT + (
    "printf -- '-----BEGIN PRIVATE KEY-----\\nAA\\n' > /etc/ssh_host_x_key\nchmod 600 /etc/ssh_host_x_key\n"
    "echo pub > /etc/ssh_host_x_key.pub\n"
)


def test_private_keys_that_scripts_make_are_not_kept_unless_asked(bench: Bench, tmp_path: Path) -> None:
    package = bench.make(tmp_path, "keys", {"usr/share/keys": "k\n"}, postinst=KEYS)
    facts, tree = both(bench, [package])
    assert facts["generated"]["removed"] == ["etc/ssh_host_x_key", "etc/ssh_host_x_key.pub"]
    assert not (tree / "etc/ssh_host_x_key").exists() and not (tree / "etc/ssh_host_x_key.pub").exists()
    bench.configured.pop()
    facts, place = bench.configure([package], "fast", "kept", generated="keep")
    assert facts["generated"]["kept"] == ["etc/ssh_host_x_key", "etc/ssh_host_x_key.pub"]
    assert (place / "tree/etc/ssh_host_x_key").exists()
    facts, _ = bench.configure([package], "fast", "failed", generated="fail")
    assert facts["error"] == "maintainer scripts generated private keys" and "/etc/ssh_host_x_key" in facts["why"]


def test_logs_caches_and_this_builds_identity_are_not_kept(bench: Bench, tmp_path: Path) -> None:
    work = SCRIPT + (
        "mkdir -p /var/log/mine /var/cache/apt/x\nchown 33 /var/log/mine\necho l > /var/log/mine/log\n"
        "echo t > /tmp/t; echo r > /run/r; echo v > /var/tmp/v\necho 0123 > /etc/machine-id\n"
        "echo c > /var/cache/apt/x/c; env > /etc/environ; hostname > /etc/seen-host\n"
    )
    _, tree = both(bench, [bench.make(tmp_path, "writer", {"run/mine/": "0755", "tmp/mine": "m\n"}, postinst=work)])
    assert sorted(p.name for p in (tree / "var/log").rglob("*")) == ["mine"]
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert not [p for p in tree.rglob("*") if p.name.endswith("-old") or p.name in ("t", "r", "v", "c", "tmp.ci")]
    assert not (tree / "usr/sbin/policy-rc.d").exists()
    seen = dict(line.split("=", 1) for line in (tree / "etc/environ").read_text().splitlines())
    assert {
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": "315532801",
    }.items() <= seen.items()
    assert not {"SSH_AUTH_SOCK", "HOSTNAME", "XDG_RUNTIME_DIR", "PYTHONPATH"} & seen.keys()


def test_the_chroot_sandbox_gives_the_same_layers(bench: Bench, tmp_path: Path) -> None:
    divert = "dpkg-divert --quiet --package guard --divert /usr/bin/halt.real --rename --add /usr/bin/halt\n"
    work = SCRIPT + "rm -f /usr/bin/which; ln -sf a /etc/b; mkfifo /srv/fifo; rm /usr/bin/halt.real\n"
    files = {"usr/bin/halt": "guard\n", "run/guard/": "0750", "var/log/guard/": "0755"}
    guard = bench.make(tmp_path, "guard", files, preinst=SCRIPT + divert, postinst=work)
    packages = [guard, bench.make(tmp_path, "plain", {"usr/bin/halt": "plain\n"})]
    facts, tree = both(bench, packages)
    bench.configured.pop()
    bench.sandbox = "chroot"
    for way in ("fast", "reference"):
        other, place = bench.configure(packages, way, f"chroot-{way}")
        assert "error" not in other, other
        assert differences(tree, place / "tree") == []
        assert other["diff_id"] == facts["diff_id"]


def test_left_out_files_stay_out_both_ways(bench: Bench, tmp_path: Path) -> None:
    files = {"usr/share/doc/d/README": "r\n", "usr/share/doc/d/copyright": "c\n", "etc/d.conf": "d\n"}
    package = bench.make(tmp_path, "d", files, conffiles="/etc/d.conf\n")
    rules: dict[str, Any] = {"exclude": ["/usr/share/doc/*", "/etc/d.*"], "include": ["/usr/share/doc/*/copyright"]}
    bench.unpack([package], **rules)
    quick, place = bench.configure([package], "fast", "fast", **rules)
    careful, other = bench.configure([package], "reference", "reference", **rules)
    assert differences(place / "tree", other / "tree") == []
    assert quick["diff_id"] == careful["diff_id"]
    assert not (bench.fragments[-1] / "usr/share/doc/d/README").exists()
    assert (bench.fragments[-1] / "usr/share/doc/d/copyright").exists()


def test_the_finished_tree_is_one_that_dpkg_and_apt_can_go_on_with(bench: Bench, tmp_path: Path) -> None:
    library = bench.make(tmp_path, "library", {"usr/share/library": "l\n"})
    both(bench, [{**library, "manual": False}, bench.make(tmp_path, "program", {"usr/bin/program": "p\n"})])
    whole = bench.whole(tmp_path / "whole")
    assert inside(whole, "dpkg", "--audit").stdout == ""
    checked = inside(whole, "dpkg", "-V")
    assert checked.stdout == "", "files that are not as their packages say"
    assert "library\n" in inside(whole, "apt-mark", "showauto").stdout
    assert "program\n" in inside(whole, "apt-mark", "showmanual").stdout
    added = bench.make(tmp_path, "added", {"usr/share/added": "a\n"}, Depends="library")
    (whole / "root/added.deb").write_bytes(bench.file(added["file"]).read_bytes())
    installed = inside(whole, "apt-get", "install", "-y", "/root/added.deb")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert inside(whole, "apt-get", "autoremove", "-y", "--purge", "program").returncode == 0
    assert inside(whole, "dpkg", "--audit").stdout == ""
