"""Step kind `remove`: paths of the tree below are hidden by a layer of whiteouts; reads a facet, never the tree."""

from __future__ import annotations

from typing import ClassVar

from stackbuild.build.steps.files import Files


class Remove(Files):
    """params: "epoch", "compression", "remove": paths and patterns. needs: "facet"."""

    name: ClassVar[str] = "remove"
    version: ClassVar[int] = 1
