"""What may stand in no committed file: a place of one machine, or a host that only one machine reaches."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent


def machines_hosts() -> set[str]:
    """The registry hosts that this machine's own clients are set to: asked of them, so no list stands in a file."""
    urls: list[str] = []
    for file in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if file.is_file():
            urls += re.findall(r"https?://[^\s\]]+", file.read_text(errors="replace"))
    code = "from pip._internal.models.index import PyPI; print(PyPI.url, PyPI.file_storage_domain)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    urls += [word if "/" in word else f"https://{word}" for word in found.stdout.split()]
    if npm := shutil.which("npm"):
        found = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, timeout=60)
        urls += found.stdout.split()
    for file in [Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"]:
        parser = configparser.ConfigParser(interpolation=None)
        if file.is_file() and parser.read(file):
            values = " ".join(value for section in parser.values() for value in section.values())
            urls += re.findall(r"https?://\S+", values)
    return {
        host for url in urls if (host := urlsplit(url).hostname) and not host.endswith((".example.com", "localhost"))
    }


def committed_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: nothing says which files are committed")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    return [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name]


def test_no_file_names_a_host_or_a_folder_of_one_machine() -> None:
    hosts = machines_hosts()
    place = str(ROOT.parent) if len(ROOT.parts) > 2 and ROOT.parent != Path("/tmp") else str(ROOT)
    pattern = re.compile("|".join([re.escape(place) + "/", *(rf"(?<![\w.-]){re.escape(host)}" for host in hosts)]))
    bad = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for file in committed_files()
        if file.is_file() and not file.is_symlink()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not bad, "use example.com hosts and relative paths:\n" + "\n".join(bad)


def test_the_hosts_that_the_guard_looks_for_are_found_here() -> None:
    """The guard above would pass on anything if it found no host to look for."""
    assert machines_hosts()


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'exec "$(dirname "$0")/../scripts/test"']
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "scripts/test" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").iterdir()), ids=lambda path: path.name)
def test_scripts_parse_and_say_how_they_are_used(script: Path) -> None:
    text = script.read_text()
    assert os.access(script, os.X_OK) and text.startswith("#!") and "usage: scripts/" + script.name in text
    if text.startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n", script], check=True, timeout=10)
