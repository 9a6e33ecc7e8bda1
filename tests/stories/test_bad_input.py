"""Bad input is an error that a person can act on: its exit code, the place, and what would be right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive import Archive, archive, new_key, stack_of
from tests.conftest import Stackbuild
from tests.machine import Ran, free_port
from tests.projects import write_tiny

TINY = '[stack]\nname = "x"\n[base]\nscratch = true\n'


def said(ran: Ran, *words: str) -> None:
    """All of these words are in the message, and nothing that looks like a crash."""
    assert "Traceback" not in ran.err, ran
    assert not [word for word in words if word not in ran.err], ran


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[stack]\nname = "x\n', ("stack.toml:2",)),
        ('[stack]\nnmae = "x"\n', ("stack.toml:2", "nmae", "name")),
        ('[stack]\nname = "x"\n[base]\nscratch = true\n[contianer]\n', ("stack.toml:5", "contianer", "container")),
        (TINY + '[[layer]]\nname = "a"\ncopy = [{ form = "a", to = "/a" }]\n', ("stack.toml:7", "form", "from")),
        (TINY + '[[layer]]\nname = "a"\n', ("stack.toml:6", "copy", "run")),
        (TINY + '[[layer]]\nname = "a"\nrun = ["x"]\nremove = ["/y"]\n', ("run", "remove")),
        (TINY + '[container]\nports = ["80808:80"]\n', ("stack.toml:6", "80808")),
        (TINY + "[image]\nlayers = 500\n", ("stack.toml:6", "layers")),
        ('[stack]\nname = "x"\n[base]\nstack = "../other"\n', ("stack.toml:4", "stack")),
        (TINY + "[stages.builder]\nimage = 1\n", ("stack.toml:6", "image")),
        ('[stack]\nname = "x"\n[base]\ndistro = "debian/bookworm"\nscratch = true\n', ("distro", "scratch")),
        ("\x1b]0;owned\x07 = 1\n", ("stack.toml:1",)),
    ],
)
def test_a_wrong_stack_file_is_told_by_line_and_key(stackbuild: Stackbuild, text: str, words: tuple[str, ...]) -> None:
    (stackbuild.folder / "stack.toml").write_text(text)
    ran = stackbuild("plan", code=2)
    said(ran, *words)
    assert "\x1b" not in ran.err and "\x07" not in ran.err


def test_all_mistakes_of_a_file_are_told_at_once(stackbuild: Stackbuild) -> None:
    text = '[stack]\nname = "x"\nnmae = 1\n[base]\nscratch = true\n[image]\nexpose = ["99999999"]\nuser = 5\n[oops]\n'
    (stackbuild.folder / "stack.toml").write_text(text)
    said(stackbuild("build", code=2), "mistakes", "stack.toml:3", "stack.toml:7", "stack.toml:9")


def test_bad_usage_names_what_is_near(stackbuild: Stackbuild) -> None:
    said(stackbuild("biuld", code=2), "biuld", "did you mean `build`")
    said(stackbuild("build", "--no-such-option", code=2), "--no-such-option")
    said(stackbuild("build", code=2), "stack.toml", "-f FILE")
    said(stackbuild("-C", "nowhere", "build", code=2), "nowhere")


def test_a_store_that_cannot_be(stackbuild: Stackbuild) -> None:
    (stackbuild.folder / "stack.toml").write_text(TINY)
    (stackbuild.folder / "file").write_text("")
    for store in ("file", "file/below"):
        assert 'name = "x"' in stackbuild("--store", store, "config").out  # needs none
        assert "all" in stackbuild("--store", store, "cache", "du").out
        for command in ("build", "plan"):
            said(stackbuild("--store", store, command, code=5), "cannot use", "file", "Not a directory")


def test_a_copy_source_that_is_missing(stackbuild: Stackbuild) -> None:
    layers = '[[layer]]\nname = "more"\ncopy = [{ from = "stie/", to = "/more/" }]\n'
    write_tiny(stackbuild.folder, layers=layers)
    said(stackbuild("build", code=2), "stie", "stack.toml:")


@pytest.mark.parametrize("way", ["../secret", "link/secret", "/etc/passwd"])
def test_a_copy_source_that_leaves_the_project(stackbuild: Stackbuild, way: str) -> None:
    outside = stackbuild.folder.parent
    (outside / "secret").write_text("outside\n")
    layers = f'[[layer]]\nname = "more"\ncopy = [{{ from = "{way}", to = "/more" }}]\n'
    write_tiny(stackbuild.folder, layers=layers)
    (stackbuild.folder / "link").symlink_to(outside)
    ran = stackbuild("build", code=2)
    said(ran, way.split("/")[0] or way)
    found = [f for f in (stackbuild.store / "images").rglob("*") if f.is_file() and b"outside" in f.read_bytes()]
    assert not found


def test_a_base_image_that_is_not_there(stackbuild: Stackbuild) -> None:
    text = f'[stack]\nname = "x"\n[base]\nimage = "127.0.0.1:{free_port()}/no/such:1"\n'
    (stackbuild.folder / "stack.toml").write_text(text)
    said(stackbuild("build", code=4, timeout=120), "127.0.0.1", "no/such")
    (stackbuild.folder / "stack.toml").write_text('[stack]\nname = "x"\n[base]\nimage = "oci:nowhere"\n')
    assert stackbuild("build", code=None).code in (2, 4, 5)


# ---- archives of packages ----


@pytest.fixture
def debs(tmp_path: Path) -> Iterator[Archive]:
    """An archive with two packages, published and signed."""
    with archive(tmp_path / "debian") as made:
        made.package("say-hello", "1.0-1", depends="say-goodbye")
        made.package("say-goodbye", "2.0-1")
        made.publish()
        yield made


def test_a_good_archive_is_locked(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    stackbuild("lock")
    text = (stackbuild.folder / "stack.lock").read_text()
    assert "say-goodbye" in text and debs.url not in text and "127.0.0.1" not in text
    stackbuild("lock", "--check")
    said(stackbuild("why", "say-goodbye", code=0))
    assert "say-hello" in stackbuild("why", "say-goodbye").out


def test_an_unknown_package_is_told_with_near_names(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-helo"])
    said(stackbuild("lock", code=3), "say-helo", "say-hello", "stack.toml:")


def test_a_version_that_does_not_exist_is_told_with_those_that_do(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello=9.9"])
    said(stackbuild("lock", code=3), "say-hello", "9.9", "1.0-1")


def test_a_dependency_that_nothing_provides_is_told_as_a_chain(stackbuild: Stackbuild, debs: Archive) -> None:
    debs.package("needs-more", "1.0", depends="say-hello, no-such-thing (>= 3)")
    debs.publish()
    stack_of(debs, stackbuild.folder, ["needs-more"])
    said(stackbuild("lock", code=3), "needs-more", "no-such-thing")


@pytest.mark.parametrize(
    ("part", "fault", "word"),
    [
        ("InRelease", "refuse", "503"),
        ("InRelease", "lie", "signature"),
        ("InRelease", "truncate", "InRelease"),
        ("Packages", "lie", "digest"),
        ("Packages", "truncate", "Packages"),
    ],
)
def test_a_mirror_that_refuses_truncates_or_lies(
    stackbuild: Stackbuild, debs: Archive, part: str, fault: str, word: str
) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    debs.faults[part] = fault
    said(stackbuild("lock", code=4, timeout=120), word, "127.0.0.1")
    assert not (stackbuild.folder / "stack.lock").exists()
    debs.faults.clear()
    stackbuild("lock")  # and nothing that it left is in the way


def test_a_package_whose_bytes_are_others_is_refused(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    stackbuild("lock")
    debs.faults["say-hello_"] = "lie"
    said(stackbuild("build", code=4, timeout=120), "say-hello", "digest")
    kept = [
        file
        for file in (stackbuild.store / "packages.v1").rglob("*")
        if file.is_file() and b"say-hello" in file.read_bytes()
    ]
    assert not kept


def test_a_package_that_has_left_the_mirror_is_named(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    stackbuild("lock")
    debs.faults["say-hello_"] = "missing"
    said(stackbuild("build", "--locked", code=4, timeout=120), "say-hello")


def test_a_mirror_that_is_not_there(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    text = (stackbuild.folder / "stack.toml").read_text()
    (stackbuild.folder / "stack.toml").write_text(text.replace(debs.url, f"http://127.0.0.1:{free_port()}"))
    said(stackbuild("lock", code=4, timeout=120), "127.0.0.1", "refused")


def test_a_signature_of_another_key(stackbuild: Stackbuild, debs: Archive, tmp_path: Path) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    other = Archive(debs.folder, tmp_path / "other")
    other.gnupg.mkdir(mode=0o700)
    debs.others.append(other.gnupg)
    new_key(other)
    (stackbuild.folder / "key.gpg").write_bytes(other.key.read_bytes())
    said(stackbuild("lock", code=4), "signature")


def test_no_signature_at_all(stackbuild: Stackbuild, debs: Archive) -> None:
    debs.publish(signed=False)
    stack_of(debs, stackbuild.folder, ["say-hello"])
    said(stackbuild("lock", code=4), "127.0.0.1")


def test_an_expired_index(stackbuild: Stackbuild, debs: Archive) -> None:
    debs.publish(valid_for=-86400)
    stack_of(debs, stackbuild.folder, ["say-hello"])
    said(stackbuild("lock", code=4), "expired", "check-valid-until")


def test_a_stale_lock_is_refused_when_asked(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    stackbuild("lock")
    stack_of(debs, stackbuild.folder, ["say-goodbye"])
    said(stackbuild("lock", "--check", code=2), "stack.lock")
    said(stackbuild("build", "--locked", code=2), "stack.lock", "stackbuild lock")


def test_a_source_without_a_key_is_refused(stackbuild: Stackbuild, debs: Archive) -> None:
    stack_of(debs, stackbuild.folder, ["say-hello"])
    text = (stackbuild.folder / "stack.toml").read_text().replace('signed-by = "key.gpg"\n', "")
    (stackbuild.folder / "stack.toml").write_text(text)
    said(stackbuild("lock", code=2), "signed-by", "stack.toml:")
