"""A step's executable form and the four protocols around it (DESIGN, section 12): values only, no host path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from stackbuild.core.digest import Digest, digest_of


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes by name: their digest and their size in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What an executor must offer. What needs network, secrets, caches or the host stays local."""

    sandbox: bool = False
    network: bool = False
    secrets: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What an executor, here or on another machine, is to do. A pure value.

    kind: the name of the function in build/do. params: JSON values.
    inputs: relative path -> blob. tree: diff IDs of the layers that the action sees as its
    file system, lowest first; each is also an input "layers/HEX" so another machine can unpack it.
    outputs: relative regular files that a success must leave.
    """

    kind: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Blob]
    tree: tuple[Digest, ...]
    outputs: tuple[str, ...]
    platform: str
    needs: Needs = field(default_factory=Needs)

    def canonical(self) -> bytes:
        """The bytes that stand for the action: JSON, keys sorted, no spaces."""
        return canonical(asdict(self))

    @property
    def digest(self) -> Digest:
        return digest_of(self.canonical())


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action left. facts: small JSON values ("diff_id", ...) that later steps read.

    seconds: how long it took; never part of a key.
    """

    outputs: Mapping[str, Blob]
    facts: Mapping[str, Any]
    seconds: float = 0.0

    @property
    def digest(self) -> Digest:
        """What the content keys of later steps are made of: outputs and facts, not the time it took."""
        return digest_of(canonical({"outputs": {n: b.digest for n, b in self.outputs.items()}, "facts": self.facts}))

    def to_json(self) -> bytes:
        return canonical(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> ActionResult:
        """Raises ValueError if it is not one."""
        try:
            tree = json.loads(data)
            outputs = {n: Blob(Digest(b["digest"]), int(b["size"])) for n, b in tree["outputs"].items()}
            return cls(outputs, tree["facts"], float(tree["seconds"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an action result: {error!r}") from error


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII only: one value, one form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


Ahead = Callable[[Mapping[str, Any]], None]
"""Gets the facts of a step whose tree is whole; its outputs are written when it returns."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a local run is handed beside its action; nothing of it is in a key.

    inputs: for each input that is not a layer of the tree, a readable file.
    lowers: for each layer of `Action.tree` its unpacked folder, lowest first.
    out: an empty folder, for the outputs and for `tree/` (see below).
    scratch: an empty folder on the same file system as `out`.
    sandbox: "overlay" or "chroot" (host/sandbox). secrets, caches: name -> file, target -> folder.
    project: name -> folder for `run` inputs. output: gets the bytes that commands write.
    ahead: is told when `out/tree` is whole; None: nobody waits for it.
    A step that makes a layer may leave its unpacked form (host/sandbox form: whiteouts as the
    sandbox wants them) in `out/tree`, so that nobody needs to unpack the blob.
    """

    inputs: Mapping[str, Path]
    lowers: tuple[Path, ...]
    out: Path
    scratch: Path
    sandbox: str = "overlay"
    secrets: Mapping[str, Path] = field(default_factory=dict)
    caches: Mapping[str, Path] = field(default_factory=dict)
    output: Callable[[bytes], None] = lambda data: None
    ahead: Ahead | None = None


class Do(Protocol):
    """The doing half of a step kind: a function in build/do/KIND.py. Writes outputs, returns facts."""

    def __call__(self, action: Action, room: Room) -> Mapping[str, Any]: ...


class Blobs(Protocol):
    """Bytes by digest."""

    def missing(self, blobs: list[Blob]) -> list[Blob]:
        """Those of the blobs that are not here."""

    def put(self, source: BinaryIO, expected: Blob | None = None) -> Blob:
        """Keep a stream; streams, never holds it whole. Raises NetworkError if it is not the expected blob."""

    def open(self, blob: Blob) -> BinaryIO:
        """A stream of the blob. Raises FileNotFoundError."""


class ActionCache(Protocol):
    """Results by key (a plan or content key)."""

    def get(self, key: Digest) -> ActionResult | None: ...

    def put(self, key: Digest, result: ActionResult) -> None: ...


@dataclass(frozen=True, slots=True)
class Places:
    """Where on this machine things are that an action names by digest; in no key."""

    inputs: Mapping[str, Path] = field(default_factory=dict)
    lowers: tuple[Path, ...] = ()
    secrets: Mapping[str, Path] = field(default_factory=dict)
    caches: Mapping[str, Path] = field(default_factory=dict)


class Executor(Protocol):
    """Where actions run. Thread-safe: several `run` may be under way."""

    def run(
        self,
        action: Action,
        places: Places,
        *,
        in_process: bool,
        output: Callable[[bytes], None],
        failed: Callable[[Action, Room], None] | None = None,
        ahead: Ahead | None = None,
    ) -> ActionResult:
        """Do an action to its end and keep its outputs in the store.

        in_process: it takes less time than a process start. output: gets what its commands write.
        ahead: gets the facts once the step's tree is in the store and only the outputs are still to be made: that
        begins when it returns. An executor need not call it.
        failed: called with the room still there, before the error is raised. Raises StackError;
        an action that ends well without a declared output has failed.
        """

    def cancel(self) -> None:
        """End what runs, now and later; each `run` raises Interrupted."""
