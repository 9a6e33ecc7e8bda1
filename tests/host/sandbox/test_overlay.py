"""The overlay sandbox keeps the contract, wherever the changes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.errors import StepError
from stackbuild.host import memory
from stackbuild.host.sandbox import open_sandbox, overlay
from stackbuild.host.sandbox.protocol import NoRoom
from tests.host.contract import SandboxContract, pytestmark, sh

__all__ = ["pytestmark"]


class TestOverlay(SandboxContract):
    name = "overlay"


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much memory to spare as makes a room of 64 MiB."""
    monkeypatch.setattr(overlay, "spare", lambda: 256 << 20)
    monkeypatch.setattr(overlay, "_PLENTY", 256 << 20)


@pytest.mark.usefixtures("plenty")
class TestOverlayInMemory(SandboxContract):
    name, small = "overlay", True


@pytest.mark.usefixtures("plenty")
def test_small_changes_never_reach_the_disk(tiny: Path, tmp_path: Path) -> None:
    with open_sandbox("overlay").open([tiny], tmp_path / "scratch", small=True) as box:
        sh(box, "echo new > /etc/new; rm /etc/passwd")
        assert box.changes().present == (b"etc", b"etc/new") and box.changes().deleted == (b"etc/passwd",)
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.name in ("new", "upper")]


@pytest.mark.usefixtures("plenty")
def test_what_does_not_fit_says_so(tiny: Path, tmp_path: Path) -> None:
    fill = """perl -e 'open(F, ">/big"); (print F "x" x (1 << 20)) or die for 1..100; close F or die'"""
    with pytest.raises(NoRoom), open_sandbox("overlay").open([tiny], tmp_path / "a", small=True) as box:
        sh(box, fill)
    with open_sandbox("overlay").open([tiny], tmp_path / "b") as box:
        sh(box, fill)


@pytest.mark.usefixtures("plenty")
def test_after_a_failure_the_changes_are_where_somebody_can_look_at_them(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError), open_sandbox("overlay").open([tiny], tmp_path / "a", small=True) as box:
        sh(box, "echo before > /etc/before; rm /etc/passwd")
        raise StepError("it failed")
    assert (tmp_path / "a/upper/etc/before").read_text() == "before\n"
    assert (tmp_path / "a/upper/etc/passwd").is_char_device()


def test_with_little_memory_the_disk_is_used(monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(overlay, "spare", lambda: 1 << 30)
    with open_sandbox("overlay").open([tiny], tmp_path / "a", small=True) as box:
        sh(box, "echo new > /etc/new")
        assert (tmp_path / "a/upper/etc/new").exists()


def test_spare_memory_is_what_the_machine_or_the_container_has_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = memory.spare()
    assert whole > 64 << 20
    (tmp_path / "limit").write_text("1000000")
    (tmp_path / "used").write_text("400000")
    (tmp_path / "none").write_text("max")
    pairs = [(str(tmp_path / limit), str(tmp_path / "used")) for limit in ("none", "limit", "missing")]
    monkeypatch.setattr(memory, "_LIMITS", pairs)
    assert memory.spare() == 600000
