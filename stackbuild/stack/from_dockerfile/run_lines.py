"""RUN of a Dockerfile: packages become requests, the rest `run` layers with what Docker gave them."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import Any

from stackbuild.stack.from_dockerfile.read import Instruction
from stackbuild.stack.from_dockerfile.result import Layer
from stackbuild.stack.from_dockerfile.shell_lines import THIRD_PARTY, Script, take_apart, wants_network
from stackbuild.stack.from_dockerfile.state import PLAIN_SHELL, State
from stackbuild.stack.from_dockerfile.variables import assigned, expand, named

_STRICT = re.compile(r"(/\S*/)?(sh|dash|ash|bash)( -([eux]+|[eux]*o (errexit|nounset|pipefail|xtrace)))* -[eux]*c")
"""A SHELL that runs a list of commands as `sh -c` does, and gives up sooner at most."""
_UNTELLING = frozenset(str.split("set export cd if then else fi for do done case in esac while true exit"))


def run_of(state: State, one: Instruction) -> None:
    """Append to the packages and layers what one RUN does."""
    text = _script(state, one)
    script = Script((text,), network=one.json or wants_network(text))
    if text and _STRICT.fullmatch(" ".join(state.shell)) and not one.json:
        apart = take_apart(_known(state, text), packages=not state.third_party and _takes_packages(state))
        if apart.requests or not apart.lines:
            script = apart
        elif state.shell == PLAIN_SHELL:  # then it stays as it was written, variables and all
            script = take_apart(text, packages=False)
    if THIRD_PARTY.search(text):
        state.third_party = True
        state.todo(one, "it may bring another archive: [[packages.source]] locks and verifies what comes from there")
    if script.requests:
        state.install(script.requests, script.recommends, one)
    if script.dropped:
        state.remark(one, f"not needed here: {'; '.join(script.dropped)}")
    if script.lines:
        _layer(state, one, script)


def _takes_packages(state: State) -> bool:
    """Whether the base may have dpkg: unknown images are asked when the lock is made."""
    return state.debian or "alpine" not in state.tables.base.get("image", "")


def _script(state: State, one: Instruction) -> str:
    """The shell script; here-documents are scripts, or stand for their file."""
    if one.json:
        return shlex.join(one.values)
    first = one.values[0] if one.values else ""
    if one.heredocs and re.fullmatch(r"<<-?['\"]?\w+['\"]?", first):
        return one.heredocs[0][1].rstrip("\n")
    match = re.fullmatch(r"<<-?(['\"]?)(\w+)\1\s+(.+)", first)
    if one.heredocs and match:
        return f"{match[3]} <<'{match[2]}'\n{one.heredocs[0][1]}{match[2]}"
    if one.heredocs:
        return first + "\n" + "".join(f"{content}{name}\n" for name, content in one.heredocs).rstrip("\n")
    return first


def _known(state: State, text: str) -> str:
    """The script with the variables of the Dockerfile replaced, to see what it installs."""
    values = state.values
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda match: values.get(match[1] or match[2], match[0]), text)


def _layer(state: State, one: Instruction, script: Script) -> None:
    values: dict[str, Any] = {"run": _lines(state, one, script)}
    layer = state.layer(_name(script.lines), values, one)
    if state.workdir != "/":
        values["workdir"] = state.workdir
    if environ := {name: value for name, value in state.values.items() if name != "DEBIAN_FRONTEND"}:
        values["env"] = environ
    if script.network and one.flag("network") != "none":
        values["network"] = True
    for mount in one.flags.get("mount", ()):
        _mount(state, one, mount, layer)
    if one.flag("security") == "insecure":
        layer.todo.append("--security=insecure: a sandbox gives no such rights")


def _lines(state: State, one: Instruction, script: Script) -> list[str]:
    """The lines as one `sh -eu` script does what the Dockerfile's shell did."""
    lines = [line for text in script.lines for line in text.split("\n")]
    whole = "\n".join(lines)
    untouched = len(script.lines) == 1 and not script.requests and not script.dropped
    written = one.written if untouched and not one.heredocs and not one.json else ""
    if "\n" in written:
        lines = [written]
    if state.shell != PLAIN_SHELL and not one.json:
        lines = [shlex.join([*state.shell, written or (" && ".join(lines) if len(script.lines) > 1 else whole)])]
    else:
        if named(whole) - state.values.keys() - assigned(whole) - {"HOME", "PATH", "PWD"}:
            lines.insert(0, "set +u")
        several = len(script.lines) == 1 and (";" in whole or "\n" in whole) and not one.json
        if several and not re.match(r"\s*set\s+-\w*e", whole):  # `sh -c` goes on after a command that fails
            lines.insert(0, "set +e")
    if state.user not in ("", "root", "0", "0:0", "root:root"):
        lines = [_as_user(state.user, "\n".join(["set -eu", *lines]))]
    return lines


def _as_user(user: str, script: str) -> str:
    name, _, group = user.partition(":")
    if name.isdigit():
        group = group or "0"
        return f"setpriv --reuid={name} --regid={group} --clear-groups sh -c {shlex.quote(script)}"
    return f"su -s /bin/sh {shlex.quote(name)} -c {shlex.quote(script)}"


def _name(lines: tuple[str, ...]) -> str:
    """A layer's name: the first words of its first command that does something."""
    for line in "\n".join(lines).replace("&&", "\n").replace(";", "\n").split("\n"):
        words = [word for word in line.split() if re.fullmatch(r"[A-Za-z][\w.+-]*", word)]
        if words and words[0] not in _UNTELLING:
            return "-".join(words[:2])
    return "run"


def _mount(state: State, one: Instruction, text: str, layer: Layer) -> None:
    """--mount=type=…: caches and secrets have their like; what is bound from elsewhere is said."""
    words = dict(word.partition("=")[::2] for word in text.split(","))
    kind = words.get("type", "bind")
    target = posixpath.join(state.workdir, words.get("target") or words.get("dst") or words.get("destination") or "")
    target = expand(target, state.values)
    if kind == "cache":
        cache: dict[str, Any] = {"path": target}
        if words.get("sharing") in ("private", "locked"):
            cache["sharing"] = words["sharing"]
        layer.values.setdefault("caches", []).append(cache)
    elif kind == "secret" and words.get("id"):
        name = re.sub(r"\W", "_", words["id"])
        layer.values.setdefault("secrets", []).append(name)
        if target not in ("", state.workdir, f"/run/secrets/{name}") or words.get("env"):
            layer.todo.append(f"--mount={text}: the secret is the file /run/secrets/{name}")
        elif name != words["id"]:
            layer.todo.append(f"--mount={text}: the secret is called {name} here")
    elif kind == "bind" and not words.get("from"):
        source = words.get("source") or words.get("src") or "."
        layer.values.setdefault("inputs", []).append(source)
        if target != "/src" or source != ".":
            layer.todo.append(
                f"--mount={text}: the project's {source} is seen as {posixpath.normpath('/src/' + source)}"
            )
    else:
        layer.todo.append(f"--mount={text} has no counterpart")
