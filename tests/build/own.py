"""A stack's own layers made as a build makes them, without planner and store: key, action, doing half, layer."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.project_files import ProjectFiles
from stackbuild.build.steps.copy import Copy
from stackbuild.build.steps.facet import Facet
from stackbuild.build.steps.files import Files
from stackbuild.build.steps.remove import Remove
from stackbuild.build.steps.run import Run
from stackbuild.build.steps.users import Users
from stackbuild.build.worker import decode_error, encode, perform
from stackbuild.core.action import Action, ActionResult, Blob, Room
from stackbuild.core.digest import Digest, digest_of_file
from stackbuild.core.origin import Origin
from stackbuild.plan.step import ActionKind, Inputs, Step

COMMON = {"epoch": 315532801, "compression": "gzip"}
ORIGIN = Origin("project", "stack.toml", 7, ("layer", "site", "copy"))
DEBIAN_LIKE = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n",
    "group": "root:x:0:\nadm:x:4:\nwww-data:x:33:\n",
    "shadow": "root:*:3652:0:99999:7:::\nwww-data:*:3652:0:99999:7:::\n",
    "gshadow": "root:*::\nadm:*::\nwww-data:*::\n",
}
PROGRAMS = ("sh", "cat", "mkdir", "ln", "rm", "chmod", "chown", "cp", "touch", "ls", "stat", "sleep", "base64", "env")


def write(root: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Files below a folder; None is a folder, a text that begins with "-> " a link."""
    for name, content in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir(exist_ok=True)
        elif isinstance(content, str) and content.startswith("-> "):
            place.symlink_to(content[3:])
        else:
            place.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def small_tree(root: Path, programs: Sequence[str] = ()) -> Path:
    """A root file system with merged-/usr, accounts and, if asked, programs of this machine with their libraries."""
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "etc", "var/www", "tmp", "run", "root"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    write(root / "etc", DEBIAN_LIKE)
    (root / "etc/shadow").chmod(0o640)
    for program in programs:
        found = shutil.which(program)
        assert found is not None, program
        shutil.copy(os.path.realpath(found), root / "usr/bin" / program)
        listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for word in listed.split():
            if word.startswith("/"):
                target = root / os.path.realpath(root / word.lstrip("/")).removeprefix(f"{root}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copy(word, target)
    return root


@dataclass(frozen=True)
class Layer:
    """A layer that was made. entries: by path, as tarfile reads them."""

    facts: Mapping[str, Any]
    blob: bytes
    inputs: Inputs
    action: Action
    output: bytes = b""
    entries: Mapping[str, tarfile.TarInfo] = field(default_factory=dict)

    def content(self, path: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(self.blob))) as archive:
            file = archive.extractfile(path)
            assert file is not None
            return file.read()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.blob).hexdigest()


@dataclass
class Bench:
    """Everything that a layer is made of. lowers: unpacked layers, lowest first."""

    folder: Path
    project: Path
    lowers: Sequence[Path]
    sandbox: str = "overlay"
    secrets: Mapping[str, Path] = field(default_factory=dict)
    caches: Mapping[str, Path] = field(default_factory=dict)
    fetched: Mapping[str, Path] = field(default_factory=dict)
    wrap: Callable[[list[str]], list[str]] = list
    """The worker's command line made another one (another user, another umask)."""

    def layer(self, kind: str, params: Mapping[str, Any], *, worker: bool | None = None) -> Layer:
        """Make one. worker: in a process of its own; None: only a `run`. Raises StackError."""
        files = ProjectFiles(self.project)
        kinds: dict[str, ActionKind] = {
            "copy": Copy(files), "files": Files(), "remove": Remove(), "run": Run(files), "users": Users(),
        }  # fmt: skip
        downloads = {f"get/{role}": ActionResult({"file": blob_of(path)}, {}) for role, path in self.fetched.items()}
        roles = {role: f"get/{role}" for role in self.fetched}
        needs: dict[str, str] = {}
        if kind in ("copy", "files", "remove"):
            facet = Step("facet/x", "facet", params, roles, ("below",), origin=ORIGIN)
            result, _, _ = self._do(Facet(files), facet, downloads, worker=False)
            downloads["facet/x"] = result
            needs = {"facet": "facet/x", **roles}
        tree = () if needs else ("below",)
        step = Step(f"{kind}/x", kind, {**COMMON, **params}, needs, tree, layer=True, origin=ORIGIN)
        result, inputs, out = self._do(kinds[kind], step, downloads, worker=kind == "run" if worker is None else worker)
        action, output = self._last
        blob = (out / "layer").read_bytes()
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
            entries = {member.name: member for member in archive}
        return Layer(result.facts, blob, inputs, action, output, entries)

    def facet(self, params: Mapping[str, Any]) -> tuple[ActionResult, Inputs]:
        result, inputs, _ = self._do(
            Facet(ProjectFiles(self.project)), Step("facet/x", "facet", params, {}, ("below",)), {}, worker=False
        )
        return result, inputs

    def _do(
        self, kind: ActionKind, step: Step, results: Mapping[str, ActionResult], *, worker: bool
    ) -> tuple[ActionResult, Inputs, Path]:
        below = ActionResult({}, {"diff_id": "sha256:" + "0" * 64})
        known = {"below": below, **results}
        inputs = kind.inputs(step, {id: known[id].digest for id in step.after})
        action = kind.action(step, inputs, known)
        work = self.folder / str(len(list(self.folder.iterdir())) if self.folder.exists() else 0)
        for name in ("out", "scratch"):
            (work / name).mkdir(parents=True)
        places = {**kind.places(step), **self.fetched}
        for role, id in step.needs.items():
            for blob in known[id].outputs.values():
                places.setdefault(role, self.folder / "blobs" / blob.digest)
        written = bytearray()
        room = Room(
            {name: places[name] for name in action.inputs}, tuple(self.lowers) if step.tree else (),
            work / "out", work / "scratch", self.sandbox, self.secrets, self.caches, written.extend,
        )  # fmt: skip
        facts = self._work(action, room, work) if worker else perform(action, room)["facts"]
        self._last = (action, bytes(written))
        outputs = {name: self._keep(room.out / name) for name in action.outputs}
        return ActionResult(outputs, facts), inputs, room.out

    def _work(self, action: Action, room: Room, work: Path) -> Any:
        (work / "request.json").write_bytes(encode(action, room))
        argv = self.wrap([sys.executable, "-m", "stackbuild.build.worker", str(work / "request.json")])
        ran = subprocess.run(argv, capture_output=True, timeout=120, cwd=work, check=False)
        room.output(ran.stdout)
        if (work / "error.json").exists():
            error = decode_error((work / "error.json").read_bytes())
            error.__notes__ = [ran.stdout.decode(errors="replace")]
            raise error
        assert ran.returncode == 0, ran.stderr.decode()
        return json.loads((work / "result.json").read_bytes())["facts"]

    def _keep(self, path: Path) -> Blob:
        blob = blob_of(path)
        (self.folder / "blobs").mkdir(exist_ok=True)
        shutil.copy(path, self.folder / "blobs" / blob.digest)
        return blob


def blob_of(path: Path) -> Blob:
    digest, size = digest_of_file(path)
    return Blob(Digest(digest), size)


LATE = ("its content is another", "it was there when the build began")
"""What is said of a file after each edit of `edit_late`."""


def edit_late(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: Any, name: str = "package.json") -> None:
    """Let each layer of a kind find, after its files were looked at, that one is changed; the next, that it is gone."""
    file, real = bench.project / name, kind.places
    edits: list[Callable[[], object]] = [lambda: file.write_text("[]"), file.unlink]

    def late(self: Any, step: Any) -> Any:
        edits.pop(0)()
        return real(self, step)

    monkeypatch.setattr(kind, "places", late)
