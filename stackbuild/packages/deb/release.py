"""Release files: what they promise, how old they may be, and which index file to fetch; verifies no signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath

from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.packages.deb.compression import SUFFIXES
from stackbuild.packages.deb.control import decode, stanzas
from stackbuild.packages.package import Archive
from stackbuild.packages.signature import today
from stackbuild.packages.source import Source

SKEW = 86_400  # seconds that a Release may come from the future: clocks differ (apt's Max-FutureTime is smaller)
_SAFE = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))(?!/)[!-~]{1,512}\Z")


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One file that a Release promises. path: below the folder of the Release."""

    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """A verified Release. date, valid_until: seconds since 1970, or None. files: path -> what it must be."""

    archive: Archive
    label: str
    date: float | None
    valid_until: float | None
    components: tuple[str, ...]
    architectures: tuple[str, ...]
    by_hash: bool
    arch_all_apart: bool
    snapshots: str
    files: dict[str, IndexFile]

    @classmethod
    def parse(cls, data: bytes, name: str) -> Release:
        """Read verified bytes. Raises NetworkError if they are no Release."""
        fields = next(stanzas(decode(data)), {})
        get = fields.get
        files = _files(get("sha256", ""))
        if not files:
            raise NetworkError(f"{name} is no Release file", why="it has no SHA256 list of index files")
        origin, suite, codename = (_text(get(key, "")) for key in ("origin", "suite", "codename"))
        date = _time(get("date", ""))
        archive = Archive(
            id="/".join(part for part in (origin or _text(get("label", "")), codename or suite) if part) or "unnamed",
            origin=origin,
            suite=suite,
            codename=codename,
            date="" if date is None else datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            release=digest_of(data),
            priority=_priority(get("notautomatic", ""), get("butautomaticupgrades", "")),
            label=_text(get("label", "")),
            version=_text(get("version", "")),
        )
        architectures = tuple(get("architectures", "").split())
        return cls(
            archive=archive,
            label=_text(get("label", "")),
            date=date,
            valid_until=_time(get("valid-until", "")),
            components=tuple(get("components", "").split()),
            architectures=architectures,
            by_hash=get("acquire-by-hash", "").strip().lower() == "yes",
            arch_all_apart="all" in architectures
            and "packages" not in get("no-support-for-architecture-all", "").lower(),
            snapshots=get("snapshots", "").strip(),
            files=files,
        )

    def has(self, architecture: str) -> bool:
        """Whether the archive says that it has packages of an architecture."""
        return architecture in self.architectures

    def indexes(self, source: Source, architecture: str, name: str) -> list[IndexFile]:
        """The Packages files of the source's components, in order. Raises NetworkError if a component is missing."""
        if source.flat:
            return [self._best("Packages", name)]
        wanted = []
        for component in source.components:
            found = self._find(f"{component}/binary-{architecture}/Packages")
            if found is None and "/" in source.suite:  # "main" may stand for "updates/main" of "X/updates"
                found = self._find(f"{source.suite.partition('/')[2]}/{component}/binary-{architecture}/Packages")
            if found is None:
                raise self._missing(source, component, architecture, name)
            wanted.append(found)
            if self.arch_all_apart:
                apart = self._find(f"{component}/binary-all/Packages")
                wanted += [apart] if apart is not None else []
        return wanted

    def _best(self, path: str, name: str) -> IndexFile:
        found = self._find(path)
        if found is None:
            raise NetworkError(f"{name} lists no {path}")
        return found

    def _find(self, path: str) -> IndexFile | None:
        return next((self.files[path + suffix] for suffix in SUFFIXES if path + suffix in self.files), None)

    def _missing(self, source: Source, component: str, architecture: str, name: str) -> NetworkError:
        if self.architectures and architecture not in self.architectures:
            why = f"it has the architectures {', '.join(self.architectures)}"
        elif self.components:
            why = f"it has the components {', '.join(self.components)}"
        else:
            why = "its list of files names none"
        hints = (Hint("leave the platform out of image.platforms, or name a source that has it (its `architectures`)"),)
        return NetworkError(
            f"{name} has no packages of {component} for {architecture}",
            where=source.origin,
            why=why,
            hints=hints if self.architectures and architecture not in self.architectures else (),
        )

    def check_dates(self, source: Source, name: str, now: float) -> None:
        """Refuse what is too old or comes from the future, as far as the source asks for it. Raises NetworkError."""
        if source.check_valid_until and self.valid_until is not None and self.valid_until < now:
            raise NetworkError(
                f"{name} has expired: it may be an old copy that somebody replays",
                where=source.origin,
                why=f"valid until {today(self.valid_until)}, now is {today(now)}",
                hints=(
                    Hint("check this machine's clock, or use a mirror that is up to date"),
                    Hint("for an archive that is meant to be old: check-valid-until = false on the source"),
                ),
            )
        if source.check_date and self.date is not None and self.date > now + SKEW:
            raise NetworkError(
                f"{name} comes from the future",
                where=source.origin,
                why=f"dated {today(self.date)}, now is {today(now)}",
                hints=(Hint("check this machine's clock"),),
            )


def by_hash(file: IndexFile) -> str:
    """The path of an index file by its digest (Acquire-By-Hash)."""
    return str(PurePosixPath(file.path).parent / "by-hash" / "SHA256" / file.digest[7:])


def uncompressed(file: IndexFile, files: dict[str, IndexFile]) -> IndexFile | None:
    """What the Release says of the same index without compression."""
    path = next((file.path.removesuffix(s) for s in SUFFIXES if s and file.path.endswith(s)), file.path)
    return files.get(path)


def _files(text: str) -> dict[str, IndexFile]:
    files: dict[str, IndexFile] = {}
    for line in text.splitlines():
        words: Sequence[str] = line.split()
        if len(words) != 3 or not re.fullmatch(r"[0-9a-f]{64}", words[0]) or not re.fullmatch(r"[0-9]{1,12}", words[1]):
            continue
        path = words[2].removeprefix("./")
        if _SAFE.match(path):
            files.setdefault(path, IndexFile(path, Digest("sha256:" + words[0]), int(words[1])))
    return files


def _text(value: str) -> str:
    """One line, nothing but printable characters, of bounded length."""
    return "".join(c for c in value.split("\n", 1)[0].strip() if c.isprintable())[:100]


def _time(value: str) -> float | None:
    try:
        found = parsedate_to_datetime(value.strip().replace(" UTC", " +0000"))
    except (ValueError, TypeError, IndexError):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()


def _priority(not_automatic: str, but_upgrades: str) -> int:
    if not_automatic.strip().lower() != "yes":
        return 500
    return 100 if but_upgrades.strip().lower() == "yes" else 1
