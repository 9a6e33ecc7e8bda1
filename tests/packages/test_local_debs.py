"""Package files that are named by path are answered as the real apt answers `apt-get install ./FILE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import StackError
from stackbuild.core.paths import StorePaths
from stackbuild.net.client import Client
from stackbuild.packages.deb.local import read
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.local import PROJECT, LocalFile
from stackbuild.stack.request import parse_request
from tests.machine import need, run
from tests.packages.debian import stanza
from tests.packages.oracle import Change, Root, names, there

MAIN = [
    stanza("lib", "1"), stanza("lib", "2"), stanza("tool", "1"), stanza("tool", "3"), stanza("uses", depends="tool"),
    stanza("uses-new", depends="tool (>= 3)"), stanza("other", provides="agent"),
    stanza("needs-agent", depends="agent"), stanza("enemy", conflicts="tool (<< 3)"),
    stanza("chooses", depends="other | tool"),
]  # fmt: skip
FILES = {
    "tool-2": stanza("tool", "2", depends="lib"), "tool-1": stanza("tool", "1", depends="lib (>= 2)"),
    "agent": stanza("mine", "1", provides="agent", conflicts="agent"), "pair-a": stanza("a", depends="b"),
    "pair-b": stanza("b", depends="lib"), "older": stanza("older", depends="lib (= 1)"),
    "lonely": stanza("lonely", depends="nothing"),
    "base": stanza("based", "2", depends="lib"), "held": stanza("fixed", "2"),
}  # fmt: skip
BASE = there("based", "1") + "\n" + there("fixed", "1", "hold ok installed")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A base with an archive, and the files beside it."""
    top = tmp_path_factory.mktemp("local")
    for name, control in FILES.items():
        (top / name / "DEBIAN").mkdir(parents=True)
        (top / name / "DEBIAN/control").write_text(control)
        run([need("dpkg-deb"), "--root-owner-group", "-b", top / name, top / f"{name}.deb"])
    return Root(top / "root", {("stable", "main"): MAIN}, BASE).make()


def ours(root: Root, words: list[str], store: Path) -> Change | None:
    """What we would do; None if we refuse."""
    fetcher = Fetcher(StorePaths(store), Client())
    files = {}
    for word in words:
        request = parse_request(word)
        if request.path:
            data = (root.folder.parent / request.path).read_bytes()
            place = fetcher.path(digest_of(data))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            files[request.name] = [LocalFile(request.path, digest_of(data), len(data))]
    question = Question(tuple(map(parse_request, words)), "amd64", status=root.status.encode(), files=files)
    try:
        local = read(question.requests, files, "amd64", fetcher)
        found = resolve_indexes(question, [*root.pairs, (local.index, PROJECT)], local.asked)
    except StackError:
        return None
    return Change({p.package.name: p.package.version for p in found.packages}, names(found.removed))


@pytest.mark.parametrize(
    "words",
    ["tool-2.deb", "tool-1.deb", "uses tool-2.deb", "tool-2.deb uses", "uses-new tool-2.deb", "enemy tool-2.deb",
     "agent.deb needs-agent", "other agent.deb", "pair-a.deb pair-b.deb", "pair-a.deb", "lonely.deb", "base.deb",
     "base.deb lib=1", "pair-b.deb lib=2", "chooses tool-2.deb", "held.deb"],
)  # fmt: skip
def test_the_answer_is_apts(root: Root, tmp_path: Path, words: str) -> None:
    asked = [f"./{word}" if word.endswith(".deb") else word for word in words.split()]
    at = root.folder.parent
    expected = root.apt("install", *(f"{at}/{word[2:]}" if word.startswith("./") else word for word in asked))
    assert ours(root, asked, tmp_path) == expected


def test_an_older_version_that_a_file_needs_is_found_where_apt_gives_up(root: Root, tmp_path: Path) -> None:
    assert root.apt("install", f"{root.folder.parent}/older.deb") is None
    assert ours(root, ["./older.deb"], tmp_path) == Change({"lib": "1", "older": "1"})
