"""A Dockerfile as instructions, grouped into its stages, by BuildKit's own parser; decides nothing about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin

KNOWN = frozenset(
    str.split(
        "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER "
        "VOLUME WORKDIR"
    )
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. values: its words as the parser gives them, quotes kept; json: they were a JSON list."""

    word: str
    values: tuple[str, ...]
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    json: bool = False
    heredocs: tuple[tuple[str, str], ...] = ()
    """(name, content) of each here-document."""
    line: int = 0
    text: str = ""
    """As it stands in the file, continuation lines joined."""
    written: str = ""
    """RUN: the script with its own line ends, if they are known."""

    def flag(self, name: str) -> str:
        """The last value of `--name=value`; "" if it is not given."""
        return self.flags.get(name, ("",))[-1]


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM image [AS name] and what follows."""

    start: Instruction
    image: str
    name: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """arguments: the ARG instructions before the first FROM. ignore: the lines of its .dockerignore."""

    name: str
    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    ignore: tuple[str, ...] = ()


def read_dockerfile(file: Path) -> Dockerfile:
    """The file, and the `.dockerignore` that belongs to it. Raises UsageError with the line: not a Dockerfile."""
    shown = file.name
    arguments: list[Instruction] = []
    stages: list[tuple[Instruction, str, str]] = []
    bodies: list[list[Instruction]] = [arguments]
    for one in _instructions(file):
        where = Origin("project", shown, one.line, ())
        if one.word not in KNOWN:
            raise UsageError(f"`{one.word}` is not an instruction of a Dockerfile", where=where)
        if one.word == "FROM":
            stages.append(_stage(one, where))
            bodies.append([])
        elif not one.values and not one.heredocs:
            raise UsageError(f"`{one.word}` says nothing", where=where)
        elif not stages and one.word != "ARG":
            raise UsageError(f"`{one.word}` stands before FROM", where=where)
        else:
            bodies[-1].append(one)
    if not stages:
        raise UsageError(f"{shown} has no FROM", where=Origin("project", shown, 1, ()))
    found = tuple(Stage(*stage, tuple(body)) for stage, body in zip(stages, bodies[1:], strict=True))
    return Dockerfile(shown, tuple(arguments), found, _ignored(file))


def _stage(start: Instruction, where: Origin) -> tuple[Instruction, str, str]:
    words = start.values
    named = len(words) == 3 and words[1].upper() == "AS"
    if not named and len(words) != 1:
        raise UsageError("FROM needs an image", where=where, why="it is `FROM IMAGE [AS NAME]`")
    return start, words[0], words[2].lower() if named else ""


def _instructions(file: Path) -> list[Instruction]:
    try:
        parser: Any = import_module("dockerfile")  # a compiled module without types
    except ImportError:
        raise UsageError(
            "a Dockerfile needs BuildKit's parser, the Python package `dockerfile`, which is not installed",
            why="it has ready-made wheels for x86-64 only; elsewhere it is built with Go",
            hints=(Hint("install it beside stackbuild", "pip install dockerfile"),),
        ) from None
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{file} cannot be read", why=error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not text", why="it is not UTF-8") from None
    try:
        found = parser.parse_string(text)
    except (ValueError, OSError) as error:
        raise UsageError(f"{file} is not a Dockerfile", why=str(error)) from None
    lines = text.splitlines()
    return [_instruction(one, lines) for one in found]


def _instruction(one: Any, lines: list[str]) -> Instruction:
    flags: dict[str, tuple[str, ...]] = {}
    for text in one.flags:
        name, equals, value = text.removeprefix("--").partition("=")
        flags[name] = (*flags.get(name, ()), value if equals else "true")
    values = tuple(one.value)
    if one.cmd.upper() == "ONBUILD":
        values = (one.sub_cmd or "", *values)
    return Instruction(
        word=one.cmd.upper(),
        values=tuple(value for value in values if value),
        flags=flags,
        json=one.json,
        heredocs=tuple((here.name, here.content) for here in one.heredocs),
        line=one.start_line,
        text=one.original.strip(),
        written=_written(lines[one.start_line - 1 : one.end_line]) if one.cmd.upper() == "RUN" else "",
    )


def _written(lines: list[str]) -> str:
    """A RUN's script as it was written: comments between its lines are no part of it, and neither are its flags."""
    kept = [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if any(not line.endswith("\\") for line in kept[:-1]) or kept[-1].endswith("\\"):
        return ""  # here-documents, another escape character
    return re.sub(r"\ARUN(\s|\\\n)+(--[a-z]+(=\S*)?(\s|\\\n)+)*", "", "\n".join(kept).lstrip(), flags=re.IGNORECASE)


def _ignored(file: Path) -> tuple[str, ...]:
    """BuildKit: NAME.dockerignore beside the Dockerfile wins over .dockerignore of the context."""
    for name in (f"{file.name}.dockerignore", ".dockerignore"):
        try:
            lines = (file.parent / name).read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return ()
