"""The JSON Schema for editors, with a validator that others wrote: it takes our examples and refuses mistakes."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stackbuild.stack.schema import json_schema
from tests.machine import REPOSITORY

EXAMPLES = [
    REPOSITORY / "stack.toml.example",
    REPOSITORY / "tests/data/recipes/golden/stack.toml",
    *sorted((REPOSITORY / "stackbuild/recipes").glob("*/examples/*.toml")),
]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_the_examples_are_valid(validator: Draft202012Validator, file: Path) -> None:
    assert [error.message for error in validator.iter_errors(tomllib.loads(file.read_text()))] == []


RECIPES = [
    *sorted((REPOSITORY / "tests/data/recipes/golden/recipes").glob("*/recipe.toml")),
    *sorted((REPOSITORY / "stackbuild/recipes").glob("*/recipe.toml")),
]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_recipes_are_valid_by_their_own_schema(file: Path) -> None:
    schema = json_schema(recipe=True)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    tree = tomllib.loads(file.read_text())
    assert [error.message for error in validator.iter_errors(tree)] == []
    for key, value in (("type", "text"), ("hlep", "x"), ("choices", "a")):
        wrong = copy.deepcopy(tree)
        wrong["recipe"].setdefault("params", {})["x"] = {"type": "string", key: value}
        assert not validator.is_valid(wrong), key
    del tree["recipe"]
    assert not validator.is_valid(tree)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("image", "usr"), "x"),
        (("container", "read-only"), "yes"),
        (("stack", "recipes"), [{"use": 1}]),
        (("stack", "recipes"), ["web"]),
        (("container", "env-file"), ".env"),
        (("packages", "install"), "curl"),
        (("layer",), [{"name": "x", "runs": []}]),
    ],
)
def test_mistakes_are_not(validator: Draft202012Validator, key: tuple[str, ...], value: Any) -> None:
    tree = copy.deepcopy(tomllib.loads((REPOSITORY / "stack.toml.example").read_text()))
    here = tree
    for part in key[:-1]:
        here = here.setdefault(part, {})
    here[key[-1]] = value
    assert list(validator.iter_errors(tree))
