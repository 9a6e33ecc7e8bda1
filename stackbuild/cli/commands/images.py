"""`stackbuild images`: what the store holds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


@dataclass(frozen=True)
class Images:
    """rows: (name, digest, size in bytes of the manifest's layers)."""

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
    import json

    rows = []
    for tag, descriptor in app.images():
        document = json.loads(app.layout.blob_path(descriptor.digest).read_bytes())
        total = sum(int(item["size"]) for item in document.get("layers", document.get("manifests", ())))
        rows.append((tag, str(descriptor.digest), total))
    return sorted(rows)
