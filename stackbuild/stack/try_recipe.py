"""A recipe's folder by itself: its header, and whether each of its examples settles. Builds nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from stackbuild.core.errors import Hint, StackError, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.levels import Level
from stackbuild.stack.find_recipe import FILE, Remote
from stackbuild.stack.place import file_said, shown_path
from stackbuild.stack.question import Question
from stackbuild.stack.recipe import Header
from stackbuild.stack.remote_recipe import copy_folder
from stackbuild.stack.settle import settle
from stackbuild.stack.uses import read_header


def header_of(folder: Path) -> Header:
    """The header of the recipe in a folder. Raises UsageError."""
    file = folder / FILE
    said = file_said(file, shown_path(file), Level.RECIPE)
    header = read_header(said) if said else None
    if header is None:
        raise UsageError(
            f"{shown_path(folder)} is not the folder of a recipe",
            why=f"it has no {FILE} with a [recipe] table",
        )
    return header


def try_recipe(folder: Path, remote: Remote | None) -> tuple[tuple[str, int, int], ...]:
    """Settle each stack file in `examples/`; for each its name and how many layers and requests it came to.

    Without examples one is made that gives no parameter. Recipes beside it (its siblings) are found by name.
    Raises UsageError with the mistakes of all examples.
    """
    header = header_of(folder)
    examples = sorted((folder / "examples").glob("*.toml")) if (folder / "examples").is_dir() else []
    texts = {f"{shown_path(file)}": file.read_text(encoding="utf-8") for file in examples}
    if not texts:
        texts = {"(no parameters)": f'[stack]\nname = "{header.name}"\nrecipes = [{{ use = "{header.name}" }}]\n'}
        texts["(no parameters)"] += "" if "base" in _tables(folder) else '[base]\ndistro = "debian/bookworm"\n'
    done, mistakes = [], []
    with tempfile.TemporaryDirectory(prefix="recipe-test-") as scratch:
        project = Path(scratch)
        (project / "recipes").mkdir()
        for sibling in sorted(folder.resolve().parent.iterdir()):
            if (sibling / FILE).is_file() and sibling != folder.resolve():
                copy_folder(sibling, project / "recipes" / sibling.name)
        if (project / "recipes" / header.name).exists():
            raise UsageError(f'two folders hold recipe "{header.name}"', where=Origin("recipe", shown_path(folder)))
        copy_folder(folder, project / "recipes" / header.name)
        for name, text in texts.items():
            (project / "stack.toml").write_text(text, encoding="utf-8")
            try:
                stack = settle(Question(project / "stack.toml"), remote=remote)
                done.append((name, len(stack.layers), len(stack.packages.install)))
            except StackError as error:
                top = shown_path(project)
                places = {
                    f"{top}/stack.toml": name,
                    f"{top}/recipes/{header.name}": shown_path(folder),
                    f"{top}/recipes": shown_path(folder.parent),
                }
                for one in error.errors or (error,):
                    _at_home(one, places)
                    one.hints = (*one.hints, Hint(f"while trying {name}"))
                    mistakes.append(one)
    if mistakes:
        raise UsageError.of(mistakes)
    return tuple(done)


def _at_home(error: StackError, places: Mapping[str, str]) -> None:
    """Let an error speak of the user's files, not of the copies that were tried. places: copy -> original."""

    def said(text: str) -> str:
        for copy, original in places.items():
            text = text.replace(copy, original)
        return text

    error.what, error.why = said(error.what), said(error.why)
    error.hints = tuple(Hint(said(hint.text), hint.command) for hint in error.hints)
    if error.where is not None:
        error.where = error.where._replace(file=said(error.where.file))


def _tables(folder: Path) -> set[str]:
    said = file_said(folder / FILE, FILE, Level.RECIPE)
    return set(said.tree) if said else set()
