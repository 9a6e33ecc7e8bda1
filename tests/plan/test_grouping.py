"""Layers of packages on ten real stacks (tests/data/sharing): what they share, what an update moves, the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import UsageError
from stackbuild.lock.lock import Lock, LockedArchive, LockedPackage, PlatformLock
from stackbuild.plan.graph import Plan
from stackbuild.plan.grouping import WAVES, group_counts
from stackbuild.plan.planner import make_plan
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle

DATA = Path(__file__).parent.parent / "data/sharing"
PLATFORM = "linux/amd64"


def locked(name: str, version: str, architecture: str, size: int, source: str) -> LockedPackage:
    sha = digest_of(f"{name} {version} {architecture}".encode())
    return LockedPackage(name, version, architecture, sha, size, "Debian/bookworm", f"pool/{name}.deb", source, 0)


@cache
def stacks() -> Mapping[str, tuple[LockedPackage, ...]]:
    """The packages of each stack, in the order of its lock."""
    known = {}
    for line in (DATA / "packages.txt").read_text().splitlines()[1:]:
        name, version, architecture, size, source = line.split()
        known[name] = locked(name, version, architecture, int(size), source)
    found: dict[str, tuple[LockedPackage, ...]] = {}
    for line in (DATA / "stacks.txt").read_text().splitlines()[1:]:
        if line.startswith("["):
            stack = line.strip("[]")
            found[stack] = ()
        else:
            wave, *names = line.split()
            found[stack] += tuple(replace(known[name], wave=int(wave)) for name in names)
    return found


def planned(folder: Path, packages: tuple[LockedPackage, ...], image: str = "") -> Plan:
    file = folder / "stack.toml"
    file.write_text(f'[stack]\nname = "s"\n[base]\ndistro = "debian/bookworm"\n[image]\n{image}\n')
    archive = LockedArchive("Debian/bookworm", "Debian", "bookworm", "bookworm", "", Digest("sha256:" + "0" * 64))
    lock = Lock(digest_of(b""), {PLATFORM: PlatformLock(None, (archive,), packages)})
    return make_plan(settle(Question(file)), lock)


def unpack_layers(plan: Plan) -> dict[Digest, int]:
    """Each layer of package files: what it is made of, and the bytes of its packages."""
    sizes = {step.params["sha256"]: step.params["size"] for step in plan.steps.values() if step.kind == "fetch"}
    return {
        digest_of(canonical(step.params)): sum(sizes[package["sha256"]] for package in step.params["packages"])
        for step in plan.steps.values()
        if step.kind == "unpack"
    }


def test_ten_stacks_share_most_of_their_layers(tmp_path: Path) -> None:
    """A registry or store that holds all ten; against one layer for all packages, as a Dockerfile's RUN makes it."""
    kept: dict[Digest, int] = {}
    apart = 0
    for packages in stacks().values():
        layers = unpack_layers(planned(tmp_path, packages))
        kept |= layers
        apart += sum(layers.values())
    each_once = sum({package.sha256: package.size for all in stacks().values() for package in all}.values())
    print(f"apart {apart / 1e6:.0f} MB, shared {sum(kept.values()) / 1e6:.0f} MB, ideal {each_once / 1e6:.0f} MB")
    assert len(stacks()) == 10
    assert sum(kept.values()) < 0.55 * apart  # figures: docs/why/package-layers.md
    assert sum(kept.values()) < 1.30 * each_once


def test_the_first_wave_is_the_same_for_all(tmp_path: Path) -> None:
    first = {
        tuple(sorted(canonical(step.params) for id, step in plan.steps.items() if id.startswith("unpack/0/")))
        for plan in (planned(tmp_path, packages) for packages in stacks().values())
    }
    assert len(first) == 1


def changed(before: Plan, after: Plan) -> set[str]:
    """The steps of which something differs that is not another step's doing."""
    ids = before.steps.keys() | after.steps.keys()
    return {
        id
        for id in ids
        if id not in before.steps
        or id not in after.steps
        or canonical(before.steps[id].params) != canonical(after.steps[id].params)
    }


@pytest.mark.parametrize("name", ["libssl3", "curl", "nginx-light", "libpython3.11-minimal", "git", "tzdata"])
def test_an_update_changes_one_group_and_the_configure_layer_of_its_wave(tmp_path: Path, name: str) -> None:
    seen = 0
    for packages in stacks().values():
        old = next((package for package in packages if package.name == name), None)
        if old is None:
            continue
        new = replace(locked(name, old.version + "+deb12u9", old.architecture, old.size + 1, old.source), wave=old.wave)
        updated = tuple(new if package is old else package for package in packages)
        moved = changed(planned(tmp_path, packages), planned(tmp_path, updated))
        groups = {id for id in moved if id.startswith("unpack/")}
        assert moved == {f"fetch/{name}", f"configure/{old.wave}", *groups} and len(groups) == 1
        seen += 1
    assert seen


def test_a_request_that_is_added_at_the_end_moves_no_layer_below(tmp_path: Path) -> None:
    packages = stacks()["media"]
    last = packages[-1].wave
    fewer = tuple(package for package in packages if package.wave < last)
    moved = changed(planned(tmp_path, fewer), planned(tmp_path, packages))
    assert {id.split("/")[1] for id in moved if id.startswith(("unpack/", "configure/"))} == {str(last)}


@pytest.mark.parametrize("budget", [*range(1, 60), 120])
def test_no_stack_has_more_layers_than_its_budget_if_that_can_be(budget: int) -> None:
    first, others = group_counts(budget)
    assert 1 <= first <= 6 and 1 <= others <= 4
    assert first + others * (WAVES - 1) + WAVES <= max(budget, 2 * WAVES)
    assert group_counts(120) == (6, 4)


def test_a_budget_bounds_the_layers_and_one_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    packages = stacks()["python-web"]
    layers = [step for step in planned(tmp_path, packages, "layers = 18").steps.values() if step.layer]
    assert len(layers) == 2 * (packages[-1].wave + 1)
    with pytest.raises(UsageError, match=r"image\.layers = 3 is too few") as error:
        planned(tmp_path, packages, "layers = 3")
    assert error.value.where is not None and error.value.where.line == 6
    assert "waves need" in error.value.why
