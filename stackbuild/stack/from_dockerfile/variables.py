"""Variables of a Dockerfile's words: `$X`, `${X}`, `${X:-y}`, `${X:+y}`, `\\$`; not the shell's."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\\(?P<escaped>[$\\])|\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::?(?P<how>[-+?])(?P<other>[^{}]*))?\})"
)


def expand(text: str, values: Mapping[str, str], missing: set[str] | None = None) -> str:
    """text with its variables replaced; unknown ones become "" as in Docker, and are added to `missing`."""

    def one(match: re.Match[str]) -> str:
        if match["escaped"]:
            return match["escaped"]
        name = match["name"] or match["braced"]
        value = values.get(name, "")
        match match["how"]:
            case "-":
                return value or expand(match["other"], values, missing)
            case "+":
                return expand(match["other"], values, missing) if value else ""
        if name not in values and missing is not None:
            missing.add(name)
        return value

    return _VARIABLE.sub(one, text)


def unquote(word: str) -> str:
    """A word without the quotes and backslashes that Docker takes away: `"a b"`, `a\\ b`."""
    return re.sub(
        r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)""",
        lambda match: match[1] or re.sub(r'\\(["\\$])', r"\1", match[2] or "") or match[3] or "",
        word,
    )


def named(script: str) -> set[str]:
    """The variables that a shell script reads."""
    return set(re.findall(r"(?<!\\)\$\{?([A-Za-z_]\w*)", script))


def assigned(script: str) -> set[str]:
    """The variables that a shell script sets itself."""
    found = set(re.findall(r"(?:^|[\s;&(|])(?:export\s+|local\s+|readonly\s+)?([A-Za-z_]\w*)=", script))
    return found | set(re.findall(r"\b(?:for|read)\s+(?:-\w+\s+)*([A-Za-z_]\w*)", script))
