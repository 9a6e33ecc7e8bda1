"""The contract of `ActionCache` (core/action.py): local results and the remote cache both keep it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stackbuild.build.entry_signature import Keys
from stackbuild.build.remote_cache import Place, RemoteCache
from stackbuild.core.action import ActionCache, ActionResult, Blob
from stackbuild.core.digest import digest_of
from stackbuild.core.events import Event
from stackbuild.net.client import Client
from stackbuild.oci.reference import Reference
from stackbuild.store.objects import ObjectStore
from stackbuild.store.records import StoredResults
from tests.peers.registry import registry

__all__ = ["registry"]
Open = Callable[[], ActionCache]


class ActionCacheContract:
    """A subclass has the fixtures `opened` (the same cache anew) and `keep` (bytes -> a blob that is there)."""

    def test_what_was_never_put_is_not_there(self, opened: Open) -> None:
        assert opened().get(digest_of(b"never")) is None

    def test_what_is_put_is_found_by_another_process_object(self, opened: Open, keep: Callable[[bytes], Blob]) -> None:
        result = ActionResult({"layer": keep(b"content")}, {"diff_id": digest_of(b"tar"), "text": "ä\n"}, 1.5)
        opened().put(digest_of(b"key"), result)
        found = opened().get(digest_of(b"key"))
        assert found == result and found.digest == result.digest
        assert opened().get(digest_of(b"other")) is None

    def test_a_result_without_outputs(self, opened: Open) -> None:
        opened().put(digest_of(b"none"), ActionResult({}, {"empty": True}))
        assert opened().get(digest_of(b"none")) == ActionResult({}, {"empty": True})

    def test_many_at_once(self, opened: Open, keep: Callable[[bytes], Blob]) -> None:
        cache = opened()
        pairs = [(digest_of(b"%d" % (n // 2)), ActionResult({"x": keep(b"%d" % (n // 2))}, {})) for n in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda pair: cache.put(*pair), pairs))
            assert list(pool.map(cache.get, [key for key, _ in pairs])) == [result for _, result in pairs]


class TestLocal(ActionCacheContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Open:
        return lambda: StoredResults(tmp_path / "results")

    @pytest.fixture
    def keep(self, tmp_path: Path) -> Callable[[bytes], Blob]:
        return ObjectStore(tmp_path / "blobs").put_bytes


class TestRemote(ActionCacheContract):
    @pytest.fixture
    def opened(self, tmp_path: Path, registry: str, request: pytest.FixtureRequest) -> Open:
        place = Place(Reference(registry, f"contract/{request.node.name.lower()}"))
        numbers = iter(range(100))

        def open_another() -> RemoteCache:
            """Each with a store of its own, but for the first, which has what `keep` kept."""
            store = ObjectStore(tmp_path / f"blobs-{next(numbers)}")
            return RemoteCache(place, place, Client(), store, told, Keys())

        def told(event: Event) -> None:
            pytest.fail(f"no trouble was expected: {event}")

        return open_another

    @pytest.fixture
    def keep(self, tmp_path: Path) -> Callable[[bytes], Blob]:
        return ObjectStore(tmp_path / "blobs-0").put_bytes
