"""What is asked of settling: a stack file and all that may say something about it. Reads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Question(NamedTuple):
    """What is to be settled: a stack file and all that may say something about it.

    sets: KEY=VALUE of each --set. environ: the caller's environment (STACKBUILD__…, and what `[stack] env` names).
    user_config, site_config: they need not exist.
    """

    file: Path
    profiles: Sequence[str] = ()
    sets: Sequence[str] = ()
    environ: Mapping[str, str] = {}
    user_config: Path | None = None
    site_config: Path | None = None

    @property
    def project(self) -> Path:
        return Path(os.path.abspath(self.file)).parent

    def profile(self, name: str) -> Path:
        """stack.PROFILE.toml beside stack.toml."""
        if self.file.suffix == ".toml":
            return self.file.with_name(f"{self.file.stem}.{name}.toml")
        return self.file.with_name(f"{self.file.name}.{name}.toml")

    @property
    def lock_file(self) -> Path:
        """stack.lock, stack.PROFILE.lock; of another file F: F.lock."""
        stem = "stack" if self.file.name == "stack.toml" else self.file.name
        return self.project / ".".join([stem, *self.profiles, "lock"])
