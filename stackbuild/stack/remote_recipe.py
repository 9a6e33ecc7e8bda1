"""Recipes from git and from registries (OCI artifacts), checked and kept in the store by digest; settles nothing."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.digest import Digest, VerifyingReader, digest_of, hex_of
from stackbuild.core.errors import Hint, HostError, NetworkError, StackError, UsageError
from stackbuild.core.origin import Origin
from stackbuild.oci.descriptor import Descriptor
from stackbuild.oci.manifest import Manifest, make_manifest
from stackbuild.oci.reference import Reference, parse_reference
from stackbuild.oci.registry import Registry
from stackbuild.oci.tar_extract import Limits, extract
from stackbuild.oci.tar_write import Entry, LayerWriter
from stackbuild.stack.find_recipe import FILE, Fetched

if TYPE_CHECKING:
    from stackbuild.net.client import Client

CONFIG_TYPE = "application/vnd.stackbuild.recipe.config.v1+json"
LAYER_TYPE = "application/vnd.stackbuild.recipe.v1.tar+gzip"
LIMIT = 16 << 20
"""Bytes of a recipe's folder."""
_LIMITS = Limits(entries=10_000, size=LIMIT)
TIMEOUT = 120.0  # seconds, of each git command
_GIT = re.compile(
    r"git\+(?P<url>(?:https?|ssh|file)://[^@#\s]*(?:@[^/@#\s]+/[^@#\s]*)?)@(?P<rev>[^#\s]+)(?:#(?P<path>\S*))?"
)


@dataclass(frozen=True)
class RemoteRecipes:
    """Fetches recipes (find_recipe.Remote). folder: where they are kept. offline: only what is kept there."""

    folder: Path
    client: Callable[[], Client]
    environ: Mapping[str, str]
    offline: bool = False

    def __call__(self, reference: str, pin: Digest | None, where: Origin | None) -> Fetched:
        """Raises UsageError, NetworkError (what a lock pins is not what is there now), HostError."""
        if pin is not None and (self.folder / hex_of(pin) / FILE).is_file():
            return Fetched(self.folder / hex_of(pin), pin)
        if self.offline:
            raise NetworkError(f"{reference} is not in the store, and --offline forbids to fetch it", where=where)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".new-") as scratch:
                new = Path(scratch) / "recipe"
                new.mkdir()
                fetch = self._from_git if reference.startswith("git+") else self._from_registry
                digest = fetch(reference, pin, new, where)
                if pin is not None and digest != pin:
                    raise moved(reference, pin, digest, where)
                final = self.folder / hex_of(digest)
                if not final.is_dir():
                    os.rename(new, final)
        except StackError as error:
            error.where = error.where or where
            raise
        except OSError as error:
            raise HostError(f"cannot keep {reference}", where=where, why=str(error)) from None
        return Fetched(final, digest)

    def _from_registry(self, text: str, pin: Digest | None, new: Path, where: Origin | None) -> Digest:
        """The digest of the artifact's manifest; its one layer unpacked into `new`."""
        reference = parse_reference(text.removeprefix("oci://"))
        registry = Registry(reference.host, self.client())
        manifest = registry.manifest(reference.at(pin) if pin is not None else reference)
        if not isinstance(manifest, Manifest) or manifest.config.media_type != CONFIG_TYPE or len(manifest.layers) != 1:
            raise NetworkError(f"{text} is not a recipe", where=where, why="it is another kind of artifact")
        layer = manifest.layers[0]
        if layer.media_type != LAYER_TYPE or layer.size > LIMIT:
            raise NetworkError(f"{text} is not a recipe that can be read", where=where, why=f"{layer.size} bytes")
        with closing(registry.open_blob(reference.path, layer)) as stream:
            data = VerifyingReader(stream, layer.digest, layer.size, text).read()
        extract(io.BytesIO(data), new, whiteouts="file", name=text, limits=_LIMITS)
        return manifest.digest

    def _from_git(self, text: str, pin: Digest | None, new: Path, where: Origin | None) -> Digest:
        """The digest of the folder of that revision, which is copied to `new`."""
        found = _GIT.fullmatch(text)
        if found is None:
            raise UsageError(
                f"{text} does not say which revision",
                where=where,
                hints=(Hint("write git+https://HOST/PATH.git@REVISION#FOLDER"),),
            )
        inside = (found["path"] or "").strip("/")
        if ".." in inside.split("/") or found["rev"].startswith("-"):
            raise UsageError(f"{text} cannot be read", where=where, why="the folder or revision is not one")
        clone = new.parent / "clone"
        self._git(text, "init", "--quiet", "--bare", str(clone))
        self._git(text, "-C", str(clone), "fetch", "--quiet", "--depth=1", "--", found["url"], found["rev"])
        archive = self._git(
            text, "-C", str(clone), "archive", "--format=tar", f"FETCH_HEAD:{inside}" if inside else "FETCH_HEAD"
        )
        extract(io.BytesIO(archive), new, whiteouts="file", name=text, limits=_LIMITS)
        return digest_of(pack(new, text))

    def _git(self, text: str, *words: str) -> bytes:
        """git's output. No hooks, no helpers of the repository: nothing in it is run."""
        keep = ("PATH", "HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "https_proxy", "http_proxy", "no_proxy")
        environ = {name: self.environ[name] for name in keep if name in self.environ}
        environ |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:ssh:file"}
        argv = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "tar.umask=0022", *words]
        try:
            done = subprocess.run(
                argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
            )
        except FileNotFoundError:
            raise HostError("git is not installed", hints=(Hint("install git"),)) from None
        except subprocess.TimeoutExpired:
            raise NetworkError(f"{text} cannot be fetched", why=f"git had no answer in {TIMEOUT:g} s") from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
            why = next((line for line in lines if line.startswith("fatal:")), lines[-1])
            raise NetworkError(f"{text} cannot be fetched", why=why[:300])
        if len(done.stdout) > LIMIT:
            raise NetworkError(f"{text} is too large for a recipe", why=f"at most {LIMIT >> 20} MiB are read")
        return done.stdout


def moved(reference: str, pin: Digest, found: Digest, where: Origin | None) -> NetworkError:
    """What the lock pins is not what the reference names now."""
    return NetworkError(
        f"{reference} is no longer the recipe that the lock names",
        where=where,
        why=f"locked {pin}, found {found}: the revision moved",
        hints=(Hint("look at what changed; then take the new one into the lock", "stackbuild lock --update"),),
    )


def pack(folder: Path, shown: str) -> bytes:
    """A recipe's folder as the one layer of an artifact: the same bytes for the same names, texts and modes.

    Raises UsageError for links and special files, and for what is too large."""
    out = io.BytesIO()
    writer = LayerWriter(out, "gzip")
    total = 0
    for path in sorted(folder.rglob("*"), key=lambda path: os.fsencode(path.relative_to(folder))):
        name = os.fsencode(path.relative_to(folder))
        status = path.lstat()
        if b".git" in name.split(b"/"):
            continue
        if stat.S_ISDIR(status.st_mode):
            writer.add(Entry(name, "dir", 0o755))
        elif stat.S_ISREG(status.st_mode):
            total += status.st_size
            if total > LIMIT:
                raise UsageError(f"{shown} is too large for a recipe", why=f"at most {LIMIT >> 20} MiB")
            data = path.read_bytes()
            writer.add(Entry(name, "file", 0o755 if status.st_mode & 0o100 else 0o644, size=len(data)), data)
        else:
            raise UsageError(f"{shown} cannot be a recipe", why=f"{os.fsdecode(name)} is neither a file nor a folder")
    writer.close()
    return out.getvalue()


def push_recipe(folder: Path, reference: Reference, client: Client, annotations: Mapping[str, str]) -> Digest:
    """Send a recipe's folder to a registry as an OCI artifact (image-spec, "Guidelines for Artifact Usage").

    Returns the digest of its manifest. Raises UsageError, NetworkError."""
    data, config = pack(folder, str(folder)), b"{}"
    registry = Registry(reference.host, client)
    blobs = []
    for kind, content in ((CONFIG_TYPE, config), (LAYER_TYPE, data)):
        blob = Descriptor(kind, digest_of(content), len(content))
        if not registry.has_blob(reference.path, blob):
            registry.upload(reference.path, blob, partial(io.BytesIO, content))
        blobs.append(blob)
    manifest = make_manifest(blobs[0], blobs[1:], annotations)
    return registry.put_manifest(reference, manifest.raw, manifest.media_type)


def copy_folder(folder: Path, to: Path) -> None:
    """A recipe's folder, copied for a test of it."""
    shutil.copytree(folder, to, symlinks=True)
