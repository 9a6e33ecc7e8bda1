"""What git says about the project, asked only when a value uses it; runs `git`, changes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

TIMEOUT = 10.0  # seconds
_KEEP = ("PATH", "HOME", "XDG_CONFIG_HOME")


class GitError(ValueError):
    """git has no answer, in its own words."""


class Git:
    """short, sha, branch and describe of the commit that is checked out. read: files whose change may change them."""

    def __init__(self, project: Path, environ: Mapping[str, str]) -> None:
        self._project = project
        self._environ = {name: environ[name] for name in _KEEP if name in environ} | {"LC_ALL": "C"}
        self._answers: dict[tuple[str, ...], str] = {}

    @property
    def sha(self) -> str:
        """All forty digits."""
        return self._ask("rev-parse", "--verify", "HEAD^{commit}")

    @property
    def short(self) -> str:
        """Twelve digits; not git's own choice, which grows with the repository."""
        return self.sha[:12]

    @property
    def branch(self) -> str:
        """ "HEAD" where no branch is checked out (as on CI)."""
        return self._ask("rev-parse", "--abbrev-ref", "HEAD")

    @property
    def describe(self) -> str:
        """The nearest tag and the distance from it: "v1.2-4-gabcdef", or a short hash."""
        return self._ask("describe", "--tags", "--always")

    def read(self) -> tuple[Path, ...]:
        """HEAD, the branch that it names, packed refs and the folder of tags; () if nothing was asked."""
        if not self._answers:
            return ()
        own, shared = (self._project / self._ask("rev-parse", word) for word in ("--git-dir", "--git-common-dir"))
        files = [own / "HEAD", shared / "packed-refs", shared / "refs" / "tags"]
        try:
            head = (own / "HEAD").read_text()
        except (OSError, UnicodeDecodeError):
            head = ""
        if head.startswith("ref: refs/"):
            files.append(shared / head[5:].strip())
        return tuple(Path(os.path.abspath(file)) for file in files)

    def _ask(self, *words: str) -> str:
        if words in self._answers:
            return self._answers[words]
        # no fsmonitor: a cloned repository's own config must not start programs
        argv = ["git", "-c", "core.fsmonitor=false", "--no-optional-locks", *words]
        try:
            done = subprocess.run(
                argv,
                cwd=self._project,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except FileNotFoundError:
            raise GitError("git is not installed") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GitError(f"git: {error}") from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
            raise GitError(next((line for line in lines if line.startswith("fatal:")), lines[-1]))
        self._answers[words] = done.stdout.decode(errors="replace").strip()
        return self._answers[words]
