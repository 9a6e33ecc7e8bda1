"""Finds steps of stages that do the very same as others of the plan, so that each is done once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.plan.step import STAGE, Step, plain_id


def shared(steps: Sequence[Step]) -> list[Step]:
    """The steps without those that are the same as another: same work on the same inputs, same id but for the stage.

    steps: each after all that it needs. What stays is the image's own step, else that of the first stage; the
    others' readers read it instead.
    """
    same: dict[str, Digest] = {}
    kept: dict[Digest, str] = {}
    for step in steps:
        same[step.id] = key = digest_of(
            canonical(
                [
                    plain_id(step.id),
                    step.kind,
                    step.params,
                    {role: same[id] for role, id in step.needs.items()},
                    [same[id] for id in step.tree],
                ]
            )
        )
        if key not in kept or (STAGE in kept[key] and STAGE not in step.id):
            kept[key] = step.id

    def name(id: str) -> str:
        return kept[same[id]]

    return [
        replace(
            step,
            needs={role: name(id) for role, id in step.needs.items()},
            tree=tuple(name(id) for id in step.tree),
        )
        for step in steps
        if name(step.id) == step.id
    ]
