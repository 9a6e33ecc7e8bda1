"""From settled settings and a lock to steps: waves, trees below them, what cannot be planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.build.steps.configure import Configure
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import UsageError
from stackbuild.lock.lock import Lock, LockedArchive, LockedPackage, LockedRemoval, PlatformLock
from stackbuild.plan.graph import Plan
from stackbuild.plan.planner import make_plan
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle

STACK = """\
[stack]
name = "planned"
[base]
distro = "debian/bookworm"
[packages]
install = ["hello", "jq"]
[users.app]
uid = 10001
[[layer]]
name = "conf"
files = [{ path = "/etc/a", content = "a" }]
[[layer]]
name = "made"
run = ["true"]
"""


def package(name: str, wave: int, *, source: str = "") -> LockedPackage:
    return LockedPackage(
        name, "1", "amd64", digest_of(name.encode()), 1, "Debian/bookworm", f"pool/{name}.deb", source or name, wave
    )


def plan(tmp_path: Path, text: str = STACK, *names: tuple[str, int]) -> Plan:
    (tmp_path / "stack.toml").write_text(text)
    stack = settle(Question(tmp_path / "stack.toml"))
    packages = tuple(package(*one) for one in names or (("dpkg", 0), ("libc6", 0), ("hello", 1), ("jq", 2)))
    archive = LockedArchive("Debian/bookworm", "Debian", "bookworm", "bookworm", "", Digest("sha256:" + "0" * 64))
    return make_plan(stack, Lock(digest_of(b""), {"linux/amd64": PlatformLock(None, (archive,), packages)}))


def test_a_wave_sees_the_fragments_so_far_below_what_was_configured(tmp_path: Path) -> None:
    steps = plan(tmp_path).steps
    tree = steps["configure/2"].tree
    waves = [id.split("/")[1] for id in tree if id.startswith("unpack/")]
    assert waves == sorted(waves) and set(waves) == {"0", "1", "2"}
    assert tree[-3:] == ("configure/0", "users", "configure/1")
    assert not [id for id in steps["users"].tree if id.startswith("unpack/1")]


def test_the_image_has_each_layer_once_in_the_order_of_the_trees(tmp_path: Path) -> None:
    steps = plan(tmp_path).steps
    layers = steps["image"].tree
    assert len(set(layers)) == len(layers)
    assert layers[-2:] == ("files/conf", "run/made")
    assert steps["run/made"].tree == layers[:-1]
    assert all(steps[id].layer for id in layers)


def test_files_depend_on_a_facet_and_never_on_the_tree(tmp_path: Path) -> None:
    step = plan(tmp_path).steps["files/conf"]
    assert step.tree == () and step.needs == {"facet": "facet/conf"}


def test_an_added_package_changes_no_step_of_an_earlier_wave(tmp_path: Path) -> None:
    before = plan(tmp_path).steps
    more = (("dpkg", 0), ("libc6", 0), ("hello", 1), ("jq", 2), ("new", 3))
    after = plan(tmp_path, STACK, *more).steps
    assert {id for id in before if before[id] != after[id]} == {"facet/conf", "run/made", "image"}


def test_a_bootstrap_without_dpkg_is_refused_at_its_setting(tmp_path: Path) -> None:
    step = plan(tmp_path, STACK, ("base-files", 1)).steps["configure/1"]
    kind = Configure()
    with pytest.raises(UsageError, match="cannot be configured") as error:
        kind.action(step, kind.inputs(step, {id: digest_of(b"") for id in step.after}), {})
    assert error.value.hints and error.value.where == step.origin


def test_a_platform_that_the_lock_lacks_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing for linux/arm64"):
        plan(tmp_path, STACK + '[image]\nplatforms = ["linux/amd64", "linux/arm64"]\n')


def test_upgrades_and_removals_of_a_base_image_are_told_to_the_wave_that_does_them(tmp_path: Path) -> None:
    (tmp_path / "stack.toml").write_text('[stack]\nname = "x"\n[base]\nimage = "oci:base"\n[users.app]\nuid = 10001\n')
    stack = settle(Question(tmp_path / "stack.toml"))
    gone = (LockedRemoval("old", "1", "amd64"),)
    archive = LockedArchive("Debian/bookworm", "Debian", "bookworm", "bookworm", "", Digest("sha256:" + "0" * 64))
    packages = (replace(package("libc6", 1), replaces="0.9"), package("hello", 2))

    def steps(*packages: LockedPackage, removed: tuple[LockedRemoval, ...] = ()) -> Plan:
        locked = PlatformLock(digest_of(b"base"), (archive,), packages, "oci:base", removed=removed)
        return make_plan(stack, Lock(digest_of(b""), {"linux/amd64": locked}))

    both = steps(*packages, removed=gone).steps
    assert both["configure/1"].params["remove"] == ["old"] and "remove" not in both["configure/2"].params
    assert [p.get("upgrades") for p in both["configure/1"].params["packages"]] == ["0.9"]
    assert "upgrades" not in both["configure/2"].params["packages"][0]
    assert "remove" not in steps(*packages).steps["configure/1"].params, "keys without removals are as they were"
    only = steps(removed=gone).steps
    assert only["configure/1"].params["remove"] == ["old"] and not only["configure/1"].params["packages"]
    assert only["configure/1"].tree == ("base", "users") and only["image"].tree == ("base", "users", "configure/1")
