"""A wave of packages to the layer that configuring it makes; which of the two ways is asked or decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from stackbuild.build.do.unpack import package_file
from stackbuild.build.tree_ahead import finish
from stackbuild.core.action import Action, Room
from stackbuild.core.changes import Changes
from stackbuild.core.errors import Hint, StepError
from stackbuild.host.processor import need_platform
from stackbuild.host.sandbox import open_sandbox
from stackbuild.host.sandbox.protocol import Box, NoRoom
from stackbuild.oci.tree_first import lay_out, pack
from stackbuild.packages.deb.cleanup import clean
from stackbuild.packages.deb.configure import NotThisWay, check_configured, configure_fast, reason_against
from stackbuild.packages.deb.database import EXTENDED, extended_states
from stackbuild.packages.deb.footprint import Shipped, footprints
from stackbuild.packages.deb.generated import Generated, find_generated
from stackbuild.packages.deb.reference import configure_reference
from stackbuild.packages.deb.scripts import Shell
from stackbuild.packages.deb.tree import Tree
from stackbuild.packages.deb.wave import Wave, read_wave


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """params: wave (its number), first (nothing is below: bootstrapped wave 0), packages [{name, version,
    architecture, file, manual, essential}] in install order, own [i, j) (which of room.lowers are this wave's
    fragments), way auto|reference|fast, debconf {question: answer}, generated remove|keep|fail, exclude,
    include, renames, remove [name], compression, epoch, arch. inputs: "packages/FILE" for each.

    Writes `tree/`, then `layer` of it. facts beside the contract's: way, reason, generated. Raises StepError when a
    script fails.
    """
    params = action.params
    wave = read_wave(params, [package_file(room, package) for package in params["packages"]], room.lowers)
    need_platform(action.platform, room.scratch)
    way, why, result = _run(wave, room)
    with result as (box, shipped):
        changes, generated = _finish(wave, box, shipped)
        form: Literal["device", "file"] = "device" if room.sandbox == "overlay" else "file"
        entries, diff_id = lay_out(changes, room.out / "tree", epoch=wave.epoch, whiteouts=form)
    compression = str(params.get("compression", "gzip"))
    facts = {
        "diff_id": diff_id,
        "compression": compression,
        "empty": not changes,
        "created_by": " ".join(["configure", *(p.name for p in wave.packages), *(f"{n}-" for n in wave.remove)]),
        "way": way,
        "reason": why,
        "generated": generated,
    }
    return finish(room, facts, lambda root: pack(entries, root, room.out / "layer", compression))


class _Work:
    """An open box whose wave is configured; as a context manager it closes the box."""

    def __init__(self, context: AbstractContextManager[Box], box: Box, shipped: Sequence[Shipped]) -> None:
        self._context, self._pair = context, (box, shipped)

    def __enter__(self) -> tuple[Box, Sequence[Shipped]]:
        return self._pair

    def __exit__(self, *exc: Any) -> None:
        self._context.__exit__(*exc)


def _run(wave: Wave, room: Room) -> tuple[str, str, _Work]:
    """Configure the wave, the fast way if it is open and not forbidden. Returns the way, why, and the open box."""
    shipped = footprints(wave)
    why = "asked for"
    if wave.way != "reference":
        try:
            try:
                return "fast", "", _fast(wave, room, shipped, "fast", small=True)
            except NoRoom:
                return "fast", "", _fast(wave, room, shipped, "fast-on-disk", small=False)
        except NotThisWay as reason:
            why = str(reason)
            if wave.way == "fast":
                raise StepError("the fast way is not open to this wave", why=why) from reason
    context = _open(room, wave.below or (_empty(room),), "reference")
    box = context.__enter__()
    try:
        scratch = room.scratch / "reference-files"
        shell = Shell(box, wave, scratch, room.output)
        configure_reference(wave, box, shell, scratch)
        return "reference", why, _Work(context, box, shipped)
    except BaseException as error:
        context.__exit__(type(error), error, error.__traceback__)
        raise


def _fast(wave: Wave, room: Room, shipped: Sequence[Shipped], name: str, *, small: bool) -> _Work:
    context = _open(room, wave.own if wave.first else wave.below, name, small=small)
    box = context.__enter__()
    try:
        if why := reason_against(wave, shipped, box.root):
            raise NotThisWay(why)
        shell = Shell(box, wave, room.scratch / f"{name}-files", room.output)
        configure_fast(wave, shipped, box, shell)
        return _Work(context, box, shipped)
    except BaseException as error:
        context.__exit__(type(error), error, error.__traceback__)
        raise


def _open(room: Room, lowers: Sequence[Path], name: str, *, small: bool = False) -> AbstractContextManager[Box]:
    scratch = room.scratch / name
    scratch.mkdir()
    return open_sandbox(room.sandbox).open(lowers, scratch, small=small)


def _empty(room: Room) -> Path:
    folder = room.scratch / "nothing"
    folder.mkdir(mode=0o755, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _finish(wave: Wave, box: Box, shipped: Sequence[Shipped]) -> tuple[Changes, dict[str, Any]]:
    """Marks for apt, what is not kept taken away, and the difference to the tree with the fragments."""
    check_configured(wave, box.root)
    with Tree(box.root) as tree:
        if tree.lstat(b"var/lib/apt") is not None:
            old = tree.read(EXTENDED) or b""
            native = wave.architecture
            marks = {
                (p.name, native if p.architecture == "all" else p.architecture): not p.manual
                for p in wave.packages
                if p.manual or not p.upgrades  # an upgrade leaves the base's mark as it is
            }
            gone = (name.partition(":") for name in wave.remove)
            marks.update({(name, architecture or native): False for name, _, architecture in gone})
            text = extended_states(old, marks)
            if text != old:
                tree.write(EXTENDED, text)
    clean(box.root, wave.lowers)
    changes = box.changes(wave.lowers)
    packaged = [path for one in shipped for path in one.files]
    with Tree(box.root) as tree:
        found = find_generated(tree, changes.present, packaged)
        if found.keys and wave.generated == "fail":
            raise _keys_made(found)
        if found.keys and wave.generated == "remove":
            for path in found.keys:
                tree.remove(path)
            changes = box.changes(wave.lowers)
    words = [path.decode("utf-8", "backslashreplace") for path in found.keys]
    return changes, {
        "removed": words if wave.generated == "remove" else [],
        "kept": words if wave.generated != "remove" else [],
        "stores": {path.decode("utf-8", "backslashreplace"): kind for path, kind in found.stores.items()},
    }


def _keys_made(found: Generated) -> StepError:
    shown = ", ".join("/" + path.decode("utf-8", "backslashreplace") for path in found.keys)
    return StepError(
        "maintainer scripts generated private keys",
        why=shown,
        hints=(Hint('set packages.generated to "remove", and make them when the container starts'),),
    )
