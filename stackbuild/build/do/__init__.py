"""The doing half of the step kinds: each module KIND.py has one function `do(action, room) -> facts`."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from stackbuild.core.action import Do

KINDS = ("assemble", "configure", "copy", "effects", "facet", "files", "pick", "remove", "run", "unpack", "users")


def function(kind: str) -> Do:
    """The function of a kind; only its module is imported. Raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"no step kind {kind!r}")
    return cast(Do, import_module(f"stackbuild.build.do.{kind}").do)
