"""`lock` with nothing changed answers by `stat` alone: no network, no heavy imports, and never a stale answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stackbuild.lock.lock import LockFile
from tests.archive import Archive, archive, stack_of
from tests.conftest import Stackbuild
from tests.machine import Ran, imported, wait_until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archive(tmp_path_factory.mktemp("archive")) as found:
        found.package("lib")
        found.package("app", depends="lib")
        found.publish()
        yield found


def test_lock_again_reads_nothing_heavy_and_no_stale_answer(made: Archive, stackbuild: Stackbuild) -> None:
    stack_of(made, stackbuild.folder, ["app"])
    stackbuild("lock")
    said = stackbuild("lock").out
    made.asked.clear()
    ran: list[Ran] = []

    def answered_from_the_stamp() -> bool:  # a file as young as the run before makes no stamp: the next one does
        ran.append(stackbuild("lock", env={"PYTHONPROFILEIMPORTTIME": "1"}))
        return "tomllib" not in imported(ran[-1])

    wait_until(answered_from_the_stamp, 20)
    heavy = {"pydantic", "tomllib", "tomli_w", "jinja2", "networkx", "urllib3", "solv", "rich"}
    assert "stackbuild.cli.fast" in imported(ran[-1]) and not imported(ran[-1]) & heavy
    assert ran[-1].out == said == "stack.lock is up to date: 2 packages\n" and made.asked == []
    assert stackbuild("lock", "--check").out == said
    assert json.loads(stackbuild("lock", "--format", "json").out)["changed"] is False

    file = LockFile(stackbuild.folder / "stack.lock")
    lock = file.read()
    assert lock is not None
    file.write(replace(lock, platforms={}))
    assert "is stale" in stackbuild("lock", "--check", code=2).err
    file.write(lock)
    assert stackbuild("lock").out == said
    stack_of(made, stackbuild.folder, ["lib"])
    assert "- app" in stackbuild("lock").out
    file.path.unlink()
    assert stackbuild("lock").out == "stack.lock: 1 package locked\n"
