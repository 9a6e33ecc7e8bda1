"""Sources of Debian packages: one-line and deb822 files, the host's own, and the tables of a stack; fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.events import Listener, Note, nobody
from stackbuild.core.origin import Origin
from stackbuild.packages.deb import apt_conf, foreign, mirrors
from stackbuild.packages.source import Keys, Source

_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<url>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+\S+)*)\s*\Z"
)
_SCHEMES = ("http://", "https://", "file:", "copy:")
_LISTS = ("mirror://", *(f"mirror+{scheme}" for scheme in _SCHEMES))


def parse_one_line(text: str, file: str) -> list[Source]:
    """A sources.list (sources.list(5), one-line style). Raises UsageError with the line."""
    sources = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if not line or re.match(r"deb-src\s", line):
            continue
        origin = Origin("host", file, number)
        found = _ONE_LINE.match(line)
        if not found:
            raise UsageError("this is no line of a sources.list", where=origin, why=line[:120])
        options: dict[str, str] = {}
        for option in re.findall(r"([A-Za-z-]+)\s*[+-]?=\s*(\S+)", found["options"] or ""):
            options[_OPTIONS.get(option[0].lower(), option[0].lower())] = option[1].replace(",", " ")
        sources += _sources([found["url"]], [found["suite"]], found["components"].split(), options, origin)
    return sources


_OPTIONS = {"arch": "architectures", "lang": "languages"}


def parse_deb822(text: str, file: str) -> list[Source]:
    """A .sources file (sources.list(5), deb822 style). Raises UsageError with the line."""
    from stackbuild.packages.deb.control import stanzas

    sources = []
    for stanza in stanzas(text):
        origin = Origin("host", file, _line_of(text, stanza))
        if stanza.get("enabled", "yes").strip().lower() in apt_conf.FALSE:
            continue
        if "deb" not in stanza.get("types", "").split():
            continue
        urls, suites = stanza.get("uris", "").split(), stanza.get("suites", "").split()
        if not urls or not suites:
            raise UsageError("a source needs URIs and Suites", where=origin)
        sources += _sources(urls, suites, stanza.get("components", "").split(), stanza, origin)
    return sources


def _line_of(text: str, stanza: dict[str, str]) -> int:
    """The line on which the stanza's first field stands."""
    name, value = next(iter(stanza.items()))
    found = re.search(rf"^{re.escape(name)}:[ \t]*{re.escape(value)}", text, re.M | re.I)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def _sources(
    urls: list[str], suites: list[str], components: list[str], options: dict[str, str], origin: Origin
) -> list[Source]:
    sources = []
    keys = signed_by(options.get("signed-by", ""))
    trusted = options.get("trusted", "").lower() in apt_conf.TRUE
    valid = options.get("check-valid-until", "yes").lower() not in apt_conf.FALSE
    date = options.get("check-date", "yes").lower() not in apt_conf.FALSE
    for url in urls:
        if not url.startswith((*_SCHEMES, *_LISTS)):
            raise UsageError(f"`{url[:120]}` is not a URL that packages can be fetched from", where=origin,
                             why="known: http, https, file, and mirror+ before one of them")  # fmt: skip
        for suite in suites:
            if bool(components) == suite.endswith("/"):
                why = "a flat suite has no components" if components else "a suite needs components"
                raise UsageError("the source is not complete", where=origin, why=why)
            sources.append(
                Source(
                    url=url.rstrip("/"),
                    suite=suite,
                    components=tuple(components),
                    architectures=tuple(options.get("architectures", "").split()),
                    keys=keys,
                    trusted=trusted,
                    check_valid_until=valid,
                    check_date=date,
                    origin=origin,
                )
            )
    return sources


def signed_by(value: str) -> Keys:
    """Signed-By: an armoured block, or keyring files and fingerprints, separated by spaces or commas."""
    if "BEGIN PGP" in value:  # deb822: one leading space a line, an empty line is " ."
        lines = [line.strip() for line in value.strip().splitlines()]
        return Keys(inline="\n".join("" if line == "." else line for line in lines) + "\n")
    words = re.split(r"[\s,]+", value.strip()) if value.strip() else []
    return Keys(
        files=tuple(Path(word) for word in words if word.startswith("/")),
        fingerprints=tuple(w.rstrip("!").lower() for w in words if re.match(r"(0x)?[0-9A-Fa-f]{16,64}!?\Z", w)),
    )


def host_release(root: Path = Path("/")) -> tuple[str, str]:
    """The distribution that this machine runs, as ("debian", "bookworm"); ("", "") if it does not say."""
    text = foreign.text(root, "etc/os-release") or foreign.text(root, "usr/lib/os-release") or ""
    found = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.M))
    return found.get("ID", ""), found.get("VERSION_CODENAME", "")


def host_files(root: Path = Path("/")) -> list[Source]:
    """All enabled sources below etc/apt, in apt's order: sources.list, then sources.list.d by name."""
    folder = "etc/apt/sources.list.d"
    parts = [f"{folder}/{n}" for n in foreign.names(root, folder) if n.endswith((".list", ".sources"))]
    sources: list[Source] = []
    for file in ["etc/apt/sources.list", *parts]:
        text = foreign.text(root, file)
        if text is not None:
            sources += (parse_deb822 if file.endswith(".sources") else parse_one_line)(text, str(root / file))
    return sources


def host_sources(distro: str, listener: Listener = nobody, root: Path = Path("/")) -> list[Source]:
    """The host's own sources for `distro` ("debian/bookworm"), under the host's own apt settings; [] if it is another.

    Another release of the host's distribution: the same archives, with that release's suites.
    Each check that the host's settings switch off is said to the listener.
    """
    vendor, _, release = distro.partition("/")
    host_vendor, host_codename = host_release(root)
    if not vendor or vendor != host_vendor:
        return []
    sources = host_files(root)
    if release != host_codename:
        sources = [
            replace(s, suite=release + s.suite[len(host_codename) :])
            for s in sources
            if host_codename and re.match(rf"{re.escape(host_codename)}(-|\Z)", s.suite)
        ]
    return under_settings(sources, listener, root, "this host's")


def under_settings(sources: list[Source], listener: Listener, root: Path, whose: str) -> list[Source]:
    """The sources of a root file system under its apt settings. Only this machine's own name a proxy that counts."""
    settings = apt_conf.read(root)
    valid, valid_origin = apt_conf.switch(settings, "Acquire::Check-Valid-Until", True)
    date, date_origin = apt_conf.switch(settings, "Acquire::Check-Date", True)
    for on, name, origin in ((valid, "Check-Valid-Until", valid_origin), (date, "Check-Date", date_origin)):
        if sources and not on:
            listener(Note(f"package indexes: {name} is off in {whose} apt settings ({origin})", "warning"))
    return [
        replace(
            s,
            check_valid_until=s.check_valid_until and valid,
            check_date=s.check_date and date,
            proxy=apt_conf.proxy(settings, s.url) if whose == "this host's" else None,
            keys=_below(s.keys, root),
        )
        for s in sources
    ]


def base_sources(root: Path, listener: Listener = nobody) -> list[Source]:
    """What `apt-get` in a base image would use: the sources, keys and settings of its unpacked tree at `root`."""
    from stackbuild.packages.signature import default_keyrings

    sources = under_settings(host_files(root), listener, root, "the base image's")
    sources = [_listed_in(root, s) if s.url.startswith("mirror+file:") else s for s in sources]
    for source in sources:
        if not source.url.startswith(("http://", "https://", "mirror://", "mirror+http")):
            raise UsageError(f"the base image's source {source} is not reachable from here", where=source.origin)
    keyrings = default_keyrings(root)
    return [s if s.keys.files or s.keys.inline else replace(s, keys=replace(s.keys, files=keyrings)) for s in sources]


def _listed_in(root: Path, source: Source) -> Source:
    """The source at the mirrors that a list in an image's tree names. Raises NetworkError."""
    path = source.url.partition(":")[2].lstrip("/")
    return mirrors.parse(foreign.text(root, path) or "", source, local=False)


def _below(keys: Keys, root: Path) -> Keys:
    if root == Path("/"):
        return keys
    return replace(keys, files=tuple(root / str(file).lstrip("/") for file in keys.files))


def table_sources(tables: Iterable[Any], origin: Callable[[int], Origin], folder: Path) -> list[Source]:
    """Sources of `[[packages.source]]` or `[[sources."debian/bookworm"]]`.

    tables: values with the attributes url, suites, components, architectures, signed_by, trusted, snapshot,
    check_valid_until, priority. folder: what a relative signed-by is relative to; in a project's own file it
    may not leave it.
    Raises UsageError.
    """
    sources = []
    for number, table in enumerate(tables):
        where = origin(number)
        keys = Keys()
        if table.signed_by:
            path = Path(table.signed_by).expanduser()
            full = path if path.is_absolute() else folder / path
            if where.level in ("project", "recipe") and not full.resolve().is_relative_to(folder.resolve()):
                raise UsageError(f"signed-by = {table.signed_by!r} leaves the project", where=where,
                                 hints=(Hint("a user's or site's config may name any file"),))  # fmt: skip
            keys = Keys(files=(full,))
        for suite in table.suites:
            sources.append(
                Source(
                    url=str(table.url).rstrip("/"),
                    suite=suite,
                    components=tuple(table.components),
                    architectures=tuple(table.architectures),
                    keys=keys,
                    trusted=table.trusted,
                    check_valid_until=table.check_valid_until,
                    snapshot=table.snapshot or "",
                    priority=table.priority,
                    origin=where,
                )
            )
    return sources


def no_sources(distro: str) -> UsageError:
    """Nobody named an archive: the error that shows the lines to add."""
    vendor, _, release = distro.partition("/")
    lines = (
        f'[[sources."{distro}"]]\nurl = "https://packages.example.com/{vendor}"\nsuites = ["{release}"]\n'
        f'components = ["main"]\nsigned-by = "/path/to/{vendor}-archive-keyring.gpg"'
    )
    return UsageError(
        f"no package sources for {distro} are known",
        why="the stack names none, this machine does not run that distribution, and no config file has a table for it",
        hints=(
            Hint("add lines such as these, with your mirror, to ~/.config/stackbuild/config.toml "
                 f"or /etc/stackbuild/config.toml:\n{lines}"),
            Hint("or the same as [[packages.source]] to stack.toml"),
        ),
    )  # fmt: skip
