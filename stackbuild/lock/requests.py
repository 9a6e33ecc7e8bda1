"""What a lock answers, as one digest: base, requests, sources and platforms of a stack; no URL, layer or container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.lock.base_stack import packages_digest
from stackbuild.lock.local import local_files
from stackbuild.lock.lock import Lock, PlatformLock
from stackbuild.stack.stack import Stack


def questions(stack: Stack) -> dict[str, Any]:
    """All of a stack that a lock depends on, as JSON values (DESIGN, section 6). Raises UsageError."""
    base, packages = stack.base, stack.packages
    said: dict[str, Any] = {
        "base": {key: value for key in ("distro", "image", "stack", "scratch") if (value := getattr(base, key, None))},
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


def answers(lock: Lock | None, stack: Stack, below: Mapping[str, Lock] | None = None) -> bool:
    """Whether the lock is there and answers what the stack asks now.

    below: the locks of base stacks, by what `base.stack` says.
    """
    if lock is None or dict(lock.recipes) != dict(stack.recipes):
        return False
    if lock.requests != digest(stack) or not set(lock.platforms) >= set(stack.image.platforms):
        return False
    return not moved_below(lock, stack, below or {})


def moved_below(lock: Lock, stack: Stack, below: Mapping[str, Lock]) -> tuple[str, ...]:
    """The base stacks (what `base.stack` says) whose packages are not those that the lock's were put on."""
    found = []
    for platform in set(stack.image.platforms) & set(lock.platforms):
        locked = lock.platforms[platform]
        for one in (stack, *stack.stages.values()):
            base = one.base.stack
            if not base or not puts_on_base(one):
                continue
            own = locked.stages.get(one.stage, PlatformLock()) if one.stage else locked
            there = below[base].platforms.get(platform) if base in below else None
            if there is None or own.base_digest != packages_digest(there):
                found.append(base)
    return tuple(dict.fromkeys(found))


def puts_on_base(stack: Stack) -> bool:
    """Whether what is locked for a stack on a base depends on what this base has."""
    return bool(stack.packages.install or stack.packages.upgrade)
