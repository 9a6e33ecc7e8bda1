"""A lock per object, held by an open file: it goes away with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackbuild.core.files import host_error
from stackbuild.core.paths import ensure


@contextmanager
def lock(folder: Path, name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock `name` of this folder; wait for it if another has it.

    The file stays: deleting it would let two processes hold "the" lock.
    """
    path = os.path.join(folder, name.replace("/", "_"))
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            fd = os.open(path, flags, 0o644)
        except FileNotFoundError:
            ensure(folder)
            fd = os.open(path, flags, 0o644)
    except OSError as error:
        raise host_error(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
