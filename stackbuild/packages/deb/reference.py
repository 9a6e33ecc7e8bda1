"""The reference way: the image's own dpkg unpacks and configures a wave. What it makes is right by definition."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stackbuild.host.sandbox.protocol import Bind, Box
from stackbuild.packages.deb import skeleton
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.database import AVAILABLE, STATUS, status_entries
from stackbuild.packages.deb.fragment import INFO, items
from stackbuild.packages.deb.order import Round, rounds
from stackbuild.packages.deb.scripts import FIRST, PACKAGES, Shell
from stackbuild.packages.deb.tree import Tree
from stackbuild.packages.deb.tree_write import put_all
from stackbuild.packages.deb.wave import Package, Wave, bootstrap_set


def configure_reference(wave: Wave, box: Box, shell: Shell, scratch: Path) -> None:
    """box: open over `wave.below` (an empty folder if that is nothing). Raises StepError when a script fails."""
    names = _bring_in(wave, shell, scratch)
    filters = [f"--path-exclude={p}" for p in wave.keep.exclude] + [f"--path-include={p}" for p in wave.keep.include]
    if wave.first:
        _bootstrap(wave, box)
        shell.preinsts(wave, [p for p in wave.packages if p.name == FIRST[0]])
        first = [p for p in wave.packages if p.name in FIRST]
        shell.dpkg("--force-depends", *filters, "--unpack", *(names[p.name, p.architecture] for p in first))
        shell.configure(first, "--force-depends")
    shell.answers(wave)
    if wave.remove:
        # what needs them is upgraded, replaced or removed as well, which dpkg cannot know yet
        shell.dpkg("--force-depends", "--remove", *wave.remove)
    force = ("--force-depends",) if wave.first else ("--auto-deconfigure",)
    for turn in turns(wave, box.root):
        todo = [names[p.name, p.architecture] for p in turn.unpack if not (wave.first and p.name in FIRST)]
        if todo:
            shell.dpkg(*force, *filters, "--unpack", *todo)
        shell.configure(turn.configure)
    shell.finish(wave)
    _restore_volatile(wave, box)


def turns(wave: Wave, root: Path) -> list[Round]:
    """The rounds of unpack and configure. A first wave has one: its Pre-Depends are a ring that force must cut."""
    if wave.first:
        return [Round(wave.packages, ())]
    with Tree(root) as tree:
        entries = status_entries(tree.read(STATUS) or b"")
    return rounds(wave.packages, {(entry.name, entry.architecture): entry for entry in entries})


def _bring_in(wave: Wave, shell: Shell, scratch: Path) -> dict[tuple[str, str], str]:
    """Make the .debs visible in the box, read-only. Returns where, by name and architecture."""
    folder = scratch / "packages"
    folder.mkdir(parents=True)
    names = {}
    for package in wave.packages:
        name = f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb"
        try:
            os.link(os.path.realpath(package.file), folder / name)
        except OSError:
            shutil.copyfile(package.file, folder / name)
        names[package.name, package.architecture] = f"{PACKAGES}/{name}"
    shell.binds.append(Bind(folder, PACKAGES))
    return names


def _bootstrap(wave: Wave, box: Box) -> None:
    """Extract what dpkg and the scripts need to run at all: files only, nothing configured, nothing in a database."""
    architecture = wave.architecture
    put_all(box.root, [(entry, None) for entry in skeleton.entries(architecture, wave.epoch)], keep_folders=True)
    for package in bootstrap_set(wave):
        extract(package, wave, box.root)
    with Tree(box.root) as tree:
        tree.write(STATUS, b"")
        tree.write(AVAILABLE, b"")


def extract(package: Package, wave: Wave, root: Path) -> None:
    """The files of a package into a folder; nothing of dpkg's database."""
    with open_deb(package.file) as deb:
        found = [item for item in items(deb, wave.keep, wave.renames) if not item[0].path.startswith(INFO + b"/")]
        put_all(root, found, keep_folders=True)


def _restore_volatile(wave: Wave, box: Box) -> None:
    """/run and /tmp are private while commands run, so dpkg could not leave there what packages ship."""
    for package in wave.packages:
        with Tree(box.root) as tree:
            listing = tree.read(INFO + b"/" + package.info.encode() + b".list") or b""
        if b"\n/run/" not in listing and b"\n/tmp/" not in listing:
            continue
        with open_deb(package.file) as deb:
            found = [
                item for item in items(deb, wave.keep, wave.renames) if item[0].path.startswith((b"run/", b"tmp/"))
            ]
        put_all(box.root, found, keep_folders=True)
