"""Which recipe that ships fits a folder, and with which parameters; by its files alone, runs nothing of it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LISTENS = "it is expected to listen on {port}, which is in $PORT; another port: --with port=…"
_SIZE = 1 << 20
"""Bytes of a project's file that are looked at."""


@dataclass(frozen=True)
class Fits:
    """A recipe for a folder. file: the one that asks for it. given: values of parameters. todo: what is left to do."""

    use: str = ""
    file: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    todo: tuple[str, ...] = ()


def fitting(folder: Path, known: Collection[str]) -> Fits:
    """What fits a folder, Fits() if nothing does. known: the recipes that there are."""
    for name, use, look in _FITTING:
        if use in known and (folder / name).is_file():
            found = look(folder)
            if found is not None:
                return Fits(use, name, *found)
    return Fits()


_Found = tuple[dict[str, Any], tuple[str, ...]] | None


def _requirements(folder: Path) -> _Found:
    program = _first(folder, "app.py", "main.py", "server.py")
    return {"command": ["python3", program]} if program else {}, (_LISTENS.format(port=8000),)


def _project(folder: Path) -> _Found:
    try:
        project = tomllib.loads(_text(folder / "pyproject.toml")).get("project")
    except tomllib.TOMLDecodeError:
        return None
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        return None  # settings of tools alone
    scripts = project.get("scripts")
    package = re.sub(r"[-.]+", "_", project["name"].lower())
    command = [next(iter(scripts))] if isinstance(scripts, dict) and scripts else ["python3", "-m", package]
    wanted = ("pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in", "src", package, f"{package}.py")
    sources = [name for name in wanted if (folder / name).exists()]
    sources += sorted(path.name for pattern in ("README*", "LICEN[CS]E*") for path in folder.glob(pattern))
    return {"command": command, "install": "project", "sources": sources}, (_LISTENS.format(port=8000),)


def _package_json(folder: Path) -> _Found:
    try:
        package = json.loads(_text(folder / "package.json"))
    except ValueError:
        return None
    if not isinstance(package, dict):
        return None
    scripts: Any = package.get("scripts")
    scripts = scripts if isinstance(scripts, dict) else {}
    start, main = scripts.get("start"), package.get("main")
    given: dict[str, Any] = {}
    if isinstance(start, str) and re.fullmatch(r"node( [\w./=-]+)+", start):
        given["command"] = shlex.split(start)
    elif isinstance(main, str) and main:
        given["command"] = ["node", main]
    elif program := _first(folder, "index.js", "server.js", "app.js"):
        given["command"] = ["node", program]
    if "build" in scripts:
        given["build"] = ["npm run build"]
    locked = (folder / "package-lock.json").is_file()
    todo = () if locked else ("`npm ci` needs package-lock.json: `npm install --package-lock-only` writes it",)
    return given, (*todo, _LISTENS.format(port=3000))


def _go(folder: Path) -> _Found:
    """What `go build` calls the program of a module: the last part of its path that is no version."""
    found = re.search(r'^module\s+"?([^\s"]+)', _text(folder / "go.mod"), re.MULTILINE)
    parts = [part for part in (found[1] if found else "").split("/") if not re.fullmatch(r"v[0-9]+", part)]
    program = parts[-1] if parts and re.fullmatch(r"[A-Za-z0-9._-]+", parts[-1]) else "app"
    todo = f"compile the program before each build: CGO_ENABLED=0 go build -o bin/{program} ."
    return {"command": [f"./{program}"], "folder": "bin"}, (todo, _LISTENS.format(port=8080))


def _pages(folder: Path) -> _Found:
    return ({} if (folder / "index.html").is_file() else {"folder": "public"}), ()


_FITTING: tuple[tuple[str, str, Callable[[Path], _Found]], ...] = (
    ("requirements.txt", "python-app", _requirements),
    ("pyproject.toml", "python-app", _project),
    ("package.json", "node-app", _package_json),
    ("go.mod", "web-service", _go),
    ("index.html", "web-static", _pages),
    ("public/index.html", "web-static", _pages),
)
"""A file of a project, the recipe that it asks for, what else is looked at; the first that is there."""


def _first(folder: Path, *names: str) -> str:
    return next((name for name in names if (folder / name).is_file()), "")


def _text(file: Path) -> str:
    with open(file, "rb") as opened:
        return opened.read(_SIZE).decode("utf-8", errors="replace")
