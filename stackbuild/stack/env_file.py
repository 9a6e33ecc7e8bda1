"""Files of variables, `[container] env-file`, by the rules of `docker run --env-file`; each a level of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Key
from stackbuild.settings.levels import Level
from stackbuild.stack.place import Place, Saying, shown_path
from stackbuild.stack.question import Question
from stackbuild.stack.reader import read_text


@dataclass
class EnvFiles:
    """What env files say. before: the level that named them -> what stands just below it.

    read: the files. variables: those of the caller that a line without `=` took over."""

    before: dict[int, list[Saying]] = field(default_factory=dict)
    read: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()

    def woven(self, said: Sequence[Saying]) -> list[Saying]:
        """The levels, each env file below the level that names it: `env` of that level wins, as `-e` does."""
        return [one for saying in said for one in (*self.before.get(id(saying), ()), saying)]


def env_files_said(said: Sequence[Saying], question: Question, mistakes: list[UsageError]) -> EnvFiles:
    """The files of the highest level that names some. Mistakes are added to the list."""
    made = EnvFiles()
    for saying in reversed(said):
        table = saying.tree.get("container")
        names = table.get("env-file") if isinstance(table, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            continue
        config = question.user_config if saying.place.level is Level.USER else None
        folder = Path(os.path.abspath(config)).parent if config else question.project
        found = []
        for index, name in enumerate(names):
            path = Path(os.path.normpath(folder / name))
            made.read += (path,)
            where = saying.place.origin(("container", "env-file", index))
            text = read_text(path, shown_path(path), saying.place.level.value)
            if text is None:
                mistakes.append(UsageError(f"there is no {shown_path(path)}", where=where))
                continue
            env, lines, asked = parse_env(text, shown_path(path), saying.place.level, question.environ, mistakes)
            made.variables += asked
            place = Place(saying.place.level, shown_path(path), "", lines)
            found.append(Saying(place, {"container": {"env": env}}))
        made.before[id(saying)] = found
        break
    return made


def parse_env(
    text: str, shown: str, level: Level, environ: Mapping[str, str], mistakes: list[UsageError]
) -> tuple[dict[str, str], dict[Key, int], tuple[str, ...]]:
    """NAME=VALUE lines: values as they stand, without quotes or escapes; `#` starts a comment at a line's start only;
    NAME alone takes the caller's variable if there is one; a later line wins.

    Returns the variables, the line of each key, and the names that were taken from the caller.
    """
    env: dict[str, str] = {}
    lines: dict[Key, int] = {(): 1}
    asked: list[str] = []
    for number, row in enumerate(text.split("\n"), 1):
        row = row.removesuffix("\r").lstrip(" \t")
        if not row or row.startswith("#"):
            continue
        name, equals, value = row.partition("=")
        why = "there is no name before `=`" if not name else "a name holds no spaces" if name.split() != [name] else ""
        if why or "\0" in row:
            mistakes.append(
                UsageError(
                    "this is not a variable",
                    where=Origin(level.value, shown, number),
                    why=why or "it holds NUL",
                    hints=(Hint("write NAME=VALUE, without quotes"),),
                )
            )
            continue
        if not equals:
            asked.append(name)
            if name not in environ:
                continue
            value = environ[name]
        env.pop(name, None)
        env[name] = value
        lines["container", "env", name] = number
    return env, lines, tuple(asked)
