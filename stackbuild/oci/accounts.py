"""Users and groups of a root file system: names to ids. Reads passwd(5) and group(5) texts, writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin

UserIds = Callable[[str], tuple[int, int] | None]
GroupId = Callable[[str], int | None]

MAX_ID = 0xFFFFFFFE  # -1 means "leave it" to chown(2)
MAX_TEXT = 16 << 20  # bytes of one file; a bigger one is no accounts file


class User(NamedTuple):
    """One line of passwd(5), its password field left out."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str


class Group(NamedTuple):
    """One line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


def _lines(text: bytes, fields: int) -> Iterable[list[str]]:
    """The well-formed lines; others are passed over, as the C library does."""
    for line in text[:MAX_TEXT].split(b"\n"):
        parts = line.decode("utf-8", "surrogateescape").split(":")
        if len(parts) == fields and parts[0] and not parts[0].startswith(("#", "+", "-")):
            yield parts


def _id(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID:
        return int(text)
    return None


class Accounts(NamedTuple):
    """The users and groups of one tree, by name. The first line of a name counts, as for getpwnam(3)."""

    users: Mapping[str, User]
    groups: Mapping[str, Group]

    @classmethod
    def of_texts(cls, passwd: bytes, group: bytes) -> Accounts:
        """From the contents of /etc/passwd and /etc/group; b"" for one that is not there. Never raises."""
        users: dict[str, User] = {}
        for name, _, uid, gid, gecos, home, shell in _lines(passwd, 7):
            ids = _id(uid), _id(gid)
            if ids[0] is not None and ids[1] is not None:
                users.setdefault(name, User(name, ids[0], ids[1], gecos, home, shell))
        groups: dict[str, Group] = {}
        for name, _, gid, members in _lines(group, 4):
            number = _id(gid)
            if number is not None:
                groups.setdefault(name, Group(name, number, tuple(m for m in members.split(",") if m)))
        return cls(users, groups)

    @classmethod
    def of_tree(cls, folders: Sequence[Path]) -> Accounts:
        """From the tree that these unpacked layers (lowest first) make; links are followed inside it only."""
        from stackbuild.oci.tree_view import TreeView  # a container is started without it

        tree = TreeView(folders)
        return cls.of_texts(tree.read(b"etc/passwd", MAX_TEXT), tree.read(b"etc/group", MAX_TEXT))

    def user(self, name: str) -> tuple[int, int] | None:
        """(uid, primary gid) of a user, or None."""
        found = self.users.get(name)
        return (found.uid, found.gid) if found else None

    def group(self, name: str) -> int | None:
        """gid of a group, or None."""
        found = self.groups.get(name)
        return found.gid if found else None

    def resolve_owner(self, owner: str | int | None, where: Origin | None = None) -> tuple[int, int]:
        """(uid, gid) of "USER", "USER:GROUP", "UID", "UID:GID" or a number.

        A user's name alone brings its primary group; a number alone is both ids (as Docker's --chown).
        None is root. Raises UsageError that names near users or groups.
        """
        return resolve_owner(owner, self.user, self.group, tuple(self.users), tuple(self.groups), where)

    def groups_of(self, name: str) -> tuple[int, ...]:
        """The gids of the groups that name this user as a member, in the order of the file."""
        return tuple(group.gid for group in self.groups.values() if name in group.members)


_OWNER = re.compile(r"([^:]*)(?::([^:]*))?\Z")


def split_owner(owner: str | int | None) -> tuple[str, str]:
    """User and group parts of an owner as written; "" where there is none. Raises UsageError."""
    if owner is None:
        return "0", "0"
    match = _OWNER.match(str(owner))
    if match is None or not (match[1] or match[2]) or (match[2] == "" and str(owner).endswith(":")):
        raise UsageError(f"`{owner}` is not an owner", hints=[Hint("write USER, USER:GROUP or UID:GID")])
    return match[1], match[2] or ""


def resolve_owner(
    owner: str | int | None,
    user: UserIds,
    group: GroupId,
    users: Iterable[str] = (),
    groups: Iterable[str] = (),
    where: Origin | None = None,
) -> tuple[int, int]:
    """As Accounts.resolve_owner, over any two functions name -> ids; users, groups: names for hints."""
    first, second = split_owner(owner)
    number = _id(first)
    if first == "":
        uid, gid = 0, 0
    elif number is not None:
        uid, gid = number, number
    elif (ids := user(first)) is not None:
        uid, gid = ids
    else:
        raise _unknown("user", first, users, where)
    if second:
        number = _id(second)
        found = number if number is not None else group(second)
        if found is None:
            raise _unknown("group", second, groups, where)
        gid = found
    return uid, gid


def _unknown(kind: str, name: str, known: Iterable[str], where: Origin | None) -> UsageError:
    import difflib

    near = difflib.get_close_matches(name, list(known), 3)
    hints = [Hint(f"did you mean `{other}`?") for other in near]
    hints = hints or [Hint(f"create it in [users.{name}]" if kind == "user" else "install the package that creates it")]
    return UsageError(f"the image has no {kind} `{name}`", where=where, why=f"/etc/{_FILES[kind]} has no such line",
                      hints=hints)  # fmt: skip


_FILES = {"user": "passwd", "group": "group"}
