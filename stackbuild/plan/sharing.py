"""Finds steps of stages and stacks that do the very same as others of a plan, so that each is done once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.plan.step import STAGE, Step, plain_id


def shared(steps: Sequence[Step]) -> tuple[list[Step], dict[str, str]]:
    """The steps without those that are the same as another: same work on the same inputs, same id but for the stage
    and stack. And for each id of all steps the id of the step that does its work.

    steps: each after all that it needs; what they need of others (a base stack's) is known by its id. What stays is
    an image's own step, else that of the first stage; the others' readers read it instead. Files of two projects are
    never the same here, whatever is in them.
    """
    same: dict[str, Digest] = {}
    kept: dict[Digest, str] = {}
    for step in steps:
        same[step.id] = key = digest_of(
            canonical(
                [
                    plain_id(step.id),
                    step.kind,
                    step.platform,
                    step.id.partition(":")[0] if _reads_the_project(step) else "",
                    step.params,
                    {role: same.get(id, id) for role, id in step.needs.items()},
                    [same.get(id, id) for id in step.tree],
                ]
            )
        )
        if key not in kept or (STAGE in kept[key] and STAGE not in step.id):
            kept[key] = step.id

    def name(id: str) -> str:
        return kept[same[id]] if id in same else id

    names = {step.id: name(step.id) for step in steps}
    return [
        replace(
            step,
            needs={role: name(id) for role, id in step.needs.items()},
            tree=tuple(name(id) for id in step.tree),
        )
        for step in steps
        if names[step.id] == step.id
    ], names


def _reads_the_project(step: Step) -> bool:
    return bool(step.params.get("inputs")) or any("input" not in item for item in step.params.get("copy", ()))
