"""Why a step must run: the comparison of what was hashed then and now. Words are report/explain.py's job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stackbuild.plan.step import Inputs

NEVER = "never built"


@dataclass(frozen=True, slots=True)
class Reason:
    """One input that differs from the last run's; None: absent on that side."""

    name: str
    before: str | None
    after: str | None


def flatten(inputs: Inputs) -> dict[str, str]:
    """Each thing that was hashed under the name that a person knows it by."""
    flat = {"builder version": inputs.builder, **inputs.reads}
    flat.update(_leaves("", inputs.params))
    return flat


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            name = inner.get("name", number) if isinstance(inner, Mapping) else number
            if isinstance(inner, str) and path.endswith(".Env"):  # the OCI config's "NAME=VALUE"
                name, _, inner = inner.partition("=")
            yield from _leaves(f"{path}.{name}", inner)
    else:
        yield path, str(value)


def reasons(before: Inputs | None, after: Inputs) -> tuple[Reason, ...]:
    """All that differs; () if the key is unchanged."""
    if before is None:
        return (Reason(NEVER, None, None),)
    old, new = flatten(before), flatten(after)
    return tuple(
        Reason(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )
