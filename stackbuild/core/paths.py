"""Where things are: XDG base directories, the store and its areas. Makes nothing but folders it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from stackbuild.core.errors import UsageError
from stackbuild.core.files import host_error


def _xdg(environ: Mapping[str, str], name: str, default: str) -> Path:
    value = environ.get(name, "")
    if value.startswith("/"):  # the XDG specification: a relative path is to be ignored
        return Path(value)
    return Path(environ.get("HOME") or os.path.expanduser("~")) / default


def user_config(environ: Mapping[str, str]) -> Path:
    """The user's config file (it may not exist)."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config") / "stackbuild" / "config.toml"


def site_config() -> Path:
    """The machine's config file (it may not exist)."""
    return Path("/etc/stackbuild/config.toml")


def store_root(environ: Mapping[str, str], option: str | None) -> Path:
    """--store DIR, else STACKBUILD_STORE, else $XDG_DATA_HOME/stackbuild. Absolute."""
    chosen = option if option is not None else environ.get("STACKBUILD_STORE", "")
    if option == "":
        raise UsageError("--store needs a folder")
    if chosen:
        return Path(os.path.abspath(chosen))
    return _xdg(environ, "XDG_DATA_HOME", ".local/share") / "stackbuild"


class StorePaths(NamedTuple):
    """The areas of a store. An area with a version in its name is set aside when its form changes."""

    root: Path

    @property
    def images(self) -> Path:
        """An OCI image layout: the images, and all blobs that steps made."""
        return self.root / "images"

    @property
    def steps(self) -> Path:
        """Results of steps by key. v1 had no check in each record."""
        return self.root / "steps.v2"

    @property
    def packages(self) -> Path:
        """Package files and other downloads, by digest: sha256/HEX."""
        return self.root / "packages.v1"

    @property
    def indexes(self) -> Path:
        return self.root / "indexes.v1"

    @property
    def rootfs(self) -> Path:
        """Unpacked trees."""
        return self.root / "rootfs.v1"

    @property
    def containers(self) -> Path:
        return self.root / "containers.v1"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def locks(self) -> Path:
        return self.root / "locks.v1"

    @property
    def uses(self) -> Path:
        """When what was last used, and which builds run."""
        return self.root / "uses.v1"

    @property
    def stamps(self) -> Path:
        return self.root / "stamps.v1"

    @property
    def caches(self) -> Path:
        return self.root / "caches.v1"

    @property
    def recipes(self) -> Path:
        """Recipes from git and registries, by digest: HEX/recipe.toml."""
        return self.root / "recipes.v1"

    @property
    def scratch(self) -> Path:
        """Work under way; anything in it that no live process holds may be deleted."""
        return self.root / "scratch.v1"


def ensure(folder: Path, mode: int = 0o755) -> Path:
    """The folder, made if it is not there. Raises HostError."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise host_error(error, folder) from error
    return folder
