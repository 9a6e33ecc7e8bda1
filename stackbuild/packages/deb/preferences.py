"""apt_preferences(5): its files read, and its pins applied to archives and versions as apt applies them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from stackbuild.core.origin import Origin
from stackbuild.packages.deb import apt_conf, foreign
from stackbuild.packages.package import Archive, Package
from stackbuild.packages.pin import NEVER, Pin

INSTALLED = 100
"""The priority of what is installed, unless an archive that has the same version says more."""

TARGET = 990
"""The priority of the release that APT::Default-Release names."""

_FILE = re.compile(r"[A-Za-z0-9_-]+(?:\.pref)?\Z")  # what apt reads of a .d folder: no other dots
_FIELD = re.compile(r"^(Package|Pin|Pin-Priority):[ \t]*(.*(?:\n[ \t].*)*)", re.M | re.I)


def read(root: Path) -> tuple[Pin, ...]:
    """The pins of a root file system, in apt's order: APT::Default-Release of its apt.conf, preferences, then
    preferences.d. What is broken is left out; where apt refuses a default release that no source has, it does nothing.
    """
    files = ["etc/apt/preferences"]
    files += [f"etc/apt/preferences.d/{n}" for n in foreign.names(root, "etc/apt/preferences.d") if _FILE.match(n)]
    found: list[Pin] = []
    target, where = apt_conf.read(root).get("apt::default-release", ("", None))
    if target and where:
        file = f"/{Path(where.file).relative_to(root)}"
        found.append(Pin((), "release", target, TARGET, Origin("base", file, where.line, where.key)))
    for file in files:
        text = foreign.text(root, file)
        if text is not None:
            found += parse(text, f"/{file}")
    return tuple(found)


def parse(text: str, file: str) -> list[Pin]:
    """The stanzas of one file. `file`: what the user calls it. Raises nothing."""
    found: list[Pin] = []
    text = re.sub(r"^#.*$", "#", text.replace("\r", ""), flags=re.M)
    for block in re.finditer(r"(?:(?!^[ \t]*$).*\n?)+", text, re.M):
        fields = {name.lower(): " ".join(value.split()) for name, value in _FIELD.findall(block[0])}
        kind, _, data = fields.get("pin", "").partition(" ")
        priority = number(fields.get("pin-priority", ""))
        names = tuple(fields.get("package", "").split())
        if kind.lower() not in ("release", "version", "origin") or priority is None or not names:
            continue
        line = text.count("\n", 0, block.start()) + 1
        where = Origin("base", file, line, ("Pin",))
        general = names == ("*",)
        found.append(Pin(() if general else names, kind.lower(), data.strip().strip('"'), priority, where))
    return found


def number(text: str) -> int | None:
    """A Pin-Priority: a number, or "never"; None if it is neither."""
    if text.strip().lower() == "never":
        return NEVER
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,5}", text.strip()) else None


class Policy:
    """Which priority each version has. pins: the first that fits decides, as in apt."""

    def __init__(self, pins: Iterable[Pin] = ()) -> None:
        pins = tuple(pins)
        self._general = [pin for pin in pins if not pin.packages and pin.kind != "version"]
        self._special = [pin for pin in pins if pin.packages]
        self._known: dict[tuple[object, ...], int] = {}

    def archive(self, archive: Archive) -> int:
        """The priority of all that an archive has, if nothing special is said."""
        if archive.pin is not None:
            return archive.pin
        if not self._general:
            return archive.priority
        key = (archive, archive.component, archive.site)
        if key not in self._known:
            pin = next((p for p in self._general if matches(p, archive)), None)
            self._known[key] = archive.priority if pin is None else pin.priority
        return self._known[key]

    def special(self, package: Package, archives: Sequence[Archive]) -> Pin | None:
        """The pin that is said for this very package, and fits this version or an archive that has it."""
        for pin in self._special:
            if any(_names(pattern, package) for pattern in pin.packages) and (
                expression(pin.data, package.version)
                if pin.kind == "version"
                else any(matches(pin, archive) for archive in archives)
            ):
                return pin
        return None

    def priority(self, package: Package, archives: Sequence[Archive], *, installed: bool) -> int:
        """A version's Pin-Priority. archives: all that have it."""
        pin = self.special(package, archives)
        if pin is not None:
            return pin.priority
        return max([self.archive(a) for a in archives] + ([INSTALLED] if installed else []), default=0)

    def reason(self, package: Package, archives: Sequence[Archive]) -> Pin | None:
        """The pin that decided a version's priority, if one did."""
        found = self.special(package, archives)
        if found is not None:
            return found
        return next((p for p in self._general if any(matches(p, a) for a in archives)), None)


def _names(pattern: str, package: Package) -> bool:
    name, _, foreign = package.name.partition(":")
    if pattern.startswith("src:"):
        pattern, name = pattern[4:], package.source
    pattern, _, architecture = pattern.partition(":") if not pattern.startswith("/") else (pattern, "", "")
    if (architecture != "any" and foreign not in (architecture, "")) or (
        not foreign and architecture not in ("", "any", "native", package.architecture)
    ):
        return False
    return expression(pattern, name)


def matches(pin: Pin, archive: Archive) -> bool:
    """Whether an archive is what a "release" or "origin" pin means."""
    if pin.kind == "origin":
        return pin.data == archive.site if not pin.data else expression(pin.data, archive.site)
    if pin.kind != "release":
        return False
    if "=" not in pin.data:
        return bool(pin.data) and (
            expression(pin.data, archive.suite)
            or expression(pin.data, archive.codename)
            or (pin.data[0].isdigit() and archive.version.startswith(pin.data))
        )
    values = {
        "a": archive.suite, "n": archive.codename, "o": archive.origin, "l": archive.label,
        "c": archive.component, "v": archive.version,
    }  # fmt: skip
    for part in pin.data.split(","):
        key, _, wanted = part.strip().partition("=")
        if key == "b":
            continue  # of one architecture all indexes are
        if key not in values or not expression(wanted.strip(), values[key]):
            return False
    return True


def expression(pattern: str, text: str) -> bool:
    """apt's matching: /regex/ anywhere in the text, else a shell pattern for all of it."""
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        compiled = _regex(pattern[1:-1])
        return compiled is not None and compiled.search(text) is not None
    return fnmatchcase(text, pattern)


@lru_cache(maxsize=256)
def _regex(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.I)
    except re.error:
        return None
