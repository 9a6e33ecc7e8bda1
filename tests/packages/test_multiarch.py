"""Packages of foreign architectures beside the native ones: the answer is that of the real apt over the same root."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from stackbuild.core.errors import ResolutionError
from stackbuild.packages.deb.multiarch import qualified
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.stack.request import parse_request
from tests.machine import run
from tests.packages.agreement import Answer, Apt, essential
from tests.packages.debian import stanza
from tests.packages.oracle import Change, Root, there


def both(name: str, version: str = "1", **fields: str) -> list[str]:
    return [stanza(name, version, architecture=architecture, **fields) for architecture in ("amd64", "i386")]


MAIN = [
    *both("libc", multi_arch="same"), *both("libc", "2", multi_arch="same"),
    *both("libssl", multi_arch="same", depends="libc (>= 1)"),
    *both("libnew", multi_arch="same", depends="libc (>= 2)"),
    *both("tool", depends="libssl"), *both("perl", multi_arch="allowed", depends="libc"),
    *both("shell", multi_arch="foreign", provides="sh", depends="libc"),
    *both("script", depends="perl:any, shell, data"), *both("plugin", depends="perl"), *both("virtual", depends="sh"),
    *both("own", depends="libssl:native"), *both("enemy", conflicts="tool"), *both("self", multi_arch="same",
                                                                                     provides="x", conflicts="x"),
    *both("needs-x", depends="x"), *both("breaker", breaks="libssl (<< 2)"),
    stanza("data", architecture="all", multi_arch="foreign"), stanza("plain", architecture="all"),
    stanza("old", architecture="i386", depends="plain"), stanza("wine32", architecture="i386", depends="libc, data"),
    stanza("wine", depends="wine32 | wine64"), stanza("wine64"), stanza("explicit", depends="libssl:i386, libc:amd64"),
    stanza("only", "1", architecture="i386", multi_arch="foreign"), stanza("uses-only", depends="only"),
    stanza("only-amd64"), stanza("lonely", architecture="i386", depends="only-amd64"),
    *both("awk1", provides="awk", multi_arch="foreign"), *both("awk2", provides="awk", multi_arch="foreign"),
    *both("any-awk", depends="awk"),
]  # fmt: skip


def i386(text: str) -> str:
    return text.replace("Architecture: amd64", "Architecture: i386")


STATUS = {
    "nothing": there("base", "1"),
    "libc": there("libc", "1", Multi_Arch="same"),
    "twins": "\n".join([there("libc", "1", Multi_Arch="same"), i386(there("libc", "1", Multi_Arch="same")),
                        there("tool", "1", Depends="libssl"),
                        there("libssl", "1", Multi_Arch="same", Depends="libc (>= 1)")]),
}  # fmt: skip
REQUESTS = [
    "libc:i386", "libssl:i386", "libssl libssl:i386", "tool:i386", "tool tool:i386", "perl:i386", "script:i386",
    "plugin:i386", "script plugin:i386", "virtual:i386", "shell:i386", "shell shell:i386", "own:i386",
    "enemy:i386 tool", "enemy tool:i386", "self self:i386", "needs-x:i386", "needs-x needs-x:i386", "breaker:i386",
    "breaker libssl:i386", "data:i386", "plain", "old:i386", "old", "wine32", "wine", "explicit", "uses-only", "only",
    "lonely:i386", "any-awk", "any-awk:i386", "libnew", "libnew:i386", "libc:i386=1", "libc=1 libc:i386", "libc=2",
    "libssl:amd64", "tool:i386 tool-", "libssl:i386 libc", "libc:i386/stable", "perl plugin:i386",
]  # fmt: skip


BETTER = {"libc=1 libc:i386", "libssl:i386 libc"}  # the older libc:i386 fits the libc that is there or asked for


@pytest.mark.parametrize("status", STATUS)
def test_the_answer_is_apts(tmp_path: Path, status: str) -> None:
    root = Root(tmp_path / "root", {("stable", "main"): MAIN}, STATUS[status], foreign=("i386",)).make()
    wrong = []
    for request in REQUESTS:
        plain = not any(mark in request for mark in "=/")
        expected = root.apt("install", *(["--no-upgrade"] if plain else ["--allow-downgrades"]), *request.split())
        try:
            found: Change | None = root.ours(*request.split(), allow_remove=tuple(expected.goes) if expected else ())
        except ResolutionError:
            found = None
        if request in BETTER and found is not None and found.comes.get("libc:i386", "1") == "1":
            continue
        if found is None and expected and expected.goes & set(request.split()):  # apt removes what it was asked for
            continue
        if found != expected:
            wrong.append((request, found, expected))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_is_locked_has_its_own_name_and_architecture(tmp_path: Path) -> None:
    root = Root(tmp_path / "root", {("stable", "main"): MAIN}, STATUS["libc"], foreign=("i386",)).make()
    found = {(p.package.name, p.package.architecture): p for p in root.resolution("tool:i386", "script").packages}
    assert found["tool", "i386"].depends == ("libssl:i386",) and found["tool", "i386"].manual
    assert found["libssl", "i386"].depends == ("libc:i386",) and found["libc", "amd64"].replaces == "1"
    assert found["script", "amd64"].depends == ("perl", "shell", "data")


def test_what_cannot_be_is_told_in_the_users_words(tmp_path: Path) -> None:
    root = Root(tmp_path / "root", {("stable", "main"): MAIN}, STATUS["twins"], foreign=("i386",)).make()
    with pytest.raises(ResolutionError, match="tool of the base image would have to be removed") as caught:
        root.ours("tool:i386")
    assert "tool:i386 1 conflicts with tool" in caught.value.why
    with pytest.raises(ResolutionError) as caught:
        root.ours("lonely:i386")
    assert "lonely:i386 1 needs only-amd64:i386, and nothing can provide it" in caught.value.why
    with pytest.raises(ResolutionError) as caught:
        root.ours("tool:arm64")
    assert caught.value.why == "this image has amd64 and the foreign i386"
    assert caught.value.hints[-1].command == "dpkg --add-architecture arm64"


@dataclass(frozen=True)
class TwoArchitectures(Apt):
    """apt over the host's archives with i386 as a foreign architecture."""

    @property
    def options(self) -> list[str]:
        return [*super().options, "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64,i386"]

    def qualified_answer(self, words: Sequence[str]) -> Answer | None:
        """As answer(), with names such as libc6:i386."""
        ran = run(["apt-get", *self.options, "--print-uris", "-qq", "-y", "install", *words], code=None)
        files = [line.split()[1].split("_") for line in ran.out.splitlines() if line.startswith("'")]
        found = frozenset((qualified(n, arch.split(".")[0], "amd64"), unquote(version)) for n, version, arch in files)
        return None if ran.code else found


@pytest.mark.whole
def test_a_whole_distribution_of_two_architectures_is_answered_as_by_apt(tmp_path: Path) -> None:
    apt = TwoArchitectures(tmp_path / "apt")
    apt.make()
    pairs = apt.pairs()
    names = sorted({p.name for index, _ in pairs for p in index.all(None) if p.architecture == "i386"})
    dice = random.Random(9)
    drawn = [f"{name}:i386" for name in dice.sample(names, 25)]
    drawn += [f"{a}:i386 {b}" for a, b in zip(dice.sample(names, 15), dice.sample(names, 15), strict=True)]
    drawn += ["libc6:i386", "wine32", "wine wine32", "libgl1:i386 libgl1", "g++:i386", "perl:i386", "bash:i386 bash"]
    for request in drawn:
        question = Question(tuple(map(parse_request, request.split())), "amd64", "apt", foreign=("i386",))
        ours: Answer | None = None
        with suppress(ResolutionError):
            found = [p.package for p in resolve_indexes(question, pairs).packages]
            ours = frozenset((qualified(p.name, p.architecture, "amd64"), p.version) for p in found)
        assert ours == apt.qualified_answer([*essential(pairs), *request.split()]), request
