"""COPY and ADD of a Dockerfile as layers of a stack."""

from __future__ import annotations

import fnmatch
import posixpath
import re
import shlex
from typing import Any

from stackbuild.stack.from_dockerfile.read import Instruction
from stackbuild.stack.from_dockerfile.state import State

_ARCHIVE = re.compile(r"\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)\Z")


def files_of(state: State, one: Instruction) -> None:
    """COPY, ADD: copies from the project, from a stage; small files that stand there; what ADD fetches and unpacks."""
    here = dict(one.heredocs)
    *sources, target = [state.value(word, one) for word in one.values]
    several = len(sources) > 1
    target = _place(state, target, several)
    extra = _extra(state, one)
    kept: list[str] = []
    for source in sources:
        name = source.removeprefix("<<").removeprefix("-").strip("'\"")
        if source.startswith("<<") and name in here:
            _file(state, one, name, here[name], target, extra)
        elif one.word == "ADD" and (source.startswith("git@") or re.search(r"\.git(#|\Z)", source)):
            state.todo(one, f"ADD {source}: fetch an archive of that revision (`fetch`), or clone it in a `run` layer")
        elif one.word == "ADD" and re.match(r"(https?|ftp)://", source):
            _fetch(state, one, source, target, extra)
        elif one.word == "ADD" and _ARCHIVE.search(source):
            _unpack(state, one, source, target)
        else:
            kept.append(source)
    if kept:
        _copy(state, one, kept, target, extra)


def _place(state: State, target: str, several: bool) -> str:
    """The target as an absolute path; "/" at its end as in the Dockerfile."""
    folder = target.endswith(("/", "/.")) or target in (".", "./", "..") or several
    path = posixpath.normpath(posixpath.join(state.workdir, target))
    return path.rstrip("/") + "/" if folder else path


def _extra(state: State, one: Instruction) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if one.flag("chown"):
        extra["owner"] = state.value(one.flag("chown"), one)
    if mode := one.flag("chmod"):
        mode = state.value(mode, one)
        extra["mode"] = mode.zfill(4) if mode.isdigit() else mode
    if "exclude" in one.flags:
        extra["exclude"] = list(one.flags["exclude"])
    if one.flag("parents") and one.flag("parents") != "false":
        state.todo(one, "--parents keeps the folders above a source; name each target folder instead")
    return extra


def _copy(state: State, one: Instruction, sources: list[str], target: str, extra: dict[str, Any]) -> None:
    items = []
    stage = one.flag("from")
    named = state.stage(state.value(stage, one), one.line) if stage else ""
    for source in sources:
        if named:
            items.append({"stage": named, "from": posixpath.join("/", source), "to": target, **extra})
            continue
        inner = posixpath.normpath(source.lstrip("/") or ".")
        if inner == ".." or inner.startswith("../"):
            state.todo(one, f"COPY {source} leaves the folder")
            continue
        # Docker copies what is in a folder; which sources are folders is seen only in the project.
        left_out = [*extra.get("exclude", []), *ignored(state.ignore, inner)]
        item = {"from": "./" if inner == "." else inner + ("/" if source.endswith("/") else ""), "to": target}
        if inner == "." and not target.endswith("/"):
            item["to"] = target + "/"
        items.append({**item, **{key: value for key, value in extra.items() if key != "exclude"}})
        if left_out:
            items[-1]["exclude"] = list(dict.fromkeys(left_out))
    if items:
        state.layer(
            f"{'from-' + named if named else 'copy'}-{posixpath.basename(target.rstrip('/')) or 'root'}",
            {"copy": items},
            one,
        )


def ignored(lines: tuple[str, ...], source: str) -> list[str]:
    """The patterns of a .dockerignore (from the project's root) as patterns that count from one source of a copy."""
    found: list[str] = []
    depth = [] if source == "." else source.split("/")
    for line in lines:
        sign = "!" if line.startswith("!") else ""
        pattern = posixpath.normpath(line.removeprefix("!").strip().lstrip("/") or ".")
        if pattern.startswith("**/"):
            found.append(sign + pattern)
            continue
        parts = pattern.split("/")
        if any(mark in source for mark in "*?["):  # which files it means is seen only in the project
            continue
        if any(not fnmatch.fnmatchcase(name, part) for name, part in zip(depth, parts, strict=False)):
            continue
        if len(parts) <= len(depth) or pattern == ".":  # the source itself, or a folder above it
            found = [] if sign else ["/*"]
        else:
            found.append(f"{sign}/{'/'.join(parts[len(depth) :])}")
    return found


def _file(state: State, one: Instruction, name: str, content: str, target: str, extra: dict[str, Any]) -> None:
    path = target + name if target.endswith("/") else target
    if not any(quote in one.text for quote in (f"<<'{name}'", f'<<"{name}"', f"<<-'{name}'", f'<<-"{name}"')):
        content = state.value_of_text(content, one)
    item = {"path": path, "content": content, **{key: value for key, value in extra.items() if key != "exclude"}}
    state.layer(posixpath.basename(path), {"files": [item]}, one)


def _fetch(state: State, one: Instruction, source: str, target: str, extra: dict[str, Any]) -> None:
    to = target + posixpath.basename(source.split("?")[0]) if target.endswith("/") else target
    item = {"url": source, "sha256": one.flag("checksum").removeprefix("sha256:"), "to": to}
    item |= {key: value for key, value in extra.items() if key != "exclude"} or {"mode": "0600"}
    if re.fullmatch(r"[0-9a-f]{64}", item["sha256"]):
        state.layer(posixpath.basename(to), {"fetch": [item]}, one)
        return
    item["sha256"] = "…"
    state.todo(one, f"ADD {source}: fetch it by its digest: write the SHA-256 into the layer below")
    layer = state.layer(posixpath.basename(to), {"fetch": [item]}, one)
    layer.todo.append(f"ADD {source}: its SHA-256 is not known; nothing is fetched without one")
    state.tables.todo.pop()


def _unpack(state: State, one: Instruction, source: str, target: str) -> None:
    path = posixpath.normpath(source.lstrip("/"))
    run = shlex.join(["tar", "-xf", f"/src/{path}"])
    values = {"run": [run], "inputs": [path], "workdir": target.rstrip("/") or "/"}
    layer = state.layer(f"unpack-{posixpath.basename(path)}", values, one)
    layer.remarks.append("ADD unpacks an archive")
    for flag in ("chown", "chmod"):
        if one.flag(flag):
            layer.todo.append(f"--{flag}={one.flag(flag)} of an archive: what is unpacked has the archive's own")
