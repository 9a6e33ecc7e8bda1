"""Paths of a foreign tree lead where the kernel says they lead inside a chroot; that is the oracle."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.core.errors import StepError
from stackbuild.core.follow import NotAFolder, follow

_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10


@dataclass(frozen=True)
class Entry:
    kind: str
    target: bytes = b""


def looker(tree: dict[bytes, Entry]) -> Callable[[bytes], Entry | None]:
    return tree.get


def test_links_are_followed_inside_the_tree() -> None:
    tree = {b"bin": Entry("symlink", b"usr/bin"), b"usr": Entry("dir"), b"usr/bin": Entry("dir")}
    tree |= {b"abs": Entry("symlink", b"/usr"), b"up": Entry("symlink", b"../../usr"), b"f": Entry("file")}
    look = looker(tree)
    assert follow(look, b"/bin/x", last=True) == b"usr/bin/x"
    assert follow(look, b"abs/bin/../new/deep", last=True) == b"usr/new/deep"
    assert follow(look, b"up", last=True) == b"usr" and follow(look, b"up", last=False) == b"up"
    assert follow(look, b"//./bin/.", last=False) == b"bin"
    assert follow(look, b"../..", last=True) == b""


def test_a_way_through_a_file_or_a_circle_is_an_error() -> None:
    look = looker({b"f": Entry("file"), b"a": Entry("symlink", b"b"), b"b": Entry("symlink", b"a")})
    with pytest.raises(NotAFolder, match="there can be no /f/x: /f is not a folder"):
        follow(look, b"f/x", last=True)
    with pytest.raises(StepError, match="the links of /a/x lead in a circle"):
        follow(look, b"a/x", last=True)


def kernel(root: int, path: bytes) -> str | None:
    """Where the kernel goes when `root` is the root directory; None if it goes nowhere."""
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    fd = ctypes.CDLL(None, use_errno=True).syscall(_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        return None
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5).map("/".join)
WAYS = st.one_of(PATHS, PATHS.map(lambda path: f"/{path}"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3).map("/".join), WAYS), max_size=6), WAYS)
def test_it_agrees_with_the_kernel(links: list[tuple[str, str]], way: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        for place, target in links:
            try:
                (base / place).parent.mkdir(parents=True, exist_ok=True)
                os.symlink(target, base / place) if target else (base / place).mkdir()
            except OSError:
                continue
        root = os.open(base, os.O_PATH)
        try:
            there = kernel(root, way.encode() or b".")
        finally:
            os.close(root)

        def look(path: bytes) -> Entry | None:
            full = os.path.join(os.fsencode(base), path)
            if os.path.islink(full):
                return Entry("symlink", os.readlink(full))
            return Entry("dir") if os.path.isdir(full) else None

        if there is not None:
            assert follow(look, way.encode(), last=True) == os.fsencode(os.path.relpath(there, base)).removeprefix(b".")
