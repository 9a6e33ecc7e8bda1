"""`push` settles nothing if nothing has changed since the build, and says what it would have said otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Stackbuild
from tests.machine import Ran, imported, wait_until
from tests.peers.registry import registry as registry
from tests.projects import write_tiny

PROFILED = {"PYTHONPROFILEIMPORTTIME": "1"}


def append(stackbuild: Stackbuild, text: str) -> Path:
    file = stackbuild.folder / "stack.toml"
    file.write_text(file.read_text() + text)
    return file


def test_nothing_is_settled_for_a_push_after_a_build(stackbuild: Stackbuild, registry: str) -> None:
    write_tiny(stackbuild.folder)
    file = append(stackbuild, f'[push]\nto = ["{registry}/team/tiny:1"]\n')
    digest = stackbuild("build").out.strip()
    said = stackbuild("push").out
    assert said == f"{registry}/team/tiny:1 {digest}\n"
    ran: list[Ran] = []

    def sent_from_the_stamp() -> bool:  # files as young as the build make no stamp: the next one does
        stackbuild("build")
        ran.append(stackbuild("push", env=PROFILED))
        return "stackbuild.stack.kept" not in imported(ran[-1])

    wait_until(sent_from_the_stamp, 20)
    assert ran[-1].out == said and not imported(ran[-1]) & {"tomllib", "jinja2", "networkx", "solv", "rich"}
    assert stackbuild("push", "--to", f"{registry}/other:2").out == f"{registry}/other:2 {digest}\n"

    file.write_text(file.read_text().replace("tiny:1", "tiny:3"))
    assert stackbuild("push").out == f"{registry}/team/tiny:3 {digest}\n"  # never a stale answer
    file.write_text(file.read_text().replace("[push]\nto", "[push]\n#to"))
    stackbuild("build")
    assert "push.to is empty" in stackbuild("push", code=2).err


def test_settings_of_the_registry_are_known_from_the_stamp(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder)
    append(stackbuild, '[push]\nto = ["localhost:9/x:1"]\n[registries."localhost:9"]\nca = "/no/such/file.pem"\n')

    def refused_from_the_stamp() -> bool:
        stackbuild("build")
        ran = stackbuild("push", code=None, env=PROFILED)
        assert "/no/such/file.pem" in ran.err
        return "stackbuild.stack.kept" not in imported(ran)

    wait_until(refused_from_the_stamp, 20)


@pytest.mark.parametrize("options", [["--to", "oci:out"], ["--metadata-file", "facts.json"]])
def test_a_build_that_does_more_leaves_a_stamp_too(stackbuild: Stackbuild, options: list[str]) -> None:
    write_tiny(stackbuild.folder)

    def answered_from_the_stamp() -> bool:
        stackbuild("build", *options)
        return "stackbuild.stack.kept" not in imported(stackbuild("build", env=PROFILED))

    wait_until(answered_from_the_stamp, 20)
    assert "stackbuild.stack.kept" in imported(stackbuild("build", *options, env=PROFILED))
