"""What a lock answers, as one digest: base, requests, sources and platforms of a stack; no URL, layer or container."""

from __future__ import annotations

from typing import Any

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.lock.local import local_files
from stackbuild.lock.lock import Lock
from stackbuild.stack.stack import Stack


def questions(stack: Stack) -> dict[str, Any]:
    """All of a stack that a lock depends on, as JSON values (DESIGN, section 6). Raises UsageError."""
    base, packages = stack.base, stack.packages
    said: dict[str, Any] = {
        "base": {key: value for key in ("distro", "image", "scratch") if (value := getattr(base, key, None))},
        "install": [request.text for request in packages.install],  # the order counts: it is the order of waves
        "recommends": packages.recommends,
        "platforms": list(stack.image.platforms),
        "sources": [
            {
                "suites": list(source.suites),
                "components": list(source.components),
                "architectures": list(source.architectures),
                "snapshot": source.snapshot or "",
            }
            for source in packages.source
        ],
    }
    for number, source in enumerate(packages.source):
        if source.priority is not None:
            said["sources"][number]["priority"] = source.priority
    if packages.pin:  # the order counts: the first that fits decides
        said["pins"] = [
            [name, pin.release or "", pin.version or "", pin.origin or "", pin.priority]
            for name, pin in packages.pin.items()
        ]
    if files := local_files(stack):  # what is in them, not where they are or how old
        said["files"] = {name: {file.path: file.sha256 for file in found} for name, found in files.items()}
    if packages.upgrade:
        said["upgrade"] = True
    if packages.allow_remove:
        said["allow-remove"] = sorted(packages.allow_remove)
    if base.distro:
        said["variant"] = base.variant
    if stack.stages:
        said["stages"] = {name: questions(stage) for name, stage in stack.stages.items()}
    if stack.recipes:
        said["recipes"] = sorted(stack.recipes)
    return said


def digest(stack: Stack) -> Digest:
    """The digest of the requests, as the lock holds it."""
    return digest_of(canonical(questions(stack)))


def answers(lock: Lock | None, stack: Stack) -> bool:
    """Whether the lock is there and answers what the stack asks now."""
    if lock is None or dict(lock.recipes) != dict(stack.recipes):
        return False
    return lock.requests == digest(stack) and set(lock.platforms) >= set(stack.image.platforms)
