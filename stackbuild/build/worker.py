"""Runs one action: `python -m stackbuild.build.worker REQUEST [PARENT]`. Imports only what the action needs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stackbuild.core.action import Action, Ahead, Blob, Needs, Room, canonical
from stackbuild.core.digest import Digest, digest_of_file
from stackbuild.core.errors import Hint, HostError, StackError, StepError
from stackbuild.core.files import host_error, is_full

FULL = 28
"""Exit code of a worker that had no space left to say how it ended: the number of ENOSPC."""


def perform(action: Action, room: Room) -> dict[str, Any]:
    """Do an action in its room. Returns {"facts": ..., "outputs": {name: [digest, size]}}.

    Raises StackError. What a success did not leave, although it was declared, is an error too.
    """
    from stackbuild.build.do import function

    try:
        facts = dict(function(action.kind)(action, room))
        outputs = {}
        for name in action.outputs:
            path = room.out / name
            if not path.is_file() or path.is_symlink():
                raise StepError(f"`{action.kind}` left no `{name}`", why="it ended without its declared output")
            outputs[name] = list(digest_of_file(path))
    except OSError as error:
        raise host_error(error, error.filename or room.out) from error
    return {"facts": facts, "outputs": outputs}


def encode(action: Action, room: Room) -> bytes:
    """Action and room as the worker process reads them."""
    return canonical(
        {
            "action": json.loads(action.canonical()),
            "room": {
                "inputs": {name: str(path) for name, path in room.inputs.items()},
                "lowers": [str(path) for path in room.lowers],
                "out": str(room.out),
                "scratch": str(room.scratch),
                "sandbox": room.sandbox,
                "ahead": room.ahead is not None,
                "secrets": {name: str(path) for name, path in room.secrets.items()},
                "caches": {name: str(path) for name, path in room.caches.items()},
            },
        }
    )


def decode(data: bytes, output: Callable[[bytes], None], ahead: Ahead | None = None) -> tuple[Action, Room]:
    """The reverse of `encode`. ahead: `Room.ahead`, if the one that was encoded had one."""
    tree = json.loads(data)
    act, room = tree["action"], tree["room"]
    needs = act["needs"]
    return Action(
        kind=act["kind"],
        params=act["params"],
        inputs={n: Blob(Digest(b["digest"]), b["size"]) for n, b in act["inputs"].items()},
        tree=tuple(Digest(d) for d in act["tree"]),
        outputs=tuple(act["outputs"]),
        platform=act["platform"],
        needs=Needs(needs["sandbox"], needs["network"], tuple(needs["secrets"]), tuple(needs["caches"])),
    ), Room(
        inputs=_paths(room["inputs"]),
        lowers=tuple(Path(p) for p in room["lowers"]),
        out=Path(room["out"]),
        scratch=Path(room["scratch"]),
        sandbox=room["sandbox"],
        secrets=_paths(room["secrets"]),
        caches=_paths(room["caches"]),
        output=output,
        ahead=ahead if room["ahead"] else None,
    )


def _paths(tree: Mapping[str, str]) -> dict[str, Path]:
    return {name: Path(path) for name, path in tree.items()}


def encode_error(error: StackError) -> bytes:
    """An error as the parent reads it; the class is told by its exit code."""
    return canonical(
        {
            "exit_code": error.exit_code,
            "what": error.what,
            "why": error.why,
            "output": error.output,
            "hints": [[hint.text, hint.command] for hint in error.hints],
        }
    )


def decode_error(data: bytes) -> StackError:
    """The reverse of `encode_error`. Raises ValueError."""
    tree = json.loads(data)
    classes = {kind.exit_code: kind for kind in StackError.__subclasses__()}
    return classes.get(tree["exit_code"], HostError)(
        tree["what"], why=tree["why"], hints=[Hint(*hint) for hint in tree["hints"]], output=tree["output"]
    )


def write_output(data: bytes) -> None:
    """What a command wrote goes to the parent's pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent, process `parent`, is gone (PR_SET_PDEATHSIG, SIGKILL)."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it went before we asked
        os._exit(137)


def main() -> int:
    if len(sys.argv) > 2:
        die_with_parent(int(sys.argv[2]))
    return run(Path(sys.argv[1]))


def run(request: Path, wait: Callable[[], None] | None = None) -> int:
    """Do the action in the file; beside it `result.json` or, for an expected failure, `error.json`. An exit code: FULL
    if there is no space for either.

    wait: says that `ahead.json` is there, and returns when the rest may go on; None: nobody is told.
    """

    def ahead(facts: Mapping[str, Any]) -> None:
        if wait is not None:
            request.with_name("ahead.json").write_bytes(canonical(facts))
            wait()

    try:
        try:
            action, room = decode(request.read_bytes(), write_output, ahead)
            done = perform(action, room)
            request.with_name("result.json").write_bytes(canonical(done))
            return 0
        except StackError as error:
            request.with_name("error.json").write_bytes(encode_error(error))
            return 1
    except OSError as error:
        if is_full(error):
            return FULL
        raise


if __name__ == "__main__":
    sys.exit(main())
