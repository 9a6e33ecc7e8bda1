"""One layer that stands in for the maintainer scripts of packages (`scripts = "skip"`): files alone, nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackbuild.build.do.unpack import package_file
from stackbuild.build.own_layer import OwnLayer, layer_facts
from stackbuild.build.tree_part import Node
from stackbuild.core.action import Action, Room
from stackbuild.oci.tar_write import Entry
from stackbuild.oci.tree_view import TreeView
from stackbuild.packages.deb.alternatives import Alternative, chosen, registered
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.certificates import trust
from stackbuild.packages.deb.linker_cache import CACHE, cache, libraries
from stackbuild.packages.deb.plain_accounts import account_files

SHADOW_GID = 42  # of base-passwd's list: it never changes
MADE_HERE = frozenset(
    (
        "base-files",
        "base-passwd",
        "ca-certificates",
        "libc-bin",
        "libc6",
        "netbase",
        "tzdata",
        "debconf",
        "usr-is-merged",
    )
)
"""Packages of whose scripts the part that an image without a shell can use is made here."""
_SCRIPTS = ("preinst", "postinst")
_TEXT = 4 << 20
_CERTIFICATES = (b"usr/share/ca-certificates", b"usr/local/share/ca-certificates")
_COPIES = {  # what the scripts of base-files and libc-bin copy from where a package keeps it
    b"etc/nsswitch.conf": (b"usr/share/base-files/nsswitch.conf", b"usr/share/libc-bin/nsswitch.conf"),
}
_NSSWITCH = b"passwd:         files\ngroup:          files\nshadow:         files\nhosts:          files dns\n"
_FOLDERS = {b"tmp": 0o1777, b"root": 0o700, b"run": 0o755, b"var/tmp": 0o1777}


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """params: packages [{name, version, architecture, file}], timezone, epoch, compression. inputs: "packages/FILE".

    Writes `layer`. facts beside a layer's: "skipped" {package: its scripts whose effects nothing makes up for},
    "unclear" {package: lines that register alternatives in a way that is not understood}.
    """
    params = action.params
    epoch, compression = int(params["epoch"]), str(params.get("compression", "gzip"))
    tree = TreeView(room.lowers)
    layer = OwnLayer(lambda path: Node.of(tree.look(path)), epoch)
    alternatives, skipped, unclear = _scripts(params, room)
    for path, mode in _FOLDERS.items():
        _folder(layer, path, mode)
    for name, (content, mode) in account_files(tree, epoch).items():
        _file(layer, b"etc/" + name, content, mode, SHADOW_GID if name == b"shadow" else 0)
    for path, sources in _COPIES.items():
        text = next((found for source in sources if (found := tree.read(source, _TEXT))), _NSSWITCH)
        if tree.find(path) is None:
            _file(layer, path, text)
    _clock(layer, tree, str(params["timezone"]))
    _trust(layer, tree)
    for alternative in chosen(alternatives).values():
        _alternative(layer, tree, alternative)
    shared, links = libraries(tree)
    for path, target in links.items():
        _link(layer, path, target)
    if cached := cache(shared):
        _file(layer, CACHE, cached)
    with open(room.out / "layer", "wb") as out:
        written = layer.write(out, compression)
    facts = layer_facts(written, compression, layer.empty, "what scripts of packages would leave")
    return {**facts, "skipped": skipped, "unclear": unclear}


def _scripts(
    params: Mapping[str, Any], room: Room
) -> tuple[list[Alternative], dict[str, list[str]], dict[str, list[str]]]:
    """What the scripts register, and for each package what is lost and what is not understood."""
    alternatives: list[Alternative] = []
    skipped, unclear = {}, {}
    for package in params["packages"]:
        with open_deb(package_file(room, package), str(package["file"]), data=False) as deb:
            texts = {name: deb.control[name].content for name in _SCRIPTS if name in deb.control}
        found, strange = registered(texts.get("postinst", b"").decode("utf-8", "replace"))
        alternatives += found
        if strange:
            unclear[package["name"]] = strange
        if package["name"] not in MADE_HERE and (lost := [n for n, text in texts.items() if _does_more(text)]):
            skipped[package["name"]] = lost
    return alternatives, skipped, unclear


_IDLE = ("set -e", "exit 0", "fi", "esac", ";;", "case ", "if ", "#", "then", "else", "done", ":", "true", "--slave")
_DONE_HERE = ("update-alternatives", "dpkg-maintscript-helper", "py3compile", "deb-systemd", "ldconfig", "dpkg-trigger")


def _does_more(script: bytes) -> bool:
    """Whether a script does more than what is made here, or matters to upgrades and services alone."""
    lines = script.decode("utf-8", "replace").replace("\\\n", " ").splitlines()
    said = (line.strip() for line in lines)
    return any(line and not line.startswith(_IDLE) and not line.startswith(_DONE_HERE) for line in said)


def _folder(layer: OwnLayer, path: bytes, mode: int) -> None:
    place = layer.place(path, last=True)
    if layer[place] is None:
        layer.folder(place, mode)


def _file(layer: OwnLayer, path: bytes, content: bytes, mode: int = 0o644, gid: int = 0) -> None:
    place = layer.place(path, last=False)
    layer.add(Entry(place, "file", mode, 0, gid, size=len(content)), content)


def _link(layer: OwnLayer, path: bytes, target: bytes) -> None:
    place = layer.place(path, last=False)
    node = layer[place]
    if node is None or node.kind == "symlink":
        layer.add(Entry(place, "symlink", 0o777, target=target))


def _clock(layer: OwnLayer, tree: TreeView, timezone: str) -> None:
    """tzdata's choice: /etc/localtime and /etc/timezone."""
    zone = b"usr/share/zoneinfo/" + timezone.encode()
    if tree.find(zone) is not None and tree.look(b"etc/localtime") is None:
        _link(layer, b"etc/localtime", b"/" + zone)
        _file(layer, b"etc/timezone", timezone.encode() + b"\n")


def _trust(layer: OwnLayer, tree: TreeView) -> None:
    """What update-ca-certificates makes of all certificates that packages ship."""
    certificates: dict[bytes, bytes] = {}
    for folder in _CERTIFICATES:
        for path in sorted(_below(tree, folder)):
            if path.endswith(b".crt"):
                certificates[b"/" + path] = tree.read(path, _TEXT)
    if not certificates:
        return
    made = trust(certificates)
    for name, target in made.links.items():
        _link(layer, b"etc/ssl/certs/" + name, target)
    _file(layer, b"etc/ssl/certs/ca-certificates.crt", made.bundle)


def _below(tree: TreeView, folder: bytes) -> list[bytes]:
    found = []
    for name in tree.names(folder):
        path = folder + b"/" + name
        seen = tree.look(path)
        if seen is not None and seen.kind == "dir":
            found += _below(tree, path)
        elif seen is not None and seen.kind == "file":
            found.append(path)
    return found


def _alternative(layer: OwnLayer, tree: TreeView, alternative: Alternative) -> None:
    """The links of a group, those whose file the image has (a path filter may have left out manual pages)."""
    if tree.find(alternative.main.path.encode()) is None:
        return
    for link in (alternative.main, *alternative.slaves):
        if tree.find(link.path.encode()) is not None:
            _link(layer, b"etc/alternatives/" + link.name.encode(), link.path.encode())
            _link(layer, link.link.encode(), b"/etc/alternatives/" + link.name.encode())
