"""The structure that DESIGN section 3 promises: imports go left, files and functions stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "stackbuild"
FLOW = "core host net oci store settings stack packages lock plan build run report cli"
ORDER = FLOW.split()
FILES = sorted(ROOT.rglob("*.py"))


def imported_modules(file: Path) -> Iterator[str]:
    """All modules of ours that a file imports, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield node.module or ""


def imported_folders(file: Path) -> set[str]:
    parts = (name.split(".") for name in imported_modules(file))
    return {part[1] for part in parts if part[0] == "stackbuild" and len(part) > 1}


@pytest.mark.parametrize("folder", ORDER)
def test_imports_go_left(folder: str) -> None:
    bad = [
        f"{file.relative_to(ROOT)} imports {to}"
        for file in (ROOT / folder).rglob("*.py")
        for to in imported_folders(file)
        if to not in ORDER[: ORDER.index(folder) + 1]
    ]
    assert not bad, "move the shared noun left, or the caller right:\n" + "\n".join(bad)


def test_every_folder_is_in_the_flow() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py"))} == set(ORDER)


def test_the_doing_half_stands_alone() -> None:
    """DESIGN section 12: what a worker runs needs no plan, stack, settings, net, store or paths of this host."""
    forbidden = {"plan", "stack", "settings", "net", "store", "lock", "run", "report", "cli"}
    bad = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in [*(ROOT / "build" / "do").rglob("*.py"), ROOT / "build" / "worker.py"]
        if file.exists()
        for name in imported_modules(file)
        if name.startswith("stackbuild.") and (name.split(".")[1] in forbidden or name == "stackbuild.core.paths")
    ]
    assert not bad, "\n".join(bad)


def test_no_file_is_longer_than_450_lines() -> None:
    long = [f"{file.relative_to(ROOT)}: {n}" for file in FILES if (n := len(file.read_text().splitlines())) > 450]
    assert not long, "find the second job in:\n" + "\n".join(long)


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {(node.end_lineno or 0) - node.lineno + 1}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert not long, "one level of thought each:\n" + "\n".join(long)


def test_only_cli_prints() -> None:
    bad = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES
        if file.relative_to(ROOT).parts[0] != "cli"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not bad, "only cli prints:\n" + "\n".join(bad)


def test_nothing_runs_through_a_shell_of_the_host() -> None:
    bad = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and any(
            word.arg == "shell" and isinstance(word.value, ast.Constant) and word.value.value for word in node.keywords
        )
    ]
    assert not bad, "\n".join(bad)
