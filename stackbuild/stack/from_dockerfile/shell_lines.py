"""What a RUN line of a Dockerfile does, as far as it is plain: packages that it installs, and the lines that are left.

Only a plain list of commands (`a && b && c`, or `set -e; a; b`) is taken apart; anything else stays whole.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from stackbuild.core.errors import StackError
from stackbuild.stack.request import parse_request

_STRUCTURE = frozenset(
    str.split("if then else elif fi for while until do done case esac function { } ! [[ time select")
)
_NO_VALUE = frozenset(
    str.split(
        "-y --yes --assume-yes -q -qq -qqy -yq -yqq -qy --quiet --no-install-recommends --no-install-suggests "
        "--allow-downgrades --allow-change-held-packages --fix-missing -f --fix-broken -V -u --reinstall "
        "--install-recommends --allow-unauthenticated --force-yes --show-progress --install-suggests -yy -m"
    )
)
_CLEANING = re.compile(
    r"(?:apt-get|apt)(?:\s+-\S+)*\s+(?:update|clean|autoclean|dist-clean|distclean)(?:\s+-\S+)*"
    r"|rm\s+-[rf]+(?:\s+(?:/var/lib/apt/lists/?\*?|/var/cache/apt(?:/\S*)?|/var/lib/apt/lists/\S*))+"
)
"""Commands that only fill or empty apt's lists and caches, which stackbuild's images do not hold."""
THIRD_PARTY = re.compile(r"sources\.list|add-apt-repository|apt-key|\bsetup_[\w.]+|\.sources\b|\bdeb \[|dpkg -i")
"""A script that brings packages of another archive."""
OFFLINE = frozenset(
    str.split(
        "mkdir chmod chown chgrp ln useradd groupadd adduser addgroup usermod rm mv cp echo printf sed touch cat "
        "install test [ true : cd set export find update-ca-certificates locale-gen update-locale ldconfig dpkg- "
        "reconfigure update-alternatives setcap tee ls env grep awk tar unzip gunzip id getent passwd chpasswd "
        "ldd umask rmdir dpkg sort head tail xargs localedef groupmod userdel a2enmod a2dismod a2ensite phpenmod "
        "pwd"
    )
)
"""Programs that need no network."""


@dataclass(frozen=True, slots=True)
class Script:
    """lines: of one `sh -eu` script; () if nothing is left. requests: packages that it installs, in stackbuild's words.

    recommends: whether recommended packages come too. dropped: commands that have no counterpart because
    stackbuild does it by itself.
    """

    lines: tuple[str, ...]
    requests: tuple[str, ...] = ()
    recommends: bool = False
    dropped: tuple[str, ...] = ()
    network: bool = False


def take_apart(text: str, *, packages: bool) -> Script:
    """text: a shell script, Docker's variables replaced. packages: installs become requests, where that is possible."""
    commands = None if THIRD_PARTY.search(text) else _plain(text)
    if commands is None:
        return Script((text,), network=wants_network(text))
    lines: list[str] = []
    requests: list[str] = []
    dropped: list[str] = []
    recommends = False
    for command in commands:
        if _CLEANING.fullmatch(command):
            dropped.append(command)
            continue
        found = _installed(command) if packages else None
        if found is None:
            lines.append(command)
            continue
        names, with_recommends = found
        requests += names
        recommends = recommends or with_recommends
    if any(re.match(r"(apt-get|apt)\b", line) for line in lines):  # then it needs its lists
        return Script((text,), network=True)
    if all(line.split()[0] in ("set", "export") for line in lines):
        dropped, lines = [*dropped, *lines], []
    return Script(tuple(lines), tuple(requests), recommends, tuple(dropped), any(map(wants_network, lines)))


def _plain(text: str) -> list[str] | None:
    """The commands of `a && b && c` or `set -e…; a; b`; None: it is something else."""
    if any(sign in text for sign in ("`", "$(", "<<", "\n")):
        return None
    reader = shlex.shlex(text, posix=False, punctuation_chars=True)
    reader.whitespace_split, reader.commenters = True, ""
    try:
        tokens = list(reader)
    except ValueError:
        return None
    commands: list[list[str]] = [[]]
    signs = set()
    for token in tokens:
        if token in ("&&", ";"):
            signs.add(token)
            commands.append([])
        elif token in ("||", "&", ";;", "|&") or "(" in token or ")" in token or _begins(token, commands[-1]):
            return None
        else:
            commands[-1].append(token)
    if not commands[-1]:
        commands.pop()
    if any(not command for command in commands) or not commands:
        return None
    stops = commands[0][0] == "set" and len(commands[0]) > 1 and "e" in commands[0][1]
    if ";" in signs and not stops:
        return None
    return [_slice(text, command) for command in commands]


def _begins(token: str, command: list[str]) -> bool:
    """Whether it begins an `if`, a loop, a function: no plain command."""
    return not command and token in _STRUCTURE


def _slice(text: str, tokens: list[str]) -> str:
    """The command as it was written, its blanks made single: quotes hold theirs."""
    pattern = r"\s*".join(map(re.escape, tokens))
    match = re.search(pattern, text)
    if match is None:
        return " ".join(tokens)
    parts = re.split(r"""("(?:[^"\\]|\\.)*"|'[^']*')""", match[0])
    return "".join(part if part[:1] in ("'", '"') and part else re.sub(r"\s+", " ", part) for part in parts).strip()


def _installed(command: str) -> tuple[list[str], bool] | None:
    """(requests, whether with recommends) of `apt-get install …`; None: another command, or not a plain one."""
    words = command.split()
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words[:1] == ["sudo"]:
        words.pop(0)
    if not words or words[0] not in ("apt-get", "apt") or "install" not in words:
        return None
    recommends, suite, names = True, "", []
    rest = iter(words[1:])
    for word in rest:
        if word == "install":
            continue
        if word in ("-t", "--target-release"):
            suite = next(rest, "")
        elif word.startswith("--target-release="):
            suite = word.partition("=")[2]
        elif word in ("-o", "-c"):
            next(rest, "")
        elif word.startswith("-o"):
            continue
        elif word == "--no-install-recommends":
            recommends = False
        elif word.startswith("-"):
            if word not in _NO_VALUE:
                return None
        else:
            names.append(word.strip("'\""))
    requests = [f"{name}/{suite}" if suite and "=" not in name and "/" not in name else name for name in names]
    if any(re.search(r"[$*?]", name.partition("=")[0]) for name in names):
        return None
    if any(name.startswith((".", "/")) or name.endswith(".deb") for name in names):  # a file of the image
        return None
    try:
        for request in requests:
            parse_request(request)
    except (StackError, ValueError):
        return None
    return requests, recommends


def wants_network(script: str) -> bool:
    """Whether some command of a script may want the network: Docker gives it to all."""
    starts = re.split(r"&&|\|\||[;|\n(]|\bthen\b|\bdo\b|\belse\b", script)
    words = [one.split()[0] for one in starts if one.split()]
    words = [word for word in words if not re.fullmatch(r"[A-Za-z_]\w*=\S*|[){}]+|fi|done|esac|if|for|case|#.*", word)]
    return any(word.rpartition("/")[2] not in OFFLINE for word in words)
