"""Results of earlier builds: looked up by plan and content key, believed only if every blob is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stackbuild.build.entries import entry_blobs
from stackbuild.core.action import ActionResult, canonical
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, LocalKind, Step, StepKind
from stackbuild.store.objects import ObjectStore
from stackbuild.store.records import Records, StoredResults

if TYPE_CHECKING:
    from stackbuild.build.remote_cache import RemoteCache


class StepCache:
    """What the forecast and the scheduler ask. `stack`: a name for the history of one stack's steps."""

    def __init__(
        self,
        results: StoredResults,
        history: Records,
        stores: tuple[ObjectStore, ...],
        kinds: Mapping[str, StepKind],
        stack: str,
        remote: RemoteCache | None = None,
    ) -> None:
        self._remote = remote
        self._made: list[tuple[Digest, ActionResult]] = []
        self._results, self._history, self._stores = results, history, stores
        self._kinds, self._stack = kinds, stack

    def lookup(self, step: Step, key: Digest) -> ActionResult | None:
        """The result kept under a key; None if there is none or the store lost a blob of it.

        A kind that can tell its result without running (a download whose digest is locked) is asked itself.
        """
        kind = self._kinds[step.kind]
        if isinstance(kind, LocalKind) and (told := kind.known(step)) is not None:
            return told
        result = self._results.get(key)
        if result is not None and all(any(store.use(blob) for store in self._stores) for blob in entry_blobs(result)):
            return result
        if self._remote is None or isinstance(kind, LocalKind):
            return None
        result = self._remote.get(key)
        if result is not None and self._remote.fetches:
            self._results.put(key, result)
        return result

    def send(self, goals: Iterable[tuple[Digest, ActionResult]]) -> None:
        """Give the remote cache what was made, and the goals whether made or not; the image comes last."""
        if self._remote is not None:
            self._remote.put_all(self._made)
            self._remote.put_all([*goals])
            self._made = []

    def keep(self, step: Step, plan_key: Digest, content_key: Digest, inputs: Inputs, result: ActionResult) -> None:
        """Write a result under both keys, and `note` it."""
        self._results.put(content_key, result)
        if plan_key != content_key:
            self._results.put(plan_key, result)
        if self._remote is not None and self._remote.writes and not isinstance(self._kinds[step.kind], LocalKind):
            self._made += [(key, result) for key in dict.fromkeys([content_key, plan_key])]
        self.note(step, inputs, result.seconds)

    def note(self, step: Step, inputs: Inputs, seconds: float) -> None:
        """Remember what was hashed for the next *why*, and how long it took."""
        self._history.put(self._name(step), canonical({"inputs": inputs.plain, "seconds": seconds}))

    def last(self, step: Step) -> Inputs | None:
        """What was hashed when this step of this stack was last done."""
        data = self._history.get(self._name(step))
        try:
            return None if data is None else Inputs(**json.loads(data)["inputs"])
        except (ValueError, KeyError, TypeError):
            return None

    def last_seconds(self, step: Step) -> float | None:
        """How long it took then."""
        data = self._history.get(self._name(step))
        try:
            return None if data is None else float(json.loads(data)["seconds"])
        except (ValueError, KeyError, TypeError):
            return None

    def _name(self, step: Step) -> str:
        return f"{self._stack}\0{step.platform}\0{step.id}"
