"""The reference page, the JSON Schema and the example are those of the models."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stackbuild.report.reference import reference
from stackbuild.stack.document import Document
from stackbuild.stack.keys import inside, keys_of, kind_at
from stackbuild.stack.question import Question
from stackbuild.stack.schema import json_schema
from stackbuild.stack.settle import settle

ROOT = Path(__file__).parent.parent.parent


def test_the_reference_page_is_made_from_the_models(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs/reference/stack-toml.md", reference())


def test_the_page_names_every_key() -> None:
    page = reference()

    def every_key(kind: Any) -> Iterator[str]:
        for key in keys_of(kind) or ():
            yield key
            below = inside(kind, key)
            for deeper in (below, inside(below, 0), inside(below, ""), inside(inside(below, ""), 0)):
                yield from every_key(deeper) if deeper is not None else ()

    missing = [key for key in set(every_key(Document)) - set(Document.model_fields) if f"| `{key}` |" not in page]
    assert not missing


def test_the_example_settles_and_its_comments_name_real_keys(monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    stack = settle(Question(Path("stack.toml.example")))
    assert (stack.name, stack.lock_file) == ("hello-web", ROOT / "stack.toml.example.lock")
    assert stack.image.labels["org.opencontainers.image.title"] == "hello-web"
    for layer in stack.layers:
        for item in layer.copy_:
            assert item.from_ is not None and (ROOT / item.from_).exists()
    table: tuple[str | int, ...] = ()
    for line in (ROOT / "stack.toml.example").read_text().splitlines():
        bare = line.removeprefix("# ").split("#")[0].strip()
        if bare.startswith("["):
            parts = tomllib.loads(bare)
            table = ()
            while parts:
                if isinstance(parts, list):
                    table, parts = (*table, 0), parts[0]
                else:
                    key, parts = next(iter(parts.items()))
                    table = (*table, key)
            assert kind_at(table) is not None, line
        elif line.startswith("# ") and " = " in bare and bare.split(" = ")[0].replace("-", "").isalpha():
            assert kind_at((*table, bare.split(" = ")[0])) is not None, line


def test_the_schema_knows_the_models_keys_and_refuses_others() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == {*Document.model_fields, "!reset"}
    assert schema["additionalProperties"] is False
    container = schema["$defs"]["Container"]
    assert {"read-only", "stop-grace-period", "cap-add"} <= set(container["properties"])
    assert container["properties"]["runtime"]["enum"] == ["auto", "runc", "crun", "bwrap"]
    assert container["properties"]["init"]["anyOf"][0] == {"type": "boolean"}  # or a template
    assert schema["$defs"]["CopyItem"]["required"] == ["to"]
