"""What every `Blobs` and every `ActionCache` promises (core/action.py); a subclass makes one."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

import pytest

from stackbuild.core.action import ActionCache, ActionResult, Blob, Blobs
from stackbuild.core.digest import digest_of
from stackbuild.core.errors import NetworkError

BIG = bytes(range(256)) * 20_000  # 5 MB: several pieces


def blob_of(data: bytes) -> Blob:
    return Blob(digest_of(data), len(data))


class Counting(io.BytesIO):
    """A stream that knows the largest piece that was asked of it; -1 is all of it."""

    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        self.largest = max(self.largest, 1 << 60 if size is None or size < 0 else size)
        return super().read(size)


class BlobsContract(ABC):
    @abstractmethod
    def make(self, folder: Path) -> Blobs:
        """Empty ones."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return self.make(tmp_path)

    @pytest.mark.parametrize("data", [b"", b"hello", BIG], ids=["empty", "small", "big"])
    def test_what_is_put_can_be_read_again_and_again(self, blobs: Blobs, data: bytes) -> None:
        assert blobs.put(io.BytesIO(data)) == blob_of(data)
        assert blobs.missing([blob_of(data)]) == []
        for _ in range(2):
            with blobs.open(blob_of(data)) as stream:
                assert stream.read() == data

    def test_putting_it_twice_is_putting_it_once(self, blobs: Blobs) -> None:
        assert blobs.put(io.BytesIO(b"x")) == blobs.put(io.BytesIO(b"x"), blob_of(b"x"))

    def test_what_is_missing_is_said_in_the_order_asked(self, blobs: Blobs) -> None:
        a, b, c = (blob_of(data) for data in (b"a", b"b", b"c"))
        blobs.put(io.BytesIO(b"b"))
        assert blobs.missing([c, b, a]) == [c, a]
        assert blobs.missing([]) == []

    def test_the_right_digest_with_another_size_is_missing(self, blobs: Blobs) -> None:
        right = blobs.put(io.BytesIO(b"hello"))
        wrong = Blob(right.digest, 4)
        assert blobs.missing([wrong, right]) == [wrong]

    def test_what_is_not_here_cannot_be_opened(self, blobs: Blobs) -> None:
        with pytest.raises(FileNotFoundError):
            blobs.open(blob_of(b"never put"))

    @pytest.mark.parametrize("came", [b"hell", b"hello!", b"jello", b""], ids=["short", "long", "other", "nothing"])
    def test_what_is_not_as_expected_is_refused_and_not_kept(self, blobs: Blobs, came: bytes) -> None:
        with pytest.raises(NetworkError, match="is not what came"):
            blobs.put(io.BytesIO(came), blob_of(b"hello"))
        assert blobs.missing([blob_of(b"hello"), blob_of(came)]) == [blob_of(b"hello"), blob_of(came)]

    def test_a_stream_is_never_asked_for_all_at_once(self, blobs: Blobs) -> None:
        stream = Counting(BIG)
        blobs.put(cast(BinaryIO, stream))
        assert 0 < stream.largest <= 1 << 20

    def test_a_stream_that_breaks_leaves_nothing(self, blobs: Blobs) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell():
                    raise RuntimeError("the other side went away")
                return super().read(3)

        with pytest.raises(RuntimeError, match="went away"):
            blobs.put(cast(BinaryIO, Broken(b"hello")))
        assert blobs.missing([blob_of(b"hello"), blob_of(b"hel")]) == [blob_of(b"hello"), blob_of(b"hel")]

    def test_many_threads_put_the_same(self, blobs: Blobs) -> None:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: blobs.put(io.BytesIO(BIG)), range(16))) == {blob_of(BIG)}
        assert blobs.open(blob_of(BIG)).read() == BIG


class ActionCacheContract(ABC):
    """last_counts: whether a second result under a key replaces the first; equal keys have equal results anyway."""

    last_counts: ClassVar[bool] = True

    @abstractmethod
    def make(self, folder: Path) -> ActionCache:
        """An empty one, or what an earlier call with this folder made, as another process sees it."""

    @pytest.fixture
    def cache(self, tmp_path: Path) -> ActionCache:
        return self.make(tmp_path)

    def again(self, cache: ActionCache, folder: Path) -> ActionCache:
        """What another process finds."""
        return self.make(folder)

    def keep(self, data: bytes, folder: Path) -> Blob:
        """A blob for a result; where a cache sends blobs, it is there."""
        return blob_of(data)

    @pytest.fixture
    def result(self, tmp_path: Path) -> ActionResult:
        facts = {"diff_id": digest_of(b"tar"), "n": [1, None, "ü\n"]}
        return ActionResult({"layer": self.keep(b"layer", tmp_path)}, facts, 1.5)

    def test_an_unknown_key_is_no_error(self, cache: ActionCache) -> None:
        assert cache.get(digest_of(b"key")) is None

    def test_a_result_comes_back_as_it_was(self, cache: ActionCache, result: ActionResult, tmp_path: Path) -> None:
        cache.put(digest_of(b"key"), result)
        for one in (cache, self.again(cache, tmp_path)):
            found = one.get(digest_of(b"key"))
            assert found == result and found.digest == result.digest
            assert one.get(digest_of(b"another key")) is None

    def test_a_result_without_outputs(self, cache: ActionCache) -> None:
        cache.put(digest_of(b"none"), ActionResult({}, {"empty": True}))
        assert cache.get(digest_of(b"none")) == ActionResult({}, {"empty": True})

    def test_a_second_result_under_a_key(self, cache: ActionCache, result: ActionResult) -> None:
        first, key = ActionResult({}, {"first": True}), digest_of(b"key")
        cache.put(key, first)
        cache.put(key, result)
        assert cache.get(key) == (result if self.last_counts else first)

    def test_what_a_reader_changes_is_its_own(self, cache: ActionCache, result: ActionResult) -> None:
        cache.put(digest_of(b"key"), result)
        found = cache.get(digest_of(b"key"))
        assert found is not None
        found.facts["n"].append("more")
        assert cache.get(digest_of(b"key")) == result

    def test_many_threads_write_and_read(self, cache: ActionCache, result: ActionResult) -> None:
        keys = [digest_of(b"%d" % (number // 4)) for number in range(24)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: cache.put(key, result), keys))
            assert all(found == result for found in pool.map(cache.get, keys))
