"""What earlier builds of a stack were made of: for each the key of every step; inputs are kept once for each key."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest
from stackbuild.plan.forecast import Forecast
from stackbuild.plan.step import Inputs
from stackbuild.store.records import Records

KEPT = 20
"""Builds of a stack that are remembered."""


@dataclass(frozen=True, slots=True)
class PastBuild:
    """at: seconds since 1970. keys: plan key of each step; ran: seconds of those that ran. digest: of the image; ""."""

    at: float
    keys: Mapping[str, str]
    ran: Mapping[str, float]
    digest: str = ""


class History:
    """The builds of one stack. folder: an area of the store; stack: a name for it. Lost records are no error."""

    def __init__(self, folder: Path, stack: str) -> None:
        self._inputs = Records(folder / "inputs")
        self._builds = Records(folder / "builds")
        self._stack = stack

    def builds(self) -> tuple[PastBuild, ...]:
        """The newest first."""
        data = self._builds.get(self._stack)
        try:
            return tuple(PastBuild(**one) for one in json.loads(data)) if data else ()
        except (ValueError, TypeError):
            return ()

    def add(self, forecast: Forecast, ran: Mapping[str, float], digest: str) -> None:
        """Remember a build that has ended well. One that ran nothing and changed nothing is not another build."""
        keys = {id: str(outlook.plan_key) for id, outlook in forecast.outlooks.items() if outlook.step.kind != "fetch"}
        before = self.builds()
        if before and not ran and dict(before[0].keys) == keys:
            return
        known = set(before[0].keys.values()) if before else set()
        for id, key in keys.items():
            if key not in known:
                self._inputs.put(key, canonical(forecast.outlooks[id].inputs.plain))
        made = [PastBuild(time.time(), keys, dict(ran), digest), *before][:KEPT]
        self._builds.put(self._stack, canonical([asdict(one) for one in made]))

    def inputs(self, key: str) -> Inputs | None:
        """What was hashed to a plan key; None if it is no longer known."""
        data = self._inputs.get(Digest(key))
        try:
            return Inputs(**json.loads(data)) if data else None
        except (ValueError, TypeError):
            return None
