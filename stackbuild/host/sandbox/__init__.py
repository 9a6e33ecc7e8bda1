"""Sandboxes by name, and which one this machine can give."""

from __future__ import annotations

from pathlib import Path

from stackbuild.core.errors import UsageError
from stackbuild.host.sandbox.protocol import Sandbox


def open_sandbox(name: str) -> Sandbox:
    """The sandbox of this name: "overlay" or "chroot"."""
    if name == "overlay":
        from stackbuild.host.sandbox.overlay import OverlaySandbox

        return OverlaySandbox()
    if name == "chroot":
        from stackbuild.host.sandbox.chroot import ChrootSandbox

        return ChrootSandbox()
    raise UsageError(f"no sandbox is called `{name}`", why="there are: overlay, chroot")


def gaps_of(name: str) -> tuple[str, ...]:
    """What the sandbox of this name does not give; that nothing is missing is known without importing it."""
    return () if name == "overlay" else open_sandbox(name).gaps


def choose(folder: Path | None = None) -> str:
    """The name of the best sandbox that works here, with its files in `folder`. Costs some tens of milliseconds.

    Raises HostError that names the missing piece and what adds it.
    """
    from stackbuild.host.probe import choose_sandbox

    return choose_sandbox(folder)
