"""Decides what each stage and instruction of a Dockerfile becomes in a stack; writes no text."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.stack.from_dockerfile.files import files_of
from stackbuild.stack.from_dockerfile.read import Dockerfile, Instruction, Stage
from stackbuild.stack.from_dockerfile.result import Imported, Tables
from stackbuild.stack.from_dockerfile.run_lines import run_of
from stackbuild.stack.from_dockerfile.state import PLAIN_SHELL, SEARCH_PATH, State, stage_name
from stackbuild.stack.from_dockerfile.variables import expand, named, unquote

RELEASES = {"13": "trixie", "12": "bookworm", "11": "bullseye", "10": "buster", "stable": "trixie"}
CODENAMES = frozenset(str.split("trixie bookworm bullseye buster sid testing unstable"))
GIVEN = {"TARGETPLATFORM": "linux/amd64", "TARGETOS": "linux", "TARGETARCH": "amd64", "TARGETVARIANT": ""}
GIVEN |= {name.replace("TARGET", "BUILD"): value for name, value in GIVEN.items()}
"""BuildKit's own arguments, for the platform that a stack has by default."""


def translate(read: Dockerfile, target: str = "") -> Imported:
    """The stack of the last stage, or of the one named `target`, with all stages that it needs.

    Every instruction ends as a value, a layer, or a remark that names it. Raises UsageError: no such stage, a cycle."""
    chosen = read.stages[-1] if not target else _stage(read, target)
    if chosen is None:
        known = ", ".join(one.name for one in read.stages if one.name)
        raise UsageError(f"{read.name} has no stage `{target}`", hints=(Hint(f"it has: {known}"),) if known else ())
    arguments = _global(read)
    done: dict[str, Tables] = {}
    image = _tables(read, chosen, arguments, done, final=True)
    used = {one.start.line for one in _chain(read, chosen, arguments)}
    for name in list(done):
        if (stage := _stage(read, name)) is not None:
            used |= {one.start.line for one in _chain(read, stage, arguments)}
    unused = [(one.start.line, one.name or one.image) for one in read.stages if one.start.line not in used]
    return Imported(read.name, image, done, tuple(unused))


def _global(read: Dockerfile) -> dict[str, str]:
    values = dict(GIVEN)
    for one in read.arguments:
        for text in one.values:
            name, equals, value = text.partition("=")
            if equals:
                values[name] = unquote(expand(value, values))
    return values


def _stage(read: Dockerfile, name: str, before: int = 1 << 30) -> Stage | None:
    """The stage of that name or number; in a Dockerfile an earlier one."""
    earlier = [one for one in read.stages if one.start.line < before]
    if name.isdigit() and int(name) < len(earlier):
        return earlier[int(name)]
    return next((one for one in reversed(earlier) if one.name == name.lower()), None)


def _chain(read: Dockerfile, stage: Stage, arguments: Mapping[str, str]) -> list[Stage]:
    """The stages that `stage` continues (FROM an earlier one), oldest first, and itself."""
    chain = [stage]
    while (above := _stage(read, expand(chain[0].image, arguments), chain[0].start.line)) and above.name:
        chain.insert(0, above)
    return chain


def _tables(
    read: Dockerfile, stage: Stage, arguments: Mapping[str, str], done: dict[str, Tables], *, final: bool
) -> Tables:
    chain = _chain(read, stage, arguments)
    tables = Tables()
    _base(tables, chain[0], arguments)
    state = State(tables, read.ignore, dict(arguments))
    state.debian = "distro" in tables.base

    def other(name: str, line: int) -> str:
        """The name of the stage of the stack that a `--from` means; made when it is asked for first."""
        found = _stage(read, name, stage.start.line)
        own = stage_name(found.name or f"stage-{name}" if found else name)
        if own not in done:
            done[own] = Tables()
            if found:
                done[own] = _tables(read, found, arguments, done, final=False)
            else:
                done[own].base["image"] = full_name(name)
                done[own].say("base", "image", line)
        return own

    state.stage = other
    for one in chain:
        state.begin()
        for instruction in one.instructions:
            _HOW[instruction.word](state, instruction)
        if one.start.line != chain[0].start.line:
            tables.say("base", next(iter(tables.base)), one.start.line)
    state.finish(final)
    return tables


def _base(tables: Tables, first: Stage, arguments: Mapping[str, str]) -> None:
    missing: set[str] = set()
    name, line = expand(first.image, arguments, missing), first.start.line
    if missing and not re.search(r"\w", name):
        name = f"registry.example.com/{'-'.join(sorted(missing)).lower()}"
    tables.base = _known_base(name)
    tables.say("base", next(iter(tables.base)), line)
    for one in sorted(missing):
        tables.todo.append((line, f"FROM names the argument {one}, which has no default"))
    platform = first.start.flag("platform")
    if platform and "BUILDPLATFORM" not in platform:
        tables.image["platforms"] = [expand(platform, arguments)]
        tables.say("image", "platforms", line)


def _known_base(name: str) -> dict[str, Any]:
    if name == "scratch":
        return {"scratch": True}
    plain = re.fullmatch(r"(?:(?:docker\.io/)?library/)?debian(?::([a-z0-9.]+?)(?:-\d{8}(?:\.\d+)?)?(-slim)?)?", name)
    if plain:
        word = (plain[1] or "stable").split(".")[0]
        release = RELEASES.get(word, word)
        if release in CODENAMES:
            return {"distro": f"debian/{release}", "variant": "apt"}
    return {"image": full_name(name)}


def full_name(name: str) -> str:
    """An image's name as Docker completes it: it knows a registry that is meant when none is named."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return "docker.io/" + (name if slash else f"library/{name}")


def _env(state: State, one: Instruction) -> None:
    """All values of one ENV read what was set before it."""
    before = {"PATH": SEARCH_PATH, **state.environ}
    for key, value in _pairs(one):
        if "image" in state.tables.base and "PATH" in named(value) and "PATH" not in state.environ:
            state.todo(one, "ENV reads the image's own $PATH, which is not known here: Debian's stands for it")
        state.environ[key] = state.value(value, one, before)
    state.set("env", dict(state.environ), one)


def _pairs(one: Instruction) -> list[tuple[str, str]]:
    """KEY=VALUE …, and the old form KEY VALUE."""
    words = one.values
    if len(words) % 2:
        words = (*words, "")
    return [(unquote(words[at]), words[at + 1]) for at in range(0, len(words), 2)]


def _label(state: State, one: Instruction) -> None:
    new = {state.value(key, one): state.value(value, one) for key, value in _pairs(one)}
    state.set("labels", {**state.tables.image.get("labels", {}), **new}, one)


def _argument(state: State, one: Instruction) -> None:
    for text in one.values:
        name, equals, value = text.partition("=")
        if equals:
            state.arguments[name] = state.value(value, one)
            state.remark(one, f"ARG {name}: its default stands where it is used")
        elif name in state.given:
            state.arguments[name] = state.given[name]
            state.remark(one, f"ARG {name}: {state.given[name] or 'empty'}, where it is used")
        else:
            state.tables.todo.append((one.line, f"ARG {name} has no default: write its value where it is used"))


def _user(state: State, one: Instruction) -> None:
    state.user = state.value(one.values[0], one)
    state.set("user", state.user, one)


def _workdir(state: State, one: Instruction) -> None:
    state.workdir = posixpath.normpath(posixpath.join(state.workdir, state.value(one.values[0], one)))
    state.set("workdir", state.workdir, one)


def _expose(state: State, one: Instruction) -> None:
    ports: list[Any] = list(state.tables.image.get("expose", []))
    for word in one.values:
        text = state.value(word, one)
        numbers, _, protocol = text.partition("/")
        low, _, high = numbers.partition("-")
        if not low.isdigit() or (high and not high.isdigit()) or int(high or low) - int(low) > 1000:
            state.todo(one, f"EXPOSE {text} is not a port")
            continue
        for port in range(int(low), int(high or low) + 1):
            ports.append(port if protocol in ("", "tcp") else f"{port}/{protocol}")
    state.set("expose", list(dict.fromkeys(ports)), one)


def _words(state: State, one: Instruction) -> list[str]:
    """CMD and ENTRYPOINT: a list as it is, a line by the shell."""
    if one.json:
        return list(one.values)
    return [*state.shell, one.values[0]]


def _entrypoint(state: State, one: Instruction) -> None:
    state.set("entrypoint", _words(state, one), one)
    if state.command_of_parent:  # an entrypoint resets a cmd that was inherited, not one of its own stage
        state.tables.image.pop("cmd", None)


def _command(state: State, one: Instruction) -> None:
    state.command_of_parent = False
    state.set("cmd", _words(state, one), one)


def _healthcheck(state: State, one: Instruction) -> None:
    kind, *rest = one.values
    if kind.upper() == "NONE":
        state.set("healthcheck", {"test": ["NONE"]}, one)
        return
    test = ["CMD", *rest] if one.json else ["CMD-SHELL", *rest]
    if test[0] == "CMD-SHELL" and state.shell != PLAIN_SHELL:
        test = ["CMD", *state.shell, *rest]
    table: dict[str, Any] = {"test": test}
    for flag in ("interval", "timeout", "start-period"):
        if one.flag(flag):
            table[flag] = one.flag(flag)
    if one.flag("retries").isdigit() and int(one.flag("retries")):
        table["retries"] = int(one.flag("retries"))
    if one.flag("start-interval"):
        state.remark(one, "HEALTHCHECK --start-interval has no counterpart")
    state.set("healthcheck", table, one)


def _volume(state: State, one: Instruction) -> None:
    old = state.tables.image.get("volumes", [])
    new = [posixpath.join(state.workdir, state.value(word, one)) for word in one.values]
    state.set("volumes", list(dict.fromkeys([*old, *new])), one)


def _stop_signal(state: State, one: Instruction) -> None:
    state.set("stop-signal", state.value(one.values[0], one), one)


def _maintainer(state: State, one: Instruction) -> None:
    label = {"org.opencontainers.image.authors": one.values[0]}
    state.set("labels", {**state.tables.image.get("labels", {}), **label}, one)


def _on_build(state: State, one: Instruction) -> None:
    state.todo(one, f"{one.text.splitlines()[0]}: a base has no triggers; make it a recipe's layer")


def _shell(state: State, one: Instruction) -> None:
    state.shell = list(one.values)
    state.remark(one, f"SHELL {shlex.join(one.values)}: the scripts below it are run by it")


_HOW: Mapping[str, Callable[[State, Instruction], None]] = {
    "ADD": files_of,
    "ARG": _argument,
    "CMD": _command,
    "COPY": files_of,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _on_build,
    "RUN": run_of,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
