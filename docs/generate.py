"""Writes the pages of docs/reference/ that are made from the program: cli.md, json.md, errors.md, stack-toml.md.

usage: scripts/docs [--check]     (--check: write nothing, fail if a page would change)
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

from stackbuild.cli.options import COMMANDS
from stackbuild.cli.progress import kind
from stackbuild.core import errors, events
from stackbuild.report.reference import reference

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by scripts/docs from the program; change it there. -->\n"


EVENTS = """\
`--progress json` writes one object per line on stderr. Every object has `"v": {version}` and
`"type"`. A field may be added within a version; a changed meaning is a new version. If the command
fails, the last line has the type "error": what, where (level, file, line, key), why, hints (text,
command), output, errors (likewise, one per mistake), exit_code.
"""
ERRORS = """\
An error says what failed, where (file:line: key), why, the last output of what failed, and hints
with commands that can be pasted. Several mistakes of one file are told at once. There is no
traceback for bad input.
"""


def help_of(*words: str) -> str:
    """What `--help` prints, at a width of its own."""
    environ = {"COLUMNS": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    argv = [sys.executable, "-m", "stackbuild", *words, "--help"]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def cli() -> str:
    """Every command with its options."""
    parts = [f"# The command line\n\n{NOTE}\n```text\n{help_of()}\n```\n"]
    for name, what in COMMANDS.items():
        text = help_of(name)
        own = re.split(r"\n+options of every command:", text)[0]
        parts.append(f"## {name}\n\n{what[0].upper()}{what[1:]}.\n\n```text\n{own}\n```\n")
    return "\n".join(parts)


def json_page() -> str:
    """The events of `--progress json`."""
    lines = [
        "# Progress as JSON",
        "",
        NOTE,
        EVENTS.format(version=events.VERSION),
        "| type | fields | |",
        "|---|---|---|",
    ]
    for event in typing.get_args(events.Event):
        names = ", ".join(f"`{name}`" for name in event._fields)
        doc = inspect.getdoc(event) or ""
        doc = "" if doc.startswith(f"{event.__name__}(") else doc.replace("\n", " ")
        lines.append(f"| {kind(event(*event._fields))} | {names} | {doc.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """The exit codes."""
    lines = ["# Exit codes", "", NOTE, "| code | when |", "|---|---|", "| 0 | done |"]
    kinds = sorted(errors.StackError.__subclasses__(), key=lambda kind: kind.exit_code)
    lines += [f"| {kind.exit_code} | {(inspect.getdoc(kind) or '').splitlines()[0]} |" for kind in kinds]
    lines += [
        "",
        "`up` in the foreground, `run`, `exec` and `wait` exit with the container's or the command's own code.",
        "",
        ERRORS,
    ]
    return "\n".join(lines)


PAGES = {"cli.md": cli, "json.md": json_page, "errors.md": errors_page, "stack-toml.md": reference}


def main() -> int:
    check = "--check" in sys.argv[1:]
    REFERENCE.mkdir(exist_ok=True)
    stale = []
    for name, page in PAGES.items():
        text, file = page(), REFERENCE / name
        if not file.exists() or file.read_text() != text:
            stale.append(name)
            if not check:
                file.write_text(text)
    for name in stale:
        print(f"docs/reference/{name} {'is stale: run scripts/docs' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
