"""What a stack must not say where maintainer scripts are skipped. Values in, mistakes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.settings.setting import Settings


def variant_of_stage(settings: Settings, scripts: str) -> str:
    """The variant of a stage that has its stack's base but says of scripts what the stack does not; "": the stack's.

    A variant that somebody named holds for stages, too; the engine's own fits what is done with scripts.
    """
    variant, said = settings.get(("base", "variant")), settings.get(("packages", "scripts"))
    if variant is None or said is None or said.value == scripts:
        return ""
    if scripts == "skip":
        return "custom" if len(variant.history) == 1 else ""
    return str(variant.history[0].value) if variant.last.key == said.last.key else ""


def without_scripts(tree: Mapping[str, Any], living: Settings, base: str) -> Iterator[UsageError]:
    """The mistakes of `packages.scripts = "skip"`. base: "distro", "image", "stack" or "scratch"."""
    scripts = living.get(("packages", "scripts"))
    packages = tree.get("packages", {})
    if scripts is None or scripts.value != "skip":
        return
    if base not in ("", "distro", "scratch") and packages.get("install"):
        yield UsageError(
            "scripts cannot be skipped on this base",
            where=scripts.last.origin,
            why="the base has a dpkg with a database of its own, in which packages are configured or broken",
            hints=(Hint('use scripts = "run", or a base that is bootstrapped: base.distro'),),
        )
    for question in packages.get("debconf", {}):
        if not question.startswith("tzdata/"):
            yield UsageError(
                f"nobody asks `{question}`",
                where=living[("packages", "debconf", question)].last.origin,
                why=f"scripts are skipped ({scripts.last.origin}), so no script reads the answer",
                hints=(Hint("take the answer out, or write what it is to do in a layer of your own"),),
            )
