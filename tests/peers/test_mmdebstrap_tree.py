"""The tree of a bootstrapped image is the one that mmdebstrap makes of the same packages, but for a short list."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

import pytest

from benchmarks.local_mirror import make_mirror
from tests.conftest import Hello, Stackbuild
from tests.machine import need, need_root, run

pytestmark = pytest.mark.peer

# Every difference that may be, as a pattern of its path, and why. Whatever else differs is a bug.
EXPECTED = {
    r"etc/(hostname|resolv\.conf|machine-id)": "mmdebstrap writes the host's; in ours they come at run time",
    r"etc/apt/sources\.list(\.d/.*)?": "an image gets sources only from the stack's own packages.source",
    r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-": "backups of account files are not kept",
    r"var/log/.*": "logs are not kept",
    r"var/cache/(apt|ldconfig|debconf)/.*": "caches",
    r"var/lib/apt/.*": "apt's indexes and its record of them: ours was made without apt",
    r"var/lib/dpkg/(status|available|diversions|statoverride|triggers/.*|lock.*|arch|cmethopt)(-old)?": (
        "the database is compared by dpkg-query below; the order of its stanzas is not"
    ),
    r"var/cache/.*": "caches",
    r"run/.*": "what runs leaves",
    r"dev/.*": "mmdebstrap makes device nodes; an image has none, its runtime brings them",
    r"etc/fstab": "mmdebstrap writes a placeholder",
    r"etc/shells": "the same lines (compared below) in the order in which dash and bash are configured",
    r"usr/share/python3/debpython/__pycache__/.*": (
        "written dated by the first interpreter that imports it, or hashed by py3compile: which, follows the waves"
    ),
    r"tmp/.*": "what runs leaves",
}


def tree_of(root: Path) -> dict[str, tuple[object, ...]]:
    """Each entry's type, mode, owner, link target, device number and content."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            info = path.lstat()
            kind = stat.S_IFMT(info.st_mode)
            content: object = None
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            elif stat.S_ISBLK(info.st_mode) or stat.S_ISCHR(info.st_mode):
                content = info.st_rdev
            mode = None if stat.S_ISLNK(info.st_mode) else stat.S_IMODE(info.st_mode)
            found[str(path.relative_to(root))] = (kind, mode, info.st_uid, info.st_gid, content)
    return found


def database(root: Path, query: str = "${binary:Package} ${Version} ${db:Status-Abbrev}\\n") -> list[str]:
    out = run([need("dpkg-query"), f"--admindir={root}/var/lib/dpkg", "-W", "-f", query]).out
    return sorted(out.splitlines())


def test_the_tree_equals_mmdebstraps(hello: Hello, tmp_path: Path) -> None:
    need_root()
    need("mmdebstrap")
    project = tmp_path / "project"
    project.mkdir()
    text = (hello.folder / "stack.toml").read_text()
    text = text.replace('name = "hello"', 'name = "bare"')
    kept = text[: text.index("[users.app]")]  # the packages alone
    (project / "stack.toml").write_text(kept)
    stackbuild = Stackbuild(project, hello.copy_store(tmp_path / "store"))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    stackbuild("build", "--to", f"rootfs:{ours}", timeout=300)
    mirror = make_mirror(Path("/tmp") / f"sbm{os.getpid()}", hello.folder / "stack.lock", hello.store)
    try:
        argv = [need("mmdebstrap"), "--quiet", "--mode=root", "--variant=apt", "--format=directory"]
        argv += ["--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount", "--include=python3,curl,nginx-light"]
        # The order of sets in .pyc files follows Python's hash seed: without one, mmdebstrap differs from itself.
        environ = {**os.environ, "SOURCE_DATE_EPOCH": "315532801", "PYTHONHASHSEED": "0"}
        run([*argv, "", theirs, *mirror.at(mirror.folder)], timeout=300, env=environ)
    finally:
        run([need("rm"), "-rf", "--one-file-system", mirror.folder])

    assert database(ours) == database(theirs)
    shells = [sorted((root / "etc/shells").read_text().splitlines()) for root in (ours, theirs)]
    assert shells[0] == shells[1]
    left, right = tree_of(ours), tree_of(theirs)
    differing = sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path))
    unexplained = [
        f"{path}\n    ours:   {left.get(path)}\n    theirs: {right.get(path)}"
        for path in differing
        if not any(re.fullmatch(pattern, path) for pattern in EXPECTED)
    ]
    assert not unexplained, f"{len(unexplained)} differences that nothing explains:\n" + "\n".join(unexplained[:60])
    assert len(left) > 5000  # it is the whole tree that was compared
