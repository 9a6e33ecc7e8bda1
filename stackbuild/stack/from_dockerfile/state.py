"""Where a walk through one stage of a Dockerfile stands: variables, user, folder, shell, and the tables so far."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from stackbuild.stack.from_dockerfile.read import Instruction
from stackbuild.stack.from_dockerfile.result import Layer, Tables
from stackbuild.stack.from_dockerfile.variables import expand, unquote

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of a container whose image says none."""
PLAIN_SHELL = ["/bin/sh", "-c"]


def stage_name(text: str) -> str:
    """A stage's name in a stack, made of a Dockerfile's or of an image's name."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words)[:63].strip("-") or "stage"


class State:
    """given: the arguments before the first FROM. stage: the stack's name of what a `--from` means."""

    def __init__(self, tables: Tables, ignore: tuple[str, ...], given: dict[str, str]) -> None:
        self.tables = tables
        self.ignore = ignore
        self.given = given
        self.stage: Callable[[str, int], str] = lambda name, line: name
        self.arguments: dict[str, str] = {}
        self.environ: dict[str, str] = {}
        self.workdir = "/"
        self.user = ""
        self.shell = list(PLAIN_SHELL)
        self.debian = False
        self.third_party = False
        self.recommends: list[tuple[bool, int]] = []
        self.command_of_parent = False

    def begin(self) -> None:
        """A new FROM: what its parent set stays, but for the arguments and the shell."""
        self.arguments = {}
        self.shell = list(PLAIN_SHELL)
        self.command_of_parent = "cmd" in self.tables.image

    @property
    def values(self) -> dict[str, str]:
        """What variables mean here: ENV over ARG."""
        return {**self.arguments, **self.environ}

    def value(self, text: str, one: Instruction, values: Mapping[str, str] | None = None) -> str:
        """A word with its variables replaced and its quotes taken away."""
        missing: set[str] = set()
        known = self.values if values is None else {**self.arguments, **values}
        quoted = len(text) > 1 and text[0] == text[-1] == "'"
        done = text[1:-1] if quoted else unquote(expand(text, known, missing))
        for name in sorted(missing - self.arguments.keys()):
            self.todo(one, f"{one.word} reads ${name}, whose value is not known here")
        return done

    def value_of_text(self, text: str, one: Instruction) -> str:
        """A here-document with its variables replaced; its quotes are its own."""
        return expand(text, self.values)

    def set(self, key: str, value: Any, one: Instruction) -> None:
        """A key of `[image]`."""
        self.tables.image[key] = value
        self.tables.say("image", key, one.line)

    def remark(self, one: Instruction, text: str) -> None:
        self.tables.remarks.append((one.line, text))

    def todo(self, one: Instruction, text: str) -> None:
        if (one.line, text) not in self.tables.todo:
            self.tables.todo.append((one.line, text))

    def layer(self, name: str, values: dict[str, Any], one: Instruction) -> Layer:
        """Append a layer; its name is made unique."""
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "layer"
        taken = {layer.name for layer in self.tables.layers}
        unique = next(one for one in (base, *(f"{base}-{n}" for n in range(2, 10**6))) if one not in taken)
        layer = Layer(unique, values, [one.line])
        self.tables.layers.append(layer)
        return layer

    def install(self, requests: tuple[str, ...], recommends: bool, one: Instruction) -> None:
        """Packages that come with the stack."""
        old = self.tables.packages.get("install", [])
        self.tables.packages["install"] = list(dict.fromkeys([*old, *requests]))
        self.tables.say("packages", "install", one.line)
        self.recommends.append((recommends, one.line))

    def finish(self, final: bool) -> None:
        """What can be said only at the end."""
        if any(yes for yes, _ in self.recommends):
            self.tables.packages["recommends"] = True
            self.tables.say("packages", "recommends", next(line for yes, line in self.recommends if yes))
            if not all(yes for yes, _ in self.recommends):
                bare = ", ".join(str(line) for yes, line in self.recommends if not yes)
                self.tables.remarks.append(
                    (
                        self.recommends[0][1],
                        f"--no-install-recommends stood on line {bare} only; here it is one choice",
                    )
                )
        if not final:  # a stage is never started: only what its scripts saw counts, and they have it
            kept = ("platforms", "env", "user", "workdir", "labels", "expose", "entrypoint", "cmd", "healthcheck")
            for key in (*kept, "volumes", "stop-signal"):
                if key in self.tables.image:
                    del self.tables.image[key]
                    lines = self.tables.origins.pop(("image", key), [])
                    words = (
                        "is what its scripts see" if key in ("env", "user", "workdir") else "has no effect in a stage"
                    )
                    self.tables.remarks += [(line, f"{key} {words}") for line in lines]
