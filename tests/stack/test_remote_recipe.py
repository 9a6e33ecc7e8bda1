"""Recipes from git and from a real registry: fetched once, pinned by digest, refused when they moved or are hostile."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import NetworkError, StackError, UsageError
from stackbuild.net.client import Client
from stackbuild.oci.reference import parse_reference
from stackbuild.stack.question import Question
from stackbuild.stack.remote_recipe import RemoteRecipes, pack, push_recipe
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from tests.conftest import Stackbuild

BASE = '[base]\ndistro = "debian/bookworm"\n'


def recipe(folder: Path, label: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(
        f'[recipe]\nname = "web"\n[image]\nlabels = {{ of = "{label}" }}\n'
        '[[layer]]\nname = "l"\nfiles = [{ path = "/x", template = "sub/x.j2" }]\n'
    )
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "x.j2").write_text("hello {{ stack.name }}\n")
    return folder


def stack_file(folder: Path, use: str) -> Path:
    file = folder / "stack.toml"
    file.write_text(f'[stack]\nname = "x"\nrecipes = [{{ use = "{use}" }}]\n' + BASE)
    return file


def remote(tmp_path: Path, *, offline: bool = False) -> RemoteRecipes:
    return RemoteRecipes(tmp_path / "store", Client, dict(os.environ), offline)


def check(stack: Stack, label: str) -> None:
    assert stack.image.labels["of"] == label
    assert stack.layers[0].files[0].content == "hello x\n"


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=n", "-c", "user.email=n@example.com", "-C", str(folder), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    recipe(folder / "recipes" / "web", "one")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "tag", "v1")
    return folder


def test_a_recipe_of_a_git_revision_is_pinned_and_a_moved_one_refused(tmp_path: Path, repository: Path) -> None:
    use = f"git+file://{repository}@v1#recipes/web"
    file = stack_file(tmp_path, use)
    stack = settle(Question(file), remote=remote(tmp_path))
    check(stack, "one")
    [(name, digest)] = stack.recipes.items()
    assert name == use
    recipe(repository / "recipes" / "web", "two")
    git(repository, "commit", "--quiet", "-a", "-m", "two")
    git(repository, "tag", "--force", "v1")
    check(settle(Question(file), remote=remote(tmp_path), pins={use: digest}), "one")  # from the store
    check(settle(Question(file), remote=remote(tmp_path, offline=True), pins={use: digest}), "one")
    elsewhere = RemoteRecipes(tmp_path / "other", Client, dict(os.environ))
    with pytest.raises(NetworkError, match="no longer the recipe that the lock names") as found:
        settle(Question(file), remote=elsewhere, pins={use: digest})
    assert "the revision moved" in found.value.why and found.value.hints[0].command == "stackbuild lock --update"
    assert found.value.where is not None and found.value.where.line == 3
    check(settle(Question(file), remote=elsewhere), "two")


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("git+file://{repository}#recipes/web", "does not say which revision"),
        ("git+file://{repository}@v9#recipes/web", "cannot be fetched"),
        ("git+file://{repository}@--upload-pack=x", "the folder or revision is not one"),
        ("git+file://{repository}@v1#../x", "the folder or revision is not one"),
        ("git+ext::sh@v1", "does not say which revision"),
        ("git+file://{repository}@v1", "holds no recipe.toml"),
    ],
)
def test_git_references_that_are_wrong(tmp_path: Path, repository: Path, use: str, words: str) -> None:
    with pytest.raises(StackError) as found:
        settle(Question(stack_file(tmp_path, use.format(repository=repository))), remote=remote(tmp_path))
    assert words in str(found.value) and found.value.where is not None and found.value.where.line == 3
    assert not list((tmp_path / "store").glob(".new-*"))


@pytest.mark.peer
def test_a_recipe_travels_through_a_registry_as_an_artifact(tmp_path: Path, registry: str) -> None:
    folder = recipe(tmp_path / "web", "one")
    place = parse_reference(f"{registry}/recipes/web:1")
    digest = push_recipe(folder, place, Client(), {})
    use = f"oci://{place}"
    file = stack_file(tmp_path, use)
    stack = settle(Question(file), remote=remote(tmp_path))
    check(stack, "one")
    assert dict(stack.recipes) == {use: digest}
    recipe(tmp_path / "web", "two")
    assert push_recipe(tmp_path / "web", place, Client(), {}) != digest
    check(settle(Question(file), remote=RemoteRecipes(tmp_path / "b", Client, {}), pins={use: digest}), "one")
    check(settle(Question(file), remote=RemoteRecipes(tmp_path / "b", Client, {})), "two")
    check(settle(Question(stack_file(tmp_path, f"{use}@{digest}")), remote=remote(tmp_path)), "one")


@pytest.mark.peer
def test_push_lock_and_update_as_commands(stackbuild: Stackbuild, registry: str) -> None:
    recipe(stackbuild.folder / "mine", "one")
    use = f"oci://{registry}/recipes/shared:1"
    pushed = stackbuild("recipe", "push", "mine", use).out
    stack_file(stackbuild.folder, use).write_text(
        f'[stack]\nname = "x"\nrecipes = [{{ use = "{use}" }}]\n[base]\nscratch = true\n'
    )
    stackbuild("lock")
    lock = stackbuild.folder / "stack.lock"
    [digest] = re.findall(r"sha256:[0-9a-f]{64}", pushed)
    assert f'"{use}" = "{digest}"' in lock.read_text()
    recipe(stackbuild.folder / "mine", "two")
    stackbuild("recipe", "push", "mine", use)
    elsewhere = stackbuild.at(store=stackbuild.folder.parent / "other")
    for one in (stackbuild, elsewhere):
        assert 'of = "one"' in one("config", "image").out  # only `lock --update` moves a pin
        assert one("lock", "--check").code == 0
    assert use in stackbuild("lock", "--update").out
    assert 'of = "two"' in stackbuild("config", "image").out and digest not in lock.read_text()


def test_the_same_folder_packs_to_the_same_bytes_and_links_are_refused(tmp_path: Path) -> None:
    one = pack(recipe(tmp_path / "a", "x"), "a")
    os.utime(tmp_path / "a" / "recipe.toml", (1, 1))
    assert digest_of(one) == digest_of(pack(recipe(tmp_path / "b", "x"), "b")) == digest_of(pack(tmp_path / "a", "a"))
    with tarfile.open(fileobj=io.BytesIO(one)) as names:
        assert names.getnames() == ["recipe.toml", "sub", "sub/x.j2"]
    (tmp_path / "a" / "l").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="l is neither a file nor a folder"):
        pack(tmp_path / "a", "a")
