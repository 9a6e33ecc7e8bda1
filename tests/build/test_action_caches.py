"""The remote cache keeps the contract of `ActionCache`, as the store and its twin in memory do."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import pytest

from stackbuild.build.entry_signature import Keys
from stackbuild.build.remote_cache import Place, RemoteCache
from stackbuild.core.action import ActionCache, Blob
from stackbuild.core.digest import digest_of
from stackbuild.core.events import Event
from stackbuild.net.client import Client
from stackbuild.oci.descriptor import Descriptor
from stackbuild.oci.manifest import make_manifest
from stackbuild.oci.reference import Reference
from stackbuild.store.objects import ObjectStore
from tests.net.servers import Reply, Seen, serving
from tests.peers.registry import registry
from tests.store.contract import ActionCacheContract

__all__ = ["registry"]


class TestRemote(ActionCacheContract):
    """Each is another machine, with a store of its own; the first has what `keep` kept."""

    last_counts = False  # it is there: nothing need be sent

    @pytest.fixture(autouse=True)
    def _place(self, registry: str, request: pytest.FixtureRequest) -> None:
        self.place = Place(Reference(registry, f"contract/{request.node.name.lower()}"))
        self.machines = count()

    def make(self, folder: Path) -> ActionCache:
        def told(event: Event) -> None:
            pytest.fail(f"no trouble was expected: {event}")

        store = ObjectStore(folder / f"machine-{next(self.machines)}")
        return RemoteCache(self.place, self.place, Client(), store, told, Keys())

    def keep(self, data: bytes, folder: Path) -> Blob:
        return ObjectStore(folder / "machine-0").put_bytes(data)


@pytest.mark.parametrize("status", [404, 200])
def test_a_cache_that_brings_nothing_and_is_slow_about_it_is_given_up(tmp_path: Path, status: int) -> None:
    """404: it has nothing; 200: it has something that is refused, or breaks off."""
    manifest = make_manifest(Descriptor("x/y", digest_of(b""), 0), [])

    def slow(request: Seen) -> Reply:
        time.sleep(0.1)
        return Reply(status, manifest.raw, {"Content-Type": manifest.media_type})

    said: list[Event] = []
    with serving(slow) as server:
        place = Place(Reference(server.host, "slow"))
        cache = RemoteCache(place, None, Client(), ObjectStore(tmp_path), said.append, Keys(), patience=1.5)
        assert all(cache.get(digest_of(b"%d" % number)) is None for number in range(50))
    assert 2 < len(server.seen) < 22
    assert ["is too slow" in str(event) for event in said] == [False, True][status == 404 :]
