"""Step results in a registry, beside the images: one OCI artifact per key. Slow, down or poisoned, it fails no build.

An entry's tag is its key. Its config blob is the entry: canonical JSON that repeats the key and holds the result. Its
layers are the result's blobs. A signature, if there is one, is an annotation, made over the bytes of the config blob:
key, digests and facts. So an entry under another's tag, or with other bytes, is refused whoever wrote it.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, cast

from stackbuild.build.entries import entry_blobs
from stackbuild.build.entry_signature import SIGNATURE, Keys
from stackbuild.core.action import ActionResult, Blob, canonical
from stackbuild.core.digest import Digest, VerifyingReader, digest_of, hex_of, parse_digest
from stackbuild.core.errors import NetworkError, StackError
from stackbuild.core.events import Listener, Note
from stackbuild.net.client import Client, Policy
from stackbuild.oci.descriptor import Descriptor
from stackbuild.oci.manifest import Manifest, make_manifest
from stackbuild.oci.reference import Reference
from stackbuild.oci.registry import Registry
from stackbuild.store.objects import ObjectStore

ENTRY = "application/vnd.stackbuild.step.v1+json"
BLOB = "application/octet-stream"
LARGEST_ENTRY = 4 << 20
AT_ONCE = 4
IMPATIENT = Policy(connect=3.0, read=10.0, retries=0, max_wait=2.0, slow=20.0, slow_rate=64 << 10)
"""A cache that does not answer soon is of no use."""
PATIENCE = 20.0
"""Seconds that all looks together may take that bring nothing: many slow answers are no better than none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository that holds entries. siblings: others of the same registry that may have the blobs."""

    reference: Reference
    siblings: tuple[str, ...] = ()


class RemoteCache:
    """`ActionCache` of core/action.py in a registry, thread-safe. source: read from; target: written to; None: not.

    fetch: bring the blobs of what is found into `blobs`; False: only tell (for `plan`). Raises nothing: trouble is
    told to the listener once, and from then on there is no remote cache.
    """

    def __init__(
        self,
        source: Place | None,
        target: Place | None,
        client: Client,
        blobs: ObjectStore,
        listener: Listener,
        keys: Keys,
        *,
        fetch: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self._source, self._target = source, target
        self._client, self._blobs, self._listener, self._keys, self._fetch = client, blobs, listener, keys, fetch
        self._patience = patience
        self._registries: dict[str, Registry] = {}
        self._lock = threading.Lock()
        self._alone: defaultdict[Digest, threading.Lock] = defaultdict(threading.Lock)
        self._sent: set[Digest] = set()
        self._down: set[str] = set()
        self._said: set[str] = set()

    @property
    def writes(self) -> bool:
        return self._target is not None

    def stop_reading(self) -> None:
        """Something that came from here, perhaps, was wrong: what this command still needs is made here."""
        self._source = None

    @property
    def fetches(self) -> bool:
        return self._fetch

    def get(self, key: Digest) -> ActionResult | None:
        """The result under a key, all its blobs in the store. Cost: one request for a miss."""
        if self._source is None or self._source.reference.host in self._down:
            return None
        place, began = self._source.reference, time.monotonic()
        try:
            registry = self._registry(place)
            manifest = registry.find_manifest(_tagged(place, key))
            if manifest is None:
                self._lose_patience(place, time.monotonic() - began)
                return None
        except StackError as error:
            self._trouble(place, error)
            return None
        try:
            result = self._entry(registry, place, manifest, key)
            if self._fetch:
                self._bring(registry, place, result)
        except StackError as error:
            if error.what.startswith("no answer"):
                self._trouble(place, error)
            else:
                self._say("refused", f"an entry of the remote cache {place.name} is not used: {error}")
                self._lose_patience(place, time.monotonic() - began)
            return None
        return result

    def _entry(self, registry: Registry, place: Reference, manifest: Any, key: Digest) -> ActionResult:
        """Raises NetworkError if it is not an entry for this key by somebody who is trusted."""
        if not isinstance(manifest, Manifest) or manifest.config.media_type != ENTRY:
            raise NetworkError("it is another kind of artifact")
        config = manifest.config
        if config.size > LARGEST_ENTRY:
            raise NetworkError("it is too large", why=f"{config.size} bytes")
        with closing(registry.open_blob(place.path, config)) as stream:
            data = VerifyingReader(stream, config.digest, config.size, "its entry").read()
        self._keys.check(data, manifest.annotations.get(SIGNATURE, ""))
        return read_entry(data, key)

    def _bring(self, registry: Registry, place: Reference, result: ActionResult) -> None:
        def bring(blob: Blob) -> None:
            descriptor = Descriptor(BLOB, blob.digest, blob.size)
            with closing(registry.open_blob(place.path, descriptor)) as stream:
                self._blobs.put(cast(BinaryIO, VerifyingReader(stream, blob.digest, blob.size, "a blob")), blob)

        missing = [blob for blob in entry_blobs(result) if not self._blobs.use(blob)]
        with ThreadPoolExecutor(AT_ONCE, "cache") as pool:
            list(pool.map(bring, missing))

    def put(self, key: Digest, result: ActionResult) -> None:
        """Keep a result whose blobs are in the store, unless the key has one."""
        self._put(key, result, again=False)

    def replace(self, key: Digest, result: ActionResult) -> None:
        """Keep a result instead of the one that the key has."""
        self._put(key, result, again=True)

    def _put(self, key: Digest, result: ActionResult, *, again: bool) -> None:
        with self._alone[key]:  # registries are not fond of the same thing from two at once
            self._put_alone(key, result, again=again)

    def _put_alone(self, key: Digest, result: ActionResult, *, again: bool) -> None:
        if self._target is None or self._target.reference.host in self._down:
            return
        place = self._target.reference
        try:
            registry = self._registry(place)
            if not again and registry.has_manifest(_tagged(place, key)):
                return
            blobs = entry_blobs(result)
            for blob in blobs:
                self._send(registry, blob, partial(self._blobs.open, blob))
            data = canonical({"v": 1, "key": key, "result": json.loads(result.to_json())})
            config = Descriptor(ENTRY, digest_of(data), len(data))
            self._send(registry, Blob(config.digest, config.size), lambda: io.BytesIO(data))
            signature = self._keys.sign(data)
            manifest = make_manifest(
                config, [Descriptor(BLOB, b.digest, b.size) for b in blobs], {SIGNATURE: signature} if signature else {}
            )
            registry.put_manifest(_tagged(place, key), manifest.raw, manifest.media_type)
        except FileNotFoundError:
            return  # pruned meanwhile
        except StackError as error:
            self._trouble(place, error)

    def put_all(self, results: Sequence[tuple[Digest, ActionResult]]) -> None:
        """Keep several, a few at a time."""
        if self.writes and results:
            with ThreadPoolExecutor(AT_ONCE, "cache") as pool:
                list(pool.map(lambda pair: self.put(*pair), dict(results).items()))

    def _send(self, registry: Registry, blob: Blob, source: Callable[[], BinaryIO]) -> None:
        assert self._target is not None
        path = self._target.reference.path
        descriptor = Descriptor(BLOB, blob.digest, blob.size)
        with self._alone[blob.digest]:
            if blob.digest not in self._sent and not registry.has_blob(path, descriptor):
                registry.upload(path, descriptor, source, mount_from=next(iter(self._target.siblings), ""))
            self._sent.add(blob.digest)

    def _registry(self, place: Reference) -> Registry:
        with self._lock:
            if place.host not in self._registries:
                registry = Registry(place.host, self._client)
                registry.ping()
                self._registries[place.host] = registry
            return self._registries[place.host]

    def _lose_patience(self, place: Reference, seconds: float) -> None:
        self._patience -= seconds
        if self._patience < 0:
            self._trouble(place, NetworkError(f"{place.host} is too slow", why="what it does not bring is made sooner"))

    def _trouble(self, place: Reference, error: StackError) -> None:
        self._down.add(place.host)
        self._say("down", f"the remote cache {place.name} is not used: {error}")

    def _say(self, what: str, text: str) -> None:
        with self._lock:
            if what in self._said:
                return
            self._said.add(what)
        self._listener(Note(text, "warning"))


def _tagged(place: Reference, key: Digest) -> Reference:
    return Reference(place.host, place.path, f"step-{hex_of(key)}")


def read_entry(data: bytes, key: Digest) -> ActionResult:
    """The result in an entry's bytes. Raises NetworkError: what names a place on the disk must be a digest."""
    try:
        tree = json.loads(data)
        if tree["v"] != 1 or tree["key"] != key:
            raise ValueError("it was made for another key")
        result = ActionResult.from_json(canonical(tree["result"]))
        for table in (result.facts, *(result.facts.get("layers") or ())):
            for name in ("diff_id", "chain_id", "digest"):
                if name in table:
                    parse_digest(table[name])
        for blob in entry_blobs(result):
            parse_digest(blob.digest)
            if blob.size < 0:
                raise ValueError("a negative size")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NetworkError("it is not a step's result", why=str(error)) from None
    return result
