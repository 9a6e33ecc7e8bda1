"""Extended attributes that belong to an image, in the form that every host and user namespace sees. Writes none."""

from __future__ import annotations

import os

CAPABILITY = "security.capability"
_OTHERS = (CAPABILITY, "system.posix_acl_access", "system.posix_acl_default")


def belongs(name: str) -> bool:
    """Whether an extended attribute belongs to an image, not to the host that built it.

    File capabilities, POSIX ACLs and user attributes do. Overlay's own marks, labels of the host's security modules,
    and `trusted.*`, which only real root can see, do not.
    """
    return name in _OTHERS or (name.startswith("user.") and not name.startswith("user.overlay."))


def xattrs(place: int | bytes) -> dict[bytes, bytes]:
    """The attributes of an open file, or of a path whose last name is not followed, that belong to an image."""
    found = {}
    follow = isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follow)
    except OSError:  # a file system without attributes, or no /proc: there are none to keep
        return {}
    for name in names:
        if belongs(name):
            value = os.getxattr(place, name, follow_symlinks=follow)
            found[os.fsencode(name)] = plain_capability(value) if name == CAPABILITY else value
    return found


def plain_capability(value: bytes) -> bytes:
    """A `security.capability` in its form without a user namespace's id: 20 bytes, whoever reads it.

    The kernel shows 24 bytes (VFS_CAP_REVISION_3) outside of the namespace that set it, 20 inside.
    """
    if len(value) == 24 and value[3] == 3:
        return value[:3] + b"\x02" + value[4:20]
    return value
