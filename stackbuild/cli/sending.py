"""What sending an image needs of the settings: plain values that a stamp can keep. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.values import plain

if TYPE_CHECKING:
    from stackbuild.core.origin import Origin
    from stackbuild.stack.stack import Stack


class Host(NamedTuple):
    """A table of `[registries]`, as stack/image_tables.py has it."""

    mirror: str | None
    insecure: bool
    ca: str | None
    credential_helper: str | None


class Sending(NamedTuple):
    """name: of the stack. to: `push.to`. caches: the remote caches that are written to and read from."""

    name: str
    to: tuple[str, ...]
    caches: tuple[str, ...]
    registries: Mapping[str, Host]

    @classmethod
    def of(cls, stack: Stack) -> Sending:
        """From settled settings."""
        cache = stack.build.cache
        hosts = {
            host: Host(table.mirror, table.insecure, table.ca, table.credential_helper)
            for host, table in stack.registries.items()
        }
        return cls(
            stack.name, tuple(stack.push.to), tuple(c for c in (cache.to, cache.from_) if c) if cache else (), hosts
        )

    def to_json(self) -> dict[str, Any]:
        tree: dict[str, Any] = plain(self)
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Sending:
        """What `to_json` gave. Raises TypeError, KeyError."""
        hosts = {host: Host(**table) for host, table in tree["registries"].items()}
        return cls(tree["name"], tuple(tree["to"]), tuple(tree["caches"]), hosts)


def destinations(asked: Sequence[str], to: Sequence[str], where: Origin | None, *, push: bool) -> tuple[str, ...]:
    """Each place of --to (asked) and, with `push`, of push.to, which `where` says.

    Raises UsageError if nothing says where to push.
    """
    if push and not to:
        raise UsageError(
            "there is nowhere to push to",
            where=where,
            why="push.to is empty",
            hints=[Hint('set it: [push] to = ["registry.example.com/team/name:tag"]'), Hint("or use --to REF")],
        )
    return tuple(dict.fromkeys([*asked, *(to if push else ())]))
