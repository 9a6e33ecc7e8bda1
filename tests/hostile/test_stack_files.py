"""Whatever stands in a stack file or in a base image's config, the answer is a stack or a UsageError, never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackbuild.cli.output import error_json, render_error
from stackbuild.core.errors import UsageError
from stackbuild.report.settings import SettledStack, toml_key, toml_value
from stackbuild.stack.document import Document
from stackbuild.stack.keys import inside, is_free, is_list_of_tables, keys_of, plain
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle

TEXTS = st.sampled_from(
    ["", "x", "debian/bookworm", "linux/amd64", "../x", "/", "/srv", "8080:80", "8080", "1s", "256MiB", "!x", "!"]
    + [
        "a | b",
        "x (>= 1)",
        "x-",
        "{{ stack.name }}",
        "{{ nope }}",
        "{{",
        "https://example.com/x",
        "\x1b[2J",
        "\0",
        "é" * 9,
    ]
    + ["none", "run", "gzip", "0644", "a" * 64, "0" * 64, "root:root", "127.0.0.1:1", "./a:/b", "cache:/c:ro", "%", "."]
)
ANY = st.recursive(
    st.one_of(TEXTS, st.integers(-2, 70000), st.booleans(), st.floats(), st.dates()),
    lambda deeper: st.one_of(
        st.lists(deeper, max_size=3), st.dictionaries(TEXTS, deeper, max_size=2), st.just([{"reset": True}])
    ),
    max_leaves=4,
)


def likely(kind: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of about the right shape for a key of this type, and sometimes of another."""
    kind = plain(kind)
    keys = keys_of(kind)

    def beneath(key: str | int) -> st.SearchStrategy[Any]:
        return likely(inside(kind, key), depth + 1)

    def deferred(key: str | int) -> st.SearchStrategy[Any]:
        return st.deferred(lambda: beneath(key))

    if keys:
        each = {key: deferred(key) for key in keys}
        made: Any = st.fixed_dictionaries({}, optional={**each, "!reset": st.just(True), "odd": ANY})
    elif is_free(kind):
        made = st.dictionaries(TEXTS, deferred(""), max_size=2)
    elif is_list_of_tables(kind) or getattr(kind, "__origin__", None) is tuple:
        made = st.lists(st.one_of(beneath(0), st.just({"reset": True})), max_size=3)
    else:
        made = st.one_of(TEXTS, TEXTS, st.integers(0, 9), st.booleans())
    return st.one_of(made, made, made, ANY)


def toml(tree: dict[str, Any]) -> str:
    def value(item: Any) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{toml_key(key)} = {value(one)}" for key, one in item.items()) + " }"
        if isinstance(item, list):
            return f"[{', '.join(map(value, item))}]"
        if isinstance(item, str) and "{" in item:
            return f'"{item}"'  # not made harmless, as toml_value would
        return item.isoformat() if hasattr(item, "isoformat") else toml_value(item)

    return "".join(f"{toml_key(key)} = {value(item)}\n" for key, item in tree.items() if key)


SPEEDS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def answer(file: Path, image_level: Any = None, **more: Any) -> None:
    try:
        stack = settle(Question(file, **more), image_level=image_level)
    except UsageError as error:
        assert render_error(error).isprintable() or "\n" in render_error(error)
        assert "\x1b" not in render_error(error)
        for one in error.errors or (error,):
            assert one.where is not None, one
        error_json(error)
        return
    again = file.with_name("again.toml")
    again.write_text(SettledStack(stack, origins=True).to_text())
    assert settle(Question(again)).tree == stack.tree


@SPEEDS
@given(tree=likely(Document))
def test_any_tree_of_tables(tree: Any, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.mktemp("any") / "stack.toml"
    file.write_text(toml(tree) if isinstance(tree, dict) else "x = 1\n")
    answer(file)


@SPEEDS
@given(part=likely(Document), table=st.sampled_from(sorted(Document.model_fields)))
def test_any_one_table_of_a_good_stack(part: Any, table: str, tmp_path_factory: Any) -> None:
    """Most trees have a mistake early; this reaches what is behind the first validation."""
    file = tmp_path_factory.mktemp("any") / "stack.toml"
    good: dict[str, Any] = {"stack": {"name": "x"}, "base": {"distro": "debian/bookworm"}}
    if isinstance(part, dict) and part.get(table) is not None:
        good[table] = part[table]
    file.write_text(toml(good))
    answer(file)


@SPEEDS
@given(
    config=st.dictionaries(
        st.sampled_from(["Env", "User", "Cmd", "Entrypoint", "WorkingDir", "ExposedPorts", "Volumes", "Labels"]), ANY
    )
)
def test_any_config_of_a_base_image(config: Any, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.mktemp("any") / "stack.toml"
    file.write_text('[stack]\nname = "x"\n[base]\nimage = "example.com/x"\n')
    answer(file, image_level={"config": config, "rootfs": {}})


@SPEEDS
@given(key=st.text(alphabet='abc."=[]{} \n#-_', max_size=8), value=st.one_of(TEXTS, st.text(max_size=6)))
def test_any_option_and_any_variable(key: str, value: str, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.mktemp("any") / "stack.toml"
    file.write_text('[stack]\nname = "x"\n[base]\nscratch = true\n')
    for sets, environ in (
        ([f"{key}={value}"], {}),
        ([f"container.env.{key}={value}"], {}),
        ([f"layer.{key}={value}"], {}),
        ([], {f"STACKBUILD__CONTAINER__{key}": value}),
        ([], {f"STACKBUILD__LAYER__x__{key}": value}),
    ):
        answer(file, sets=sets, environ=environ)
