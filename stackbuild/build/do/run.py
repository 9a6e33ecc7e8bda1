"""Runs the script of a run step in the sandbox and writes what it changed as a layer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackbuild.build.own_layer import layer_facts
from stackbuild.build.project_copy import lay_out
from stackbuild.build.script import MARK, Script, script_of
from stackbuild.build.secrets import Hiding, Needles, read_secrets, refuse_secrets
from stackbuild.core.action import Action, Room
from stackbuild.core.changes import Changes
from stackbuild.core.errors import Hint, StepError
from stackbuild.core.follow import follow
from stackbuild.host.processor import need_platform
from stackbuild.host.sandbox import open_sandbox
from stackbuild.host.sandbox.protocol import Bind, Command
from stackbuild.oci.tar_write import write_changes
from stackbuild.oci.tree_view import TreeView

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAIL = 8 << 10
LINES = 40
PRIVATE = (b"run", b"tmp")
"""Folders that are empty in each step; nothing in them is ever in a layer."""
SOURCES = "/src"
SHELL = b"bin/sh"
SECRETS = "/run/secrets"
MAX_SCRIPT = 120 << 10  # one argument of execve(2) is at most 128 KiB


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/layer`; returns the facts of a layer.

    params: "epoch", "compression", "script": lines, "workdir", "env", "network", "caches": [{"path", …}],
    "secrets": names, "entries": project files as build/project_copy.py lays them out under /src. The script's
    output goes to `room.output`, secrets hidden. Raises StepError with the line that failed and its last output,
    and for a secret in what the script changed; UsageError for a secret that was not given.
    """
    params = action.params
    epoch, compression = int(params["epoch"]), str(params.get("compression", "gzip"))
    secrets = read_secrets(tuple(params.get("secrets", ())), room.secrets)
    needles = Needles(secrets)
    script = script_of(params["script"])
    if len(script.text.encode("utf-8", "surrogateescape")) > MAX_SCRIPT:
        raise StepError(
            "the script is too long", hints=[Hint("put it into a file of the project and name it in `inputs`")]
        )
    if TreeView(room.lowers).find(SHELL) is None:
        raise StepError(
            "there is no /bin/sh to run the script",
            why="the layers below have none" if room.lowers else "the image is empty below this layer",
            hints=[Hint("install one, such as `dash`, or make the files with `copy` and `files`")],
        )
    need_platform(action.platform, room.scratch)
    (room.scratch / "box").mkdir()
    binds = [*_sources(action, room, epoch), *_caches(params, room), *_secrets(secrets, room.scratch)]
    with open_sandbox(room.sandbox).open(room.lowers, room.scratch / "box") as box:
        workdir = str(params.get("workdir") or "/")
        _make_workdir(box.root, workdir, binds)
        command = Command(
            argv=("/bin/sh", "-eu", "-c", script.text),
            env={"PATH": PATH, "HOME": "/root", "SOURCE_DATE_EPOCH": str(epoch), **params.get("env", {})},
            cwd=workdir,
            binds=tuple(binds),
            network=bool(params.get("network")),
        )
        log = _Log(needles, room)
        code = box.run(command, log.write)
        log.end()
        if code != 0:
            raise _failed(script, code, log)
        changes = _kept(box.changes())
        refuse_secrets(changes, needles)
        with open(room.out / "layer", "wb") as out:
            written = write_changes(changes, out, epoch=epoch, compression=compression)
    return layer_facts(written, compression, not changes, str(params["created_by"]))


class _Log:
    """Output on its way: secrets hidden, our own marks taken out, the end kept for an error."""

    def __init__(self, needles: Needles, room: Room) -> None:
        self._hiding = Hiding(needles, self._pass)
        self._room = room
        self._kept = b""
        self.tail = b""
        self.line: int | None = None
        """The number that the script's own mark named when it failed."""

    def write(self, data: bytes) -> None:
        self._hiding.write(data)

    def end(self) -> None:
        self._hiding.flush()
        self._give(self._kept)
        self._kept = b""

    def _pass(self, data: bytes) -> None:
        data = self._kept + data
        if (mark := MARK.search(data)) is not None:
            self.line = int(mark[1])
            data = data[: mark.start()] + data[mark.end() :]
        begin = data.find(b"\x1e", max(0, len(data) - 16))  # a mark may come in two pieces
        self._kept = data[begin:] if begin >= 0 else b""
        self._give(data[: len(data) - len(self._kept)])

    def _give(self, data: bytes) -> None:
        if data:
            self._room.output(data)
            self.tail = (self.tail + data)[-TAIL:]


def _sources(action: Action, room: Room, epoch: int) -> list[Bind]:
    """The project files of the step: a copy, so what is written there is thrown away."""
    entries = action.params.get("entries", ())
    if not entries:
        return []
    lay_out(action, room, entries, room.scratch / "src", epoch)
    return [Bind(room.scratch / "src", SOURCES, writable=True)]


def _caches(params: Mapping[str, Any], room: Room) -> list[Bind]:
    targets = [cache if isinstance(cache, str) else cache["path"] for cache in params.get("caches", ())]
    return [Bind(room.caches[target], target, writable=True) for target in targets]


def _secrets(secrets: Mapping[str, bytes], scratch: Path) -> list[Bind]:
    """Each secret as a file that root alone may read; the file goes with `scratch`."""
    binds = []
    for name, value in secrets.items():
        place = scratch / f"secret-{name}"
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o400)
            file.write(value)
        binds.append(Bind(place, f"{SECRETS}/{name}"))
    return binds


def _make_workdir(root: Path, workdir: str, binds: list[Bind]) -> None:
    """The folder in which the script starts, made as Docker's WORKDIR: in the tree, or in what is mounted there."""
    wanted = os.fsencode(workdir)
    for bind in binds:
        target = os.fsencode(bind.target)
        if bind.writable and (wanted + b"/").startswith(target.rstrip(b"/") + b"/"):
            root, wanted = bind.source, wanted[len(target) :]
            break
    here = os.fsencode(root)
    for part in follow(TreeView([root]).look, wanted, last=True).split(b"/"):
        here = os.path.join(here, part)
        if part and not os.path.lexists(here):
            os.mkdir(here)
            os.chmod(here, 0o755)
            os.chown(here, 0, 0)


def _kept(changes: Changes) -> Changes:
    """Without what is in folders that no layer keeps."""
    inside = tuple(name + b"/" for name in PRIVATE)
    present = tuple(path for path in changes.present if not path.startswith(inside))
    above = {path.rpartition(b"/")[0] for path in (*present, *changes.deleted)}
    present = tuple(path for path in present if path not in PRIVATE or path in above)
    return replace(changes, present=present, deleted=tuple(p for p in changes.deleted if not p.startswith(inside)))


def _failed(script: Script, code: int, log: _Log) -> StepError:
    """Which line failed, with which exit code, and what it wrote last."""
    first, last = script.part(log.line) if log.line is not None else (1, len(script.lines))
    line = script.lines[first - 1].strip().splitlines() or [""]
    shown = line[0] if len(line) == 1 and first == last else f"{line[0]} …"
    what = f"`{shown:.200}` failed"
    number = f"line {first}" if first == last else f"one of the lines {first} to {last}"
    end = f"exit code {code}" if code <= 128 else f"it was killed by signal {code - 128}"
    hints = []
    if code == 127:
        hints.append(Hint("a command was not found: name the package that has it in packages.install"))
    tail = log.tail.decode("utf-8", "replace").splitlines()[-LINES:]
    return StepError(what, why=f"{number} of `run`: {end}", hints=hints, output="\n".join(tail))
