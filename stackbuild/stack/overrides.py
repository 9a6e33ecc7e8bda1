"""Settings from the environment (STACKBUILD__A__B=…) and the command line (--set a.b=…), as trees; not the flags."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.levels import Level
from stackbuild.stack.document import Document
from stackbuild.stack.keys import inside, is_free, is_list_of_tables, keys_of, plain
from stackbuild.stack.mistakes import near_keys
from stackbuild.stack.place import Place, Saying

PREFIX = "STACKBUILD__"


def from_environment(environ: Mapping[str, str], mistakes: list[UsageError]) -> Iterator[Saying]:
    """What each variable STACKBUILD__… says, in the order of their names. Mistakes are added to the list."""
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == PREFIX:
            continue
        place = Place(Level.ENVIRONMENT, name)
        try:
            key = _known(name[len(PREFIX) :].split("__"), place)
            yield Saying(place, _tree(key, environ[name], place))
        except UsageError as error:
            mistakes.append(error)


def from_options(sets: Sequence[str], mistakes: list[UsageError]) -> Iterator[Saying]:
    """What each --set KEY=VALUE says, in order."""
    for text in sets:
        key, value = _split(text)
        place = Place(Level.COMMAND_LINE, f"--set {'.'.join(key) if key else text}")
        try:
            if key is None:
                raise UsageError(
                    f"`--set {text}` is not KEY=VALUE",
                    where=place.origin(()),
                    hints=(Hint("write a key as in the file", "--set container.env.TZ=UTC"),),
                )
            yield Saying(place, _tree(key, value, place))
        except UsageError as error:
            mistakes.append(error)


def parse_key(text: str) -> tuple[str, ...] | None:
    """The parts of a dotted TOML key (`container.env."A.B"`); None if it is none."""
    if "\n" in text or "#" in text.replace('"', "").strip()[:1]:
        return None
    try:
        found: Any = tomllib.loads(f"{text} = 0")
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    key: tuple[str, ...] = ()
    while isinstance(found, dict):
        if len(found) != 1:
            return None
        name, found = next(iter(found.items()))
        key = (*key, name)
    return key


def _split(text: str) -> tuple[tuple[str, ...] | None, str]:
    """Key and value: at the first "=" before which a key stands (a quoted key may hold one)."""
    at = text.find("=")
    while at > 0:
        key = parse_key(text[:at])
        if key is not None:
            return key, text[at + 1 :]
        at = text.find("=", at + 1)
    return None, text


def _known(words: Sequence[str], place: Place) -> tuple[str, ...]:
    """The key that the words of a variable mean: known keys without case and with _ for -, free ones as written."""
    kind: Any = Document
    key: tuple[str, ...] = ()
    for number, word in enumerate(words):
        known = keys_of(kind)
        if known is not None:
            wanted = word.lower().replace("_", "-")
            if wanted not in known:
                raise _unknown(word, known, place)
            word = wanted
        elif is_free(kind):
            deeper = inside(kind, word)
            if keys_of(deeper) is None and not is_free(deeper):  # a free name may itself hold "__"
                return (*key, "__".join(words[number:]))
        elif is_list_of_tables(kind):
            kind, key = inside(kind, 0), (*key, word)
            continue
        else:
            raise _unknown(word, (), place)
        kind, key = inside(kind, word), (*key, word)
    return key


def _unknown(word: str, known: tuple[str, ...], place: Place) -> UsageError:
    return UsageError(
        f"unknown key `{word}`", where=Origin(place.level.value, place.shown), hints=near_keys(word, known)
    )


def _tree(key: tuple[str, ...], text: str, place: Place) -> dict[str, Any]:
    """The smallest tree that says this value at this key. A layer goes by its name: layer.site.run."""
    kind: Any = Document
    kinds = []
    for part in key:
        kinds.append(kind)
        if is_list_of_tables(kind):
            if kinds[:-1] != [Document]:
                raise UsageError("a list of tables without names is set as a whole", where=place.origin(key))
            kind = inside(kind, 0)
        else:
            kind = inside(kind, part)
    value: Any = _value(text, kind)
    for part, owner in zip(reversed(key), reversed(kinds), strict=True):
        if is_list_of_tables(owner):
            value = [{"name": part, **(value if isinstance(value, dict) else {})}]
        else:
            value = {part: value}
    tree: dict[str, Any] = value
    return tree


def _value(text: str, kind: Any) -> Any:
    """The text as TOML, else as it is; where text is wanted, 1.10 stays "1.10"."""
    try:
        found = tomllib.loads(f"v = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    if set(found) != {"v"}:
        return text
    value = found["v"]
    if plain(kind) is str and not isinstance(value, str):
        return text
    return value if isinstance(value, (str, bool, int, float, list, dict)) else text
