"""`stackbuild images`: what the store holds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.core.digest import Digest
    from stackbuild.oci.descriptor import Descriptor


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
    from stackbuild.core.errors import NetworkError
    from stackbuild.core.events import Note

    rows = []
    for tag, descriptor in app.images():
        try:
            size = sum(_layers(app, descriptor).values())
        except NetworkError as error:
            if (tag, descriptor) not in app.images():
                continue  # another process has just removed it
            app.listener(Note(f"{tag} is damaged; build it again: {error}", "warning"))
            size = 0
        rows.append((tag, str(descriptor.digest), size))
    return sorted(rows)


def _layers(app: App, descriptor: Descriptor) -> dict[Digest, int]:
    """Digest and size of each layer that a manifest of the store names, or an index for any platform."""
    from stackbuild.oci.manifest import Manifest

    document = app.layout.document(descriptor)
    if isinstance(document, Manifest):
        return {layer.digest: layer.size for layer in document.layers}
    return {digest: size for one in document.manifests for digest, size in _layers(app, one).items()}
