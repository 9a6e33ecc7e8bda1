"""`stackbuild images`: what the store holds."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stackbuild.core.digest import Digest

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


@dataclass(frozen=True)
class Images:
    """rows: (name, digest, size in bytes of its layers)."""

    rows: tuple[tuple[str, str, int], ...]

    def to_text(self) -> str:
        from stackbuild.core.words import size

        width = max((len(name) for name, _, _ in self.rows), default=4)
        lines = [f"{'NAME':{width}}  {'DIGEST':19}  SIZE"]
        lines += [f"{name:{width}}  {digest[:19]}  {size(total)}" for name, digest, total in self.rows]
        return "\n".join(lines)

    def to_json(self) -> Any:
        return [{"name": name, "digest": digest, "size": total} for name, digest, total in self.rows]


def run(app: App, args: Namespace) -> None:
    app.show(Images(tuple(_rows(app))))


def _rows(app: App) -> list[tuple[str, str, int]]:
    rows = []
    for tag, descriptor in app.images():
        rows.append((tag, str(descriptor.digest), sum(_layers(app, descriptor.digest).values())))
    return sorted(rows)


def _layers(app: App, digest: Digest) -> dict[Digest, int]:
    """Digest and size of each layer that a manifest of the store names, or an index for any platform."""
    document = json.loads(app.layout.blob_path(digest).read_bytes())
    found = {Digest(layer["digest"]): int(layer["size"]) for layer in document.get("layers", ())}
    for manifest in document.get("manifests", ()):
        found |= _layers(app, Digest(manifest["digest"]))
    return found
