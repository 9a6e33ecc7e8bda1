"""stack.lock: what is written is what is read, in one form; what was tampered with is refused by name and line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import UsageError
from stackbuild.lock.lock import Lock, LockedArchive, LockedPackage, LockFile, PlatformLock, parse, render

GOLDEN = Path(__file__).parent.parent / "data" / "lock" / "stack.lock"

LIBC = LockedPackage(
    "libc6", "2.36-9", "amd64", digest_of(b"libc6"), 5, "Example/stable", "pool/g/libc6.deb", "glibc", 0
)
DASH = LockedPackage(
    *("dash", "0.5.12-2", "amd64", digest_of(b"dash"), 4, "Example/stable", "pool/d/dash.deb", "dash", 0),
    pre_depends=("libc6",),
    essential=True,
)
CURL = LockedPackage(
    *("curl", "7.88.1-10+deb12u1", "amd64", digest_of(b"curl"), 9, "Example/stable", "pool/c/curl.deb", "curl", 1),
    manual=True,
    depends=("libc6",),
)
ARCHIVE = LockedArchive("Example/stable", "Example", "stable", "stable", "2026-01-01T00:00:00Z", digest_of(b"Release"))
LOCK = Lock(
    digest_of(b"requests"),
    {
        "linux/amd64": PlatformLock(None, (ARCHIVE,), (LIBC, DASH, CURL)),
        "linux/arm64": PlatformLock(digest_of(b"base"), base_image="registry.example.com/base:1"),
    },
    {"web-service": digest_of(b"recipe")},
)


def test_what_is_written_is_what_is_read() -> None:
    assert parse(render(LOCK), "stack.lock") == LOCK


def test_the_form_of_the_file_does_not_move_unnoticed() -> None:
    assert render(LOCK).decode() == GOLDEN.read_text()


def test_a_new_version_of_one_package_changes_its_own_lines_only() -> None:
    newer = replace(CURL, version="7.88.1-11", sha256=digest_of(b"new"))
    changed = replace(
        LOCK, platforms={**LOCK.platforms, "linux/amd64": PlatformLock(None, (ARCHIVE,), (LIBC, DASH, newer))}
    )
    before, after = render(LOCK).decode().splitlines(), render(changed).decode().splitlines()
    assert len(before) == len(after)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2


def test_a_stage_is_locked_beside_the_image_and_only_then_the_form_is_newer() -> None:
    platform = replace(LOCK.platforms["linux/amd64"], stages={"builder": PlatformLock(None, (ARCHIVE,), (LIBC, DASH))})
    staged = replace(LOCK, platforms={**LOCK.platforms, "linux/amd64": platform})
    data = render(staged)
    assert parse(data, "stack.lock") == staged
    assert b"version = 2\n" in data and b"version = 1\n" in render(LOCK)
    kept = data.replace(b"version = 2\n", b"version = 1\n").split(b'[[platform."linux/amd64".stage')[0]
    assert render(LOCK).startswith(kept.split(b'[platform."linux/arm64')[0])
    with pytest.raises(UsageError) as found:
        parse(data.replace(b'name = "dash"', b'name = "libc6"'), "stack.lock")
    assert found.value.where is not None and found.value.where.line > 0


def test_waves_are_the_packages_in_order() -> None:
    assert LOCK.platforms["linux/amd64"].waves == ((LIBC, DASH), (CURL,))
    assert LOCK.platforms["linux/arm64"].waves == ()


def test_a_file_is_written_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    file = LockFile(tmp_path / "stack.lock")
    assert file.read() is None
    assert file.write(LOCK)
    before = file.path.stat()
    assert not file.write(LOCK)
    assert file.path.stat().st_ino == before.st_ino and file.read() == LOCK
    assert [p.name for p in tmp_path.iterdir()] == ["stack.lock"]


@pytest.mark.parametrize(
    ("old", "new", "key", "why"),
    [
        ('path = "pool/c/curl.deb"', 'path = "../../etc/shadow"', "path", "is not a value"),
        ('path = "pool/c/curl.deb"', 'path = "/etc/shadow"', "path", "is not a value"),
        ('path = "pool/c/curl.deb"', 'path = "pool/./c.deb"', "path", "is not a value"),
        ('name = "curl"', 'name = "../curl"', "name", "is not a value"),
        ('name = "curl"', 'name = "dash"', "name", "dash is locked twice"),
        ('version = "7.88.1-10+deb12u1"', 'version = "7.88 \\n"', "version", "is not a value"),
        ("size = 9", 'size = "9"', "size", "is not a value"),
        ("size = 9", "size = true", "size", "is not a value"),
        ("size = 9", "size = -9", "size", "is not a value"),
        ("wave = 1", "wave = 7", "wave", "wave 7 follows wave 0"),
        ("manual = true", "manual = true\nurgent = true", "urgent", "no such key"),
        ("size = 9\n", "", "size", "missing"),
    ],
)
def test_an_edited_package_is_refused_by_key_and_line(old: str, new: str, key: str, why: str) -> None:
    text = render(LOCK).decode()
    assert text.count(old) == 1
    text = text.replace(old, new)
    with pytest.raises(UsageError) as found:
        parse(text.encode(), "stack.lock")
    where = found.value.where
    assert where is not None and where.key == ("platform", "linux/amd64", "package", 2, key)
    line = text.splitlines()[where.line - 1]
    assert line.startswith(key) or (why == "missing" and line.startswith("[[platform"))
    assert why in found.value.why
    assert found.value.hints[0].command


def test_a_dependency_that_is_not_locked_is_refused() -> None:
    text = (
        render(LOCK)
        .decode()
        .replace(
            'depends = [\n    "libc6",\n]\n\n[platform."linux/arm64"]',
            'depends = [\n    "libc7",\n]\n\n[platform."linux/arm64"]',
        )
    )
    with pytest.raises(UsageError, match="libc7 is not among the packages"):
        parse(text.encode(), "stack.lock")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"version = ", b"version = 1\n[[", b"", b"a = " + b"[" * 100000])
def test_what_is_no_lock_is_an_error_with_the_file(data: bytes) -> None:
    with pytest.raises(UsageError) as found:
        parse(data, "stack.lock")
    assert "stack.lock" in str(found.value)


def test_merge_markers_are_named_by_line() -> None:
    with pytest.raises(UsageError) as found:
        parse(b"version = 1\n<<<<<<< HEAD\n", "stack.lock")
    assert found.value.where is not None and found.value.where.line == 2


def test_a_newer_lock_says_upgrade() -> None:
    with pytest.raises(UsageError, match="newer stackbuild"):
        parse(render(LOCK).replace(b"version = 1\n", b"version = 4\n", 1), "stack.lock")


@pytest.mark.parametrize("key", ["[recipes]\n", '["recip\\u0065s"]\n', "recipes."])
def test_recipes_are_found_however_they_are_written(key: str, tmp_path: Path) -> None:
    text = render(replace(LOCK, recipes={})).decode()
    said = f'"web-service" = "{digest_of(b"recipe")}"\n'
    text = text.replace("\n\n[", f"\n{key}{said}\n[", 1)
    (tmp_path / "stack.lock").write_text(text)
    lock = LockFile(tmp_path / "stack.lock")
    assert lock.recipes() == {"web-service": digest_of(b"recipe")} == (lock.read() or LOCK).recipes


def test_a_lock_without_recipes_is_not_parsed_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = LockFile(tmp_path / "stack.lock")
    assert lock.recipes() == {}
    lock.write(replace(LOCK, recipes={}))
    monkeypatch.setattr("stackbuild.lock.lock.parse", lambda data, file: pytest.fail("parsed"))
    assert lock.recipes() == {}
