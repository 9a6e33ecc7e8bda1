"""host/tree.py against the kernel's own overlay, and the two sandboxes against each other, on random trees."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stackbuild.host.attributes import plain_capability
from stackbuild.host.overlay import mount_overlay, private_mounts, unmount
from stackbuild.host.sandbox import open_sandbox
from stackbuild.host.tree import MergedTree, compare

NAMES = ("a", "b", "c")
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
operations = st.one_of(
    st.tuples(st.just("write"), paths, st.sampled_from("xy")),
    st.tuples(st.just("folder"), paths, st.sampled_from((0o755, 0o700))),
    st.tuples(st.just("link"), paths, st.sampled_from(NAMES)),
    st.tuples(st.just("remove"), paths, st.none()),
    st.tuples(st.just("hard"), paths, paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("mode"), paths, st.sampled_from((0o755, 0o700, 0o644))),
)
scripts = st.lists(operations, max_size=12)


def apply(top: Path, script: list[tuple[str, str, object]]) -> None:
    """Do what can be done of a script; what cannot fails alike in equal trees."""
    for verb, path, argument in script:
        place = top / path
        try:
            if verb == "write":
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(str(argument))
            elif verb == "folder":
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(int(str(argument)))
            elif verb == "link":
                place.symlink_to(str(argument))
            elif verb == "remove":
                shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
            elif verb == "hard":
                os.link(place, top / str(argument), follow_symlinks=False)
            elif verb == "rename":
                _move(place, top / str(argument))
            elif not place.is_symlink():
                place.chmod(int(str(argument)))
        except OSError:
            pass


def _move(source: Path, target: Path) -> None:
    """As mv does it: a directory of a lower folder cannot be renamed in an overlay, so copy it there."""
    if source.is_dir() and not source.is_symlink():
        if not os.path.lexists(target) and target.parent.is_dir() and source not in target.parents:
            shutil.copytree(source, target, symlinks=True)
            shutil.rmtree(source)
    elif os.path.lexists(source):
        os.rename(source, target)


def listing(top: Path) -> dict[str, tuple[object, ...]]:
    """All that can be seen of a tree, hard links aside."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            place = os.path.join(folder, name)
            info = os.lstat(place)
            content = b""
            if stat.S_ISREG(info.st_mode):
                content = Path(place).read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                content = os.fsencode(os.readlink(place))
            found[os.path.relpath(place, top)] = (info.st_mode, content)
    return found


def merged(tree: MergedTree) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path, real, info in tree.walk():
        content = b""
        if stat.S_ISREG(info.st_mode):
            content = Path(os.fsdecode(real)).read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(real)
        found[os.fsdecode(path)] = (info.st_mode, content)
    return found


@pytest.mark.root
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(scripts, min_size=2, max_size=4))
def test_a_merged_tree_is_what_the_kernel_shows(all_scripts: list[list[tuple[str, str, object]]]) -> None:
    """Each script runs in an overlay over what the earlier ones left: whiteouts and opaque marks are the kernel's."""
    private_mounts()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        lowers = [top / "base"]
        lowers[0].mkdir()
        for number, script in enumerate(all_scripts):
            upper, work, seen = (top / f"{kind}{number}" for kind in ("upper", "work", "seen"))
            for folder in (upper, work, seen):
                folder.mkdir()
            mount_overlay(lowers, upper, work, seen, top)
            try:
                before = listing(seen)
                apply(seen, script)
                after = listing(seen)
                assert merged(MergedTree([*lowers, upper])) == after
            finally:
                unmount(seen)
            present, deleted = compare(MergedTree(lowers), MergedTree([*lowers, upper]))
            assert _patched(before, after, present, deleted) == after
            lowers.append(upper)


def _folder(node: tuple[object, ...] | None) -> bool:
    """node: what `_all` says of a path, its mode first."""
    return node is not None and isinstance(node[0], int) and stat.S_ISDIR(node[0])


def _patched(
    before: dict[str, tuple[object, ...]],
    after: dict[str, tuple[object, ...]],
    present: tuple[bytes, ...],
    deleted: tuple[bytes, ...],
) -> dict[str, tuple[object, ...]]:
    """The tree that one gets by applying changes: what compare says must be enough, and must name what exists."""
    assert set(map(os.fsdecode, deleted)) <= set(before) and not set(map(os.fsdecode, deleted)) & set(after)
    new = {os.fsdecode(path): after[os.fsdecode(path)] for path in present}
    gone = [os.fsdecode(path) for path in deleted]
    gone += [path for path in new if not (_folder(before.get(path)) and _folder(new[path]))]
    kept = {
        path: value
        for path, value in before.items()
        if not any(path == top or path.startswith(top + "/") for top in gone)
    }
    return kept | new


@pytest.mark.root
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(scripts, scripts, scripts, scripts, st.integers(0, 2))
def test_both_sandboxes_give_the_same_changes(
    low: list[tuple[str, str, object]],
    high: list[tuple[str, str, object]],
    inserted: list[tuple[str, str, object]],
    script: list[tuple[str, str, object]],
    at: int,
) -> None:
    """Also after folders were put into the stack, and against another stack."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for folder, made in (("low", low), ("high", high), ("in", inserted)):
            (top / folder).mkdir()
            apply(top / folder, made)
        assume(not _is_between(top, at))
        results = []
        for kind in ("overlay", "chroot"):
            (top / kind).mkdir()
            with open_sandbox(kind).open([top / "low", top / "high"], top / kind) as box:
                apply(box.root, script)
                changes = [box.changes(), box.changes([top / "low"])]
                seen = [listing(box.root)]
                box.insert([top / "in"], at)
                seen.append(listing(box.root))
                changes += [box.changes(), box.changes([top / "high"])]
                apply(box.root, script)
                changes.append(box.changes())
                seen.append(listing(box.root))
                results.append((seen, [(c.present, c.deleted) for c in changes]))
        assert results[0] == results[1]


def _is_between(top: Path, at: int) -> bool:
    """Whether a file is inserted where there is a directory below and above (see sandbox/insert.py)."""
    stack = ["low", "high"]
    return any(
        any((top / other / path).is_dir() for other in stack[at:])
        for path, (mode, _) in listing(top / "in").items()
        if not stat.S_ISDIR(int(str(mode)))
    )


def test_twenty_thousand_entries_take_less_than_half_a_second(tmp_path: Path) -> None:
    for number in range(200):
        folder = tmp_path / str(number % 2) / f"d{number}"
        folder.mkdir(parents=True)
        for name in range(100):
            (folder / str(name)).touch()
    times = []
    for _ in range(3):
        start = time.process_time()
        assert sum(1 for _ in MergedTree([tmp_path / "0", tmp_path / "1"]).walk()) == 20_200
        times.append(time.process_time() - start)
    assert min(times) < 0.5, times


def test_lookup_and_listdir_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "low/d").mkdir(parents=True)
    (tmp_path / "low/d/f").write_text("1")
    (tmp_path / "low/l").symlink_to("d")
    (tmp_path / "high").mkdir()
    tree = MergedTree([tmp_path / "low", tmp_path / "high"])
    found = tree.lookup(b"d/f")
    assert found and found[0] == os.fsencode(tmp_path / "low/d/f") and found[1].st_size == 1
    assert tree.lookup(b"l/f") is None and tree.lookup(b"d/f/x") is None and tree.lookup(b"no") is None
    assert tree.listdir(b"d") == [b"f"] and tree.listdir(b"l") == [] and tree.listdir(b"") == [b"d", b"l"]


def test_a_capability_has_one_form_inside_and_outside_of_a_user_namespace() -> None:
    inside = bytes.fromhex("0100000200040000000000000000000000000000")
    outside = bytes.fromhex("0100000300040000000000000000000000000000a0860100")
    assert plain_capability(outside) == plain_capability(inside) == inside
