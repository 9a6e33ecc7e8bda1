"""Each `[stages.NAME]` as a stack of its own, in an order in which they can be built; plans and builds nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from stackbuild.core.errors import Hint, UsageError
from stackbuild.settings.setting import beneath
from stackbuild.stack.image_tables import BASE_KINDS, Base, CopyItem, Packages, Stage
from stackbuild.stack.levels import engine_said
from stackbuild.stack.mistakes import near_keys
from stackbuild.stack.skipping import variant_of_stage
from stackbuild.stack.stack import Stack

OWN = ("layer", "users", "stages")
"""Tables that a stage does not take over from its stack; of packages: install and scripts."""


def stages_of(stack: Stack, tables: Mapping[str, Stage]) -> dict[str, Stack]:
    """The stages of a stack, one that others copy from before these. Raises UsageError with every mistake:
    a stage that is not there, stages that copy from each other in a circle, a variant without a distro."""
    made = {name: _stage(stack, name, table) for name, table in tables.items()}
    checked(replace(stack, stages=made))
    order: list[str] = []
    for name in made:
        _visit(made, name, (), order)
    return {name: made[name] for name in order}


def checked(stack: Stack) -> Stack:
    """The stack itself. Raises UsageError if something is copied from a stage that is not there."""
    mistakes = []
    for one in (stack, *stack.stages.values()):
        for layer, number, item in copies(one):
            if item.stage not in stack.stages:
                hints = near_keys(str(item.stage), tuple(stack.stages))
                mistakes.append(
                    UsageError(
                        f"there is no stage `{item.stage}`",
                        where=one.origin("layer", layer, "copy", number, "stage"),
                        hints=hints or (Hint(f"make it: [stages.{item.stage}] with layers of its own"),),
                    )
                )
    if mistakes:
        raise UsageError.of(mistakes)
    return stack


def copies(stack: Stack) -> Iterator[tuple[str, int, CopyItem]]:
    """What a stack or stage copies out of stages: layer's name, place in its `copy`, the item."""
    for layer in stack.layers:
        for number, item in enumerate(layer.copy_):
            if item.stage is not None:
                yield layer.name, number, item


def _visit(stages: Mapping[str, Stack], name: str, path: tuple[str, ...], order: list[str]) -> None:
    if name in order:
        return
    if name in path:
        circle = (*path[path.index(name) :], name)
        layer, number = next((found, n) for found, n, item in copies(stages[path[-1]]) if item.stage == name)
        raise UsageError(
            "stages copy from each other in a circle",
            where=stages[path[-1]].origin("layer", layer, "copy", number, "stage"),
            why=" → ".join(circle),
        )
    for _, _, item in copies(stages[name]):
        _visit(stages, str(item.stage), (*path, name), order)
    order.append(name)


def _stage(stack: Stack, name: str, table: Stage) -> Stack:
    own = {path[2:]: setting for path, setting in beneath(stack.settings, ("stages", name)).items()}
    packages = _packages(stack, table.packages)
    base = _base(stack, name, table.base)
    if base is stack.base and (variant := variant_of_stage(stack.settings, str(packages.scripts))):
        base = base.model_copy(update={"variant": variant})
    inherited = {
        path: setting
        for path, setting in stack.settings.items()
        if path[0] not in OWN
        and path[:2] not in (("packages", "install"), ("packages", "scripts"))
        and not (path[0] == "base" and base is not stack.base)
        and not (path[:2] == ("packages", "source") and table.packages and table.packages.source)
    }
    return replace(
        stack,
        stage=name,
        base=base,
        distro=base.distro or (stack.distro if base.stack == stack.base.stack else ""),
        packages=packages,
        users=table.users,
        layers=table.layer,
        settings={**inherited, **own},
        recipes={},
        stages={},
    )


def _base(stack: Stack, name: str, base: Base | None) -> Base:
    if base is None:
        return stack.base
    if not any(getattr(base, kind) for kind in BASE_KINDS):
        if not stack.base.distro:
            raise UsageError(
                f"`stages.{name}.base.variant` says nothing here",
                where=stack.origin("stages", name, "base", "variant"),
                why=f"it is for a bootstrapped distro; this base is {stack.base.kind}",
            )
        return stack.base.model_copy(update={"variant": base.variant})
    if base.distro and not base.variant:
        return base.model_copy(update={"variant": engine_said().tree["base"]["variant"]})
    return base


def _packages(stack: Stack, own: Packages | None) -> Packages:
    """As in the stack, but what is installed and whether scripts run: a stage can run things in a stack that cannot."""
    said = {name: getattr(own, name) for name in own.model_fields_set} if own else {}
    if "debconf" in said:
        said["debconf"] = {**stack.packages.debconf, **said["debconf"]}
    scripts = engine_said().tree["packages"]["scripts"]
    return stack.packages.model_copy(update={"install": (), "scripts": scripts, **said})
