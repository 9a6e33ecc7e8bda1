"""Which blobs a step result needs to count; for local and remote caches. Looks nothing up."""

from __future__ import annotations

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest


def entry_blobs(result: ActionResult) -> list[Blob]:
    """All blobs that must be there for a result to count: outputs, and the layers of an image or base."""
    layers = [Blob(Digest(item["digest"]), int(item["size"])) for item in result.facts.get("layers") or ()]
    return list(dict.fromkeys([*result.outputs.values(), *layers]))
