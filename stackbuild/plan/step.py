"""The nodes of the plan: what a step is, what its keys are made of, and the seam that each kind implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from stackbuild.core.action import Action, ActionResult, canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.origin import Origin

STAGE = "stages."
"""What begins the part of an id that names a stage: "stages.builder/run/compile"."""


@dataclass(frozen=True, slots=True)
class Step:
    """One cacheable unit of work.

    id: what the user calls it: "unpack/0/perl", "configure/1", "copy/site". kind: a key of the table of kinds.
    params: JSON values, all that was asked of it. needs: role -> id of a step whose result it reads.
    tree: ids of the steps whose layers are the file system that it sees, lowest first (() if it sees none).
    layer: whether its result is a layer of the image. platform: "linux/amd64".
    places: where files outside of the project are on this machine, by the name that params call them; in no key.
    """

    id: str
    kind: str
    params: Mapping[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)
    tree: tuple[str, ...] = ()
    layer: bool = False
    platform: str = "linux/amd64"
    origin: Origin | None = field(default=None, compare=False)
    places: Mapping[str, Path] = field(default_factory=dict, compare=False)

    @property
    def after(self) -> tuple[str, ...]:
        """The ids of all steps that must be done before it, each once."""
        return tuple(dict.fromkeys([*self.needs.values(), *self.tree]))


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that can change a result; the step's key is the SHA-256 of exactly this.

    builder: "files/3": kind and version of its code. reads: a name that people know -> digest.
    """

    builder: str
    params: Mapping[str, Any]
    reads: Mapping[str, str]

    @property
    def plain(self) -> dict[str, Any]:
        """What asdict() gives, without its copies: an eighth of a plan's time went there."""
        return {"builder": self.builder, "params": self.params, "reads": self.reads}

    @property
    def key(self) -> Digest:
        return digest_of(canonical(self.plain))


@runtime_checkable
class StepKind(Protocol):
    """The describing half of a step kind. Implementations: build/steps/, run/launch.py."""

    name: ClassVar[str]
    version: ClassVar[int]

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        """Cheap, without effect. `done`: for each id of `step.after` its plan key (a plan key is asked)
        or its result's digest (a content key is asked)."""


@runtime_checkable
class ActionKind(StepKind, Protocol):
    """A kind whose work is an action for an executor."""

    in_process: ClassVar[bool]
    """True: takes less time than a process start, so the worker's function is called here."""

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        """What an executor is to do. `results`: of each id of `step.after`."""

    def places(self, step: Step) -> Mapping[str, Path]:
        """Where inputs of the action that are in no store are on this machine: {"files/site/a": Path}."""


@runtime_checkable
class LocalKind(StepKind, Protocol):
    """A kind that needs the network or the store of this process, so it is never an action."""

    def perform(self, step: Step, results: Mapping[str, ActionResult]) -> ActionResult:
        """Do it. Raises StackError."""

    def known(self, step: Step) -> ActionResult | None:
        """The result if it can be told without doing anything (a locked file that is here), else None."""


def stack_of(id: str) -> tuple[str, str]:
    """The stack that an id names, "" if it names none, and the id without it."""
    head, colon, rest = id.partition(":")
    return (head, rest) if colon and "/" not in head else ("", id)  # "fetch/libc6:i386" names no stack


def plain_id(id: str) -> str:
    """A step's id without the stack and the stage that it is in: keys do not depend on what these are called."""
    return "/".join(part for part in stack_of(id)[1].split("/") if not part.startswith(STAGE))


def basic_reads(step: Step, done: Mapping[str, Digest]) -> dict[str, str]:
    """The part of `Inputs.reads` that every kind has: its needs by role and the tree below, by step."""
    reads = {role: str(done[id]) for role, id in step.needs.items()}
    names: dict[str, int] = {}
    for id in step.tree:
        name = plain_id(id)
        names[name] = count = names.get(name, 0) + 1  # a base stack has steps of the same name
        reads[f"tree/{name}" + (f" ({count})" if count > 1 else "")] = str(done[id])
    return reads


def tree_digests(step: Step, results: Mapping[str, ActionResult]) -> tuple[Digest, ...]:
    """The diff IDs (for a base its chain ID) of the layers below a step, lowest first; empty layers left out."""
    found: list[Digest] = []
    for id in step.tree:
        facts = results[id].facts
        if "chain_id" in facts:
            found.append(Digest(facts["chain_id"]))
        elif not facts.get("empty"):
            found.append(Digest(facts["diff_id"]))
    return tuple(found)
