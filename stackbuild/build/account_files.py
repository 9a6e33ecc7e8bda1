"""The texts of passwd, group, shadow and gshadow with more users, as useradd(8) writes them. Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stackbuild.core.errors import Hint, StepError
from stackbuild.oci.accounts import Accounts, Group, User

SYSTEM, ORDINARY = range(100, 1000), range(1000, 60000)


@dataclass(slots=True)
class AccountFiles:
    """The four texts. shadow, gshadow: None if the tree has none; then none is made."""

    passwd: bytes
    group: bytes
    shadow: bytes | None
    gshadow: bytes | None
    day: int  # of the last password change: days since 1970
    added: dict[str, User] = field(default_factory=dict)
    """The users that were asked for, as they are now."""

    def add(self, users: Mapping[str, Mapping[str, Any]]) -> None:
        """Add users: {"uid", "gid", "groups", "home", "shell", "system"} each, all but the name optional.

        Those with an id of their own come first, then all by name, so that the order of a table plays no
        part. One that is there keeps its ids, home and shell, and gets the groups. Raises StepError.
        """
        for name in sorted(users, key=lambda name: (users[name].get("uid") is None, name)):
            wanted = users[name]
            existing = self._accounts().users.get(name)
            if existing is None:
                self.added[name] = self._new_user(name, wanted)
            else:
                _must_agree(name, "uid", wanted.get("uid"), existing.uid)
                _must_agree(name, "gid", wanted.get("gid"), existing.gid)
                self.added[name] = existing
            for group in wanted.get("groups") or ():
                self._join(name, group)

    def _accounts(self) -> Accounts:
        return Accounts.of_texts(self.passwd, self.group)

    def _new_user(self, name: str, wanted: Mapping[str, Any]) -> User:
        known = self._accounts()
        system = bool(wanted.get("system"))
        uids = {user.uid: user.name for user in known.users.values()}
        gids = {group.gid: group.name for group in known.groups.values()}
        uid = wanted.get("uid")
        if uid is None:
            uid = next((n for n in (SYSTEM if system else ORDINARY) if n not in uids and n not in gids), None)
            if uid is None:
                raise StepError(f"no id is free for the user `{name}`")
        elif uid in uids:
            raise StepError(
                f"the user `{name}` cannot have the id {uid}",
                why=f"it belongs to the user `{uids[uid]}` of the layers below",
                hints=[Hint("choose another uid, or leave it out")],
            )
        gid = self._own_group(name, wanted.get("gid"), int(uid), known.groups.get(name), gids)
        home, shell = wanted.get("home") or f"/home/{name}", wanted.get("shell") or "/bin/sh"
        user = User(name, int(uid), gid, "", home, shell)
        secret = "x" if self.shadow is not None else "!"
        self.passwd = _append(self.passwd, f"{name}:{secret}:{user.uid}:{gid}::{home}:{shell}")
        if self.shadow is not None:
            ages = "::::::" if system else ":0:99999:7:::"
            self.shadow = _append(_without(self.shadow, name), f"{name}:!:{self.day}{ages}")
        return user

    def _own_group(self, name: str, gid: int | None, uid: int, existing: Group | None, gids: Mapping[int, str]) -> int:
        """The gid of the group that has the user's name; made if it is not there."""
        if existing is not None:
            _must_agree(name, "gid", gid, existing.gid)
            return existing.gid
        number = uid if gid is None else gid
        if number in gids:
            raise StepError(
                f"the group `{name}` cannot have the id {number}",
                why=f"it belongs to the group `{gids[number]}` of the layers below",
                hints=[Hint(f'choose another gid; to be a member write groups = ["{gids[number]}"]')],
            )
        self._new_group(name, number)
        return number

    def _new_group(self, name: str, gid: int) -> None:
        self.group = _append(self.group, f"{name}:x:{gid}:")
        if self.gshadow is not None:
            self.gshadow = _append(_without(self.gshadow, name), f"{name}:!::")

    def _join(self, user: str, group: str) -> None:
        groups = self._accounts().groups
        if group not in groups:
            taken = {other.gid for other in groups.values()}
            free = next((number for number in SYSTEM if number not in taken), None)
            if free is None:
                raise StepError(f"no id is free for the group `{group}`")
            self._new_group(group, free)
        self.group = _add_member(self.group, group, user)
        if self.gshadow is not None:
            self.gshadow = _add_member(self.gshadow, group, user)


def _must_agree(name: str, what: str, wanted: int | None, found: int) -> None:
    if wanted is not None and wanted != found:
        raise StepError(
            f"`{name}` cannot have the {what} {wanted}",
            why=f"the layers below have it with the {what} {found}",
            hints=[Hint(f"leave {what} out to keep it, or choose another name")],
        )


def _append(text: bytes, line: str) -> bytes:
    if text and not text.endswith(b"\n"):
        text += b"\n"
    return text + line.encode("utf-8", "surrogateescape") + b"\n"


def _without(text: bytes, name: str) -> bytes:
    """Without the lines of a name: what is left of one that was deleted must not count."""
    start = name.encode() + b":"
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(start))


def _add_member(text: bytes, group: str, user: str) -> bytes:
    """group and gshadow both have the members in the fourth field."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        fields = line.split(b":")
        if fields[0] == group.encode() and len(fields) == 4:
            members = [member for member in fields[3].split(b",") if member]
            if user.encode() not in members:
                fields[3] = b",".join([*members, user.encode()])
                lines[number] = b":".join(fields)
            break
    return b"".join(line + b"\n" for line in lines)
