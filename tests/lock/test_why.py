"""`why` shows the shortest chain, from the lock alone."""

from __future__ import annotations

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import UsageError
from stackbuild.lock.lock import Lock, LockedPackage, PlatformLock
from stackbuild.lock.why import why


def package(
    name: str, wave: int, depends: str = "", pre: str = "", manual: bool = False, essential: bool = False
) -> LockedPackage:
    return LockedPackage(
        *(name, "1", "amd64", digest_of(name.encode()), 1, "A", f"pool/{name}", name, wave, manual),
        depends=tuple(depends.split()), pre_depends=tuple(pre.split()), essential=essential,
    )  # fmt: skip


PACKAGES = (
    package("libc6", 0),
    package("bash", 0, pre="libc6", manual=True, essential=True),
    package("apt", 0, depends="libc6 libssl", manual=True),
    package("libssl", 0, depends="libc6"),
    package("a", 1, depends="b"),
    package("b", 1, depends="libx"),
    package("libx", 1, depends="libc6"),
    package("app", 1, depends="a c", manual=True),
    package("c", 1, pre="libx"),
    package("web", 2, depends="libx", manual=True),
)
LOCK = Lock(digest_of(b""), {"linux/amd64": PlatformLock(packages=PACKAGES)})


def test_the_shortest_chain_from_a_request() -> None:
    found = why(LOCK, "libx")
    assert found.to_text().splitlines() == ["web 1 (asked for)", "└─ depends libx 1", "also needed by b, c"]
    (chain,) = why(LOCK, "c").chains
    assert [p.name for p in chain.packages] == ["app", "c"] and chain.kinds == ("depends",) and chain.root == "request"


def test_a_request_itself_and_the_base() -> None:
    assert why(LOCK, "web").to_text() == "web 1 (asked for)"
    assert why(LOCK, "bash").to_text() == "bash 1 (essential)"
    assert why(LOCK, "libssl").to_text().splitlines()[0] == "apt 1 (part of the variant)"
    assert why(LOCK, "apt", ["apt"]).to_text() == "apt 1 (asked for)"


def test_json_has_the_chain_and_its_links() -> None:
    (chain,) = why(LOCK, "c").to_json()["chains"]
    assert chain["chain"] == [{"name": "app", "version": "1"}, {"name": "c", "version": "1"}]
    assert chain["links"] == ["depends"] and chain["platform"] == "linux/amd64"


def test_a_package_that_is_not_there_comes_with_near_names() -> None:
    with pytest.raises(UsageError, match="libsl is not in the lock") as found:
        why(LOCK, "libsl")
    assert "libssl" in found.value.hints[0].text
    top = PlatformLock(digest_of(b"image"), packages=PACKAGES[4:7], base_image="oci:base:1")
    with pytest.raises(UsageError) as found:
        why(Lock(digest_of(b""), {"linux/amd64": top}), "libssl")
    assert found.value.hints[0].text == "what the base oci:base:1 holds is there without a lock"
