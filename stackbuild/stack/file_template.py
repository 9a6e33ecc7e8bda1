"""`files = [{ template = … }]`: template files become the content of files while a stack is settled; copies nothing.

So a file step's key holds what the template and all that it includes came to, and no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stackbuild.core.errors import HostError, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Key
from stackbuild.stack.bounded import Failed, render_file
from stackbuild.stack.context import Context, mends
from stackbuild.stack.place import Place, Saying, shown_path
from stackbuild.stack.reader import read_text


class Templates:
    """Renders the templates of one stack. read: every template file that was looked at."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.read: list[Path] = []

    def filled(
        self, saying: Saying, params: Mapping[str, Any] | None, folder: Path, mistakes: list[UsageError]
    ) -> Saying:
        """A level whose files have `content` instead of `template`. folder: where its templates are, and stay."""
        if not _names_templates(saying.tree):
            return saying
        return Saying(saying.place, self._walk(saying.tree, (), saying.place, params, folder, mistakes))

    def _walk(
        self, value: Any, key: Key, place: Place, params: Mapping[str, Any] | None, folder: Path, mistakes: list[Any]
    ) -> Any:
        if isinstance(value, list):
            return [self._walk(one, (*key, n), place, params, folder, mistakes) for n, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if len(key) > 1 and key[-2] == "files" and isinstance(value.get("template"), str):
            if "content" in value or "link" in value:
                return value  # validation says that only one may stand
            made = {name: one for name, one in value.items() if name != "template"}
            text = self._render(value["template"], (*key, "template"), place, params, folder, mistakes)
            return {**made, "content": text}
        return {name: self._walk(one, (*key, name), place, params, folder, mistakes) for name, one in value.items()}

    def _render(
        self,
        name: str,
        key: Key,
        place: Place,
        params: Mapping[str, Any] | None,
        folder: Path,
        mistakes: list[UsageError],
    ) -> str:
        shown = shown_path(folder / name)

        def load(wanted: str) -> str:
            return self._load(wanted, folder, place)

        try:
            return render_file(name, load, self.context.of(params))
        except Failed as error:
            line, file = error.line, error.file or name
            where = place.origin(key)
            if line:
                where = Origin(where.level, shown_path(folder / file), line, key)
            why = f"{error} ({place.origin(key)} names it)" if line else str(error)
            hints = mends(_line(load, file, line), str(error), params) if line else []
            mistakes.append(UsageError(f"the template {shown} cannot be rendered", where=where, why=why, hints=hints))
            return ""

    def _load(self, name: str, folder: Path, place: Place) -> str:
        """The text of a template in a folder. Raises Failed: no path leaves the folder, through links neither."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name or not name:
            raise Failed(f'"{name}" leaves the folder of the file that names it')
        path = folder / name
        self.read.append(path)
        root = os.path.realpath(folder)
        real = os.path.realpath(path)
        if os.path.commonpath([root, real]) != root:
            raise Failed(f'"{name}" leads out of the folder of the file that names it, through a link')
        try:
            text = read_text(Path(real), shown_path(path), place.level.value)
        except (UsageError, HostError) as error:
            raise Failed(f"{error.what}{': ' + error.why if error.why else ''}") from None
        if text is None:
            near = sorted(p.name for p in path.parent.iterdir() if p.suffix == ".j2") if path.parent.is_dir() else []
            raise Failed(f"there is no {shown_path(path)}" + (f"; there is {', '.join(near)}" if near else ""))
        return text


def _line(load: Callable[[str], str], file: str, number: int) -> str:
    """The line of a template in which it failed; "" if it has changed under us."""
    try:
        return "".join(load(file).splitlines()[number - 1 : number])
    except Failed:
        return ""


def _names_templates(value: Any) -> bool:
    if isinstance(value, dict):
        return "template" in value or any(_names_templates(one) for one in value.values())
    return isinstance(value, list) and any(_names_templates(one) for one in value)
