"""Finds what maintainer scripts make anew each time: private keys, key stores, databases. Removes nothing itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stackbuild.packages.deb.tree import Tree

_BIGGEST_KEY = 64 << 10
_MARK = b"PRIVATE KEY-----"
_NAMED_KEYS = frozenset(
    {
        b"etc/bind/rndc.key", b"etc/munge/munge.key", b"etc/unbound/unbound_server.key",
        b"etc/unbound/unbound_control.key", b"etc/dovecot/private/dovecot.key", b"var/lib/dbus/machine-id",
        b"etc/knot/confdb.key", b"etc/nsd/nsd_server.key", b"etc/nsd/nsd_control.key",
    }
)  # fmt: skip
_STORES = {
    b"etc/ssl/certs/java/cacerts": "a key store with times in it",
    b"etc/ssl/certs/adoptium/cacerts": "a key store with times in it",
    b"var/lib/mysql/": "a database",
    b"var/lib/postgresql/": "a database",
    b"var/lib/ldap/": "a database",
    b"etc/ldap/slapd.d/": "a database",
    b"var/lib/postfix/": "a database",
    b"etc/aliases.db": "a database",
    b"var/cache/man/": "an index with times in it",
    b"var/lib/mlocate/": "an index",
}


@dataclass(frozen=True, slots=True)
class Generated:
    """keys: private keys and what belongs to them. stores: path or folder -> what it is; these stay."""

    keys: tuple[bytes, ...]
    stores: dict[bytes, str]


def find_generated(tree: Tree, present: Iterable[bytes], packaged: Sequence[bytes] = ()) -> Generated:
    """Look through the changed paths of a tree. packaged: paths that come from packages and so are no secret."""
    shipped = set(packaged)
    keys: set[bytes] = set()
    stores: dict[bytes, str] = {}
    changed = list(present)
    for path in changed:
        if path in shipped:
            continue
        for start, kind in _STORES.items():
            if path == start or (start.endswith(b"/") and path.startswith(start)):
                stores[start.rstrip(b"/")] = kind
        if (path in _NAMED_KEYS and tree.lstat(path) is not None) or (
            path.startswith((b"etc/", b"var/lib/", b"root/")) and _is_private_key(tree, path)
        ):
            keys.add(path)
    for path in list(keys):
        keys.update(_companions(tree, path, changed))
    return Generated(tuple(sorted(keys)), dict(sorted(stores.items())))


def _is_private_key(tree: Tree, path: bytes) -> bool:
    found = tree.lstat(path)
    if found is None or not 0 < found.st_size <= _BIGGEST_KEY or found.st_mode & 0o170000 != 0o100000:
        return False
    if found.st_mode & 0o004 and not path.endswith((b".key", b".pem", b"_key")):
        return False  # what everybody may read is no secret
    content = tree.read(path) or b""
    return (
        content.startswith(b"-----BEGIN ") and _MARK in content[:100]
    ) or b"\n-----BEGIN PRIVATE KEY-----" in content


def _companions(tree: Tree, key: bytes, changed: Iterable[bytes]) -> Iterable[bytes]:
    """The public half of a key: KEY.pub, or the certificate of the same stem with the links that hashes give it."""
    stem = os.path.basename(key).rpartition(b".")[0] or os.path.basename(key)
    for path in changed:
        name = os.path.basename(path)
        if path == key + b".pub" or (path.startswith(b"etc/ssl/certs/") and name in (stem + b".pem", stem + b".crt")):
            yield path
        elif path.startswith(b"etc/ssl/certs/"):
            target = tree.readlink(path)
            if target is not None and os.path.basename(target) in (stem + b".pem", stem + b".crt"):
                yield path
