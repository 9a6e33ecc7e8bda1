"""The accounts of an image whose scripts are skipped: base-passwd's own list, else the few that any image needs."""

from __future__ import annotations

from stackbuild.oci.tree_view import TreeView

MASTERS = b"usr/share/base-passwd/"
_LIMIT = 1 << 20
_DAY = 86400
_PASSWD = b"""root:x:0:0:root:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = b"""root:x:0:
tty:x:5:
staff:x:50:
nogroup:x:65534:
"""


def account_files(tree: TreeView, epoch: int) -> dict[bytes, tuple[bytes, int]]:
    """Name in /etc -> content and mode, for each of passwd, group, shadow that the packages do not ship.

    Nobody has a password. epoch: seconds since 1970; its day is that of the last password change.
    """
    passwd = tree.read(b"etc/passwd", _LIMIT) or _master(tree, b"passwd.master") or _PASSWD
    group = tree.read(b"etc/group", _LIMIT) or _master(tree, b"group.master") or _GROUP
    names = [line.partition(b":")[0] for line in passwd.splitlines() if b":" in line]
    shadow = b"".join(b"%s:*:%d:0:99999:7:::\n" % (name, epoch // _DAY) for name in names)
    made = {b"passwd": (passwd, 0o644), b"group": (group, 0o644), b"shadow": (shadow, 0o640)}
    return {name: file for name, file in made.items() if tree.find(b"etc/" + name) is None}


def _master(tree: TreeView, name: bytes) -> bytes:
    """A list of base-passwd, as update-passwd(8) takes it over, with the passwords in shadow."""
    lines = []
    for line in tree.read(MASTERS + name, _LIMIT).splitlines():
        fields = line.split(b":")
        if len(fields) > 3:
            fields[1] = b"x"
            lines.append(b":".join(fields) + b"\n")
    return b"".join(lines)
