"""Archives that lie: unsigned, wrongly signed, expired, replayed, swapped, cut or changed. All are refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.clock import SystemClock
from stackbuild.core.errors import NetworkError
from stackbuild.core.events import Event, Note
from stackbuild.core.origin import Origin
from stackbuild.core.paths import StorePaths
from stackbuild.net.client import Client, Policy
from stackbuild.packages.deb.compression import decompress
from stackbuild.packages.deb.repository import Repository, open_repositories
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.source import Keys, Source
from tests.archive import Archive, anew, archive, new_key, stack_of
from tests.conftest import Stackbuild
from tests.machine import free_port, run

HERE = Origin("project", "stack.toml", 7, ("packages", "source", 0))


class Later(SystemClock):
    """A clock that is `by` seconds ahead."""

    def __init__(self, by: float) -> None:
        self.by = by

    def now(self) -> float:
        return super().now() + self.by


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One good archive for all tests of this file; a test that changes it publishes it anew."""
    with archive(tmp_path_factory.mktemp("archive")) as made:
        made.package("hello")
        yield made


@pytest.fixture
def good(signed: Archive) -> Iterator[Archive]:
    with anew(signed) as made:
        yield made


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    events: list[Event] = []
    made = Fetcher(StorePaths(tmp_path / "store"), Client(policy=Policy(retries=0)), events.append)
    return made


def source(made: Archive, **changes: Any) -> Source:
    plain = Source(made.url, "bookworm", ("main",), keys=Keys(files=(made.key,)), origin=HERE)
    return replace(plain, **changes)


def opened(made: Archive, fetcher: Fetcher, clock: SystemClock | None = None, **changes: Any) -> Repository:
    return open_repositories([source(made, **changes)], "amd64", fetcher, clock)[0]


def refused(made: Archive, fetcher: Fetcher, clock: SystemClock | None = None, **changes: Any) -> NetworkError:
    """The error, which names the place that the user can change; and nothing is kept that was not verified."""
    with pytest.raises(NetworkError) as found:
        opened(made, fetcher, clock, **changes)
    assert found.value.exit_code == 4
    assert not list(fetcher.paths.indexes.glob("*.1"))
    return found.value


def top(made: Archive) -> Path:
    return made.folder / "dists/bookworm"


def test_a_good_archive_is_read(good: Archive, fetcher: Fetcher) -> None:
    repository = opened(good, fetcher)
    assert repository.archive.id == "Test/bookworm"
    (index,) = repository.indexes
    assert [p.name for p in index.packages("hello", repository.archive)] == ["hello"]


def test_release_with_a_detached_signature_is_as_good(good: Archive, fetcher: Fetcher) -> None:
    (top(good) / "InRelease").unlink()
    run([*good.gpg, "--detach-sign", "--armor", "-o", top(good) / "Release.gpg", top(good) / "Release"])
    assert opened(good, fetcher).archive.id == "Test/bookworm"


def test_a_changed_release_is_refused_with_a_detached_signature(good: Archive, fetcher: Fetcher) -> None:
    (top(good) / "InRelease").unlink()
    run([*good.gpg, "--detach-sign", "--armor", "-o", top(good) / "Release.gpg", top(good) / "Release"])
    data = (top(good) / "Release").read_bytes()
    (top(good) / "Release").write_bytes(data.replace(b"Origin: Test", b"Origin: Evil"))
    assert "bad signature" in refused(good, fetcher).what


def test_a_second_look_asks_and_downloads_nothing(good: Archive, fetcher: Fetcher) -> None:
    opened(good, fetcher)
    good.asked.clear()
    good.statuses.clear()
    opened(good, fetcher)
    assert good.asked == ["/dists/bookworm/InRelease"] and good.statuses == [304]
    offline = Fetcher(fetcher.paths, fetcher.downloader, offline=True)
    good.asked.clear()
    opened(good, offline)
    assert good.asked == []


def test_a_release_that_was_asked_for_just_now_need_not_be_asked_for_again(good: Archive, fetcher: Fetcher) -> None:
    opened(good, fetcher)
    (store,) = (fetcher.paths.indexes / "release").iterdir()
    patient = Fetcher(fetcher.paths, fetcher.downloader, max_age=600)
    good.asked.clear()
    opened(good, patient)
    assert good.asked == []
    os.utime(store, (0, 0))
    opened(good, patient)
    assert good.asked == ["/dists/bookworm/InRelease"]  # and the answer, that nothing is new, counts from now on
    opened(good, patient)
    assert len(good.asked) == 1
    with pytest.raises(NetworkError, match=r"has expired|is too old"):
        opened(good, patient, Later(40 * 24 * 3600))  # what is verified and dated is so each time
    other = source(good, keys=Keys(files=()))
    with pytest.raises(NetworkError):
        open_repositories([other], "amd64", patient)


def test_a_changed_release_is_refused(good: Archive, fetcher: Fetcher) -> None:
    data = (top(good) / "InRelease").read_bytes()
    (top(good) / "InRelease").write_bytes(data.replace(b"Origin: Test", b"Origin: Evil"))
    error = refused(good, fetcher)
    assert "bad signature" in error.what and error.where == HERE


def test_text_around_the_signed_text_is_not_read(good: Archive, fetcher: Fetcher) -> None:
    data = (top(good) / "InRelease").read_bytes()
    (top(good) / "InRelease").write_bytes(b"Origin: Evil\nCodename: bookworm\n\n" + data)
    try:
        assert opened(good, fetcher).archive.origin == "Test"
    except NetworkError:
        pass  # refusing it is as good


def test_an_unsigned_archive_is_refused(good: Archive, fetcher: Fetcher) -> None:
    good.publish(signed=False)
    error = refused(good, fetcher)
    assert "is not signed" in error.what and "neither InRelease nor Release.gpg" in error.why


def test_an_inrelease_without_a_signature_is_refused(good: Archive, fetcher: Fetcher) -> None:
    (top(good) / "InRelease").write_bytes((top(good) / "Release").read_bytes())
    assert "not signed" in refused(good, fetcher).what


def test_a_key_that_is_not_trusted_is_refused_by_its_name(good: Archive, fetcher: Fetcher, tmp_path: Path) -> None:
    other = Archive(good.folder, tmp_path / "other")
    other.gnupg.mkdir(mode=0o700)
    new_key(other)
    error = refused(good, fetcher, keys=Keys(files=(other.key,)))
    assert "signed by no key that is trusted" in error.what and str(other.key) in error.why
    subprocess.run(["gpgconf", "--homedir", str(other.gnupg), "--kill", "all"], check=False)


def test_one_valid_signature_of_several_is_enough(good: Archive, fetcher: Fetcher, tmp_path: Path) -> None:
    run(
        [
            *good.gpg,
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            "--quick-generate-key",
            "Second",
            "ed25519",
            "sign",
        ]
    )
    (top(good) / "InRelease").unlink()
    both = ["--local-user", "test@example.com", "--local-user", "Second"]
    run([*good.gpg, *both, "--clear-sign", "-o", top(good) / "InRelease", top(good) / "Release"])
    assert opened(good, fetcher).archive.id == "Test/bookworm"


def test_a_key_that_has_expired_is_refused(good: Archive, fetcher: Fetcher, tmp_path: Path) -> None:
    old = Archive(good.folder, tmp_path / "old")
    old.gnupg.mkdir(mode=0o700)
    words = ["--pinentry-mode", "loopback", "--passphrase", "", "--faked-system-time", "20200101T000000"]
    run([*old.gpg, *words, "--quick-generate-key", "Old <old@example.com>", "ed25519", "sign", "1y"])
    run([*old.gpg, "--export", "-o", old.key])
    (top(good) / "InRelease").unlink()
    signing = ["--faked-system-time", "20200102T000000", "--clear-sign", "-o", str(top(good) / "InRelease")]
    run([*old.gpg, *words[:4], *signing, top(good) / "Release"])
    error = refused(good, fetcher, keys=Keys(files=(old.key,)))
    subprocess.run(["gpgconf", "--homedir", str(old.gnupg), "--kill", "all"], check=False)
    assert "expired" in error.what and "2020-12-31" in error.why


def test_a_subkey_that_has_expired_is_refused(good: Archive, fetcher: Fetcher, tmp_path: Path) -> None:
    old = Archive(good.folder, tmp_path / "sub")
    old.gnupg.mkdir(mode=0o700)
    words = ["--pinentry-mode", "loopback", "--passphrase", "", "--faked-system-time", "20200101T000000"]
    run([*old.gpg, *words, "--quick-generate-key", "Sub <sub@example.com>", "ed25519", "cert", "0"])
    listed = run([*old.gpg, "--with-colons", "--list-keys"]).out
    print_ = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    words[-1] = "20200101T010000"  # gpg's clock ran on during the first command
    run([*old.gpg, *words, "--quick-add-key", print_, "ed25519", "sign", "1y"])
    run([*old.gpg, "--export", "-o", old.key])
    (top(good) / "InRelease").unlink()
    signing = ["--faked-system-time", "20200102T000000", "--clear-sign", "-o", str(top(good) / "InRelease")]
    run([*old.gpg, *words[:4], *signing, top(good) / "Release"])
    assert "has expired" in refused(good, fetcher, keys=Keys(files=(old.key,))).what
    subprocess.run(["gpgconf", "--homedir", str(old.gnupg), "--kill", "all"], check=False)


def test_fingerprints_inline_keys_and_armour(good: Archive, fetcher: Fetcher, tmp_path: Path) -> None:
    armoured = run([*good.gpg, "--armor", "--export", "test@example.com"]).out
    assert opened(good, fetcher, keys=Keys(inline=armoured)).archive.origin == "Test"
    (tmp_path / "key.asc").write_text(armoured)
    listed = run([*good.gpg, "--with-colons", "--list-keys", "test@example.com"]).out
    print_ = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    files = (tmp_path / "key.asc",)
    assert opened(good, fetcher, keys=Keys(files=files, fingerprints=(print_.lower(),))).archive.origin == "Test"
    with pytest.raises(NetworkError, match="not signed by the key that its source names"):
        opened(good, fetcher, keys=Keys(files=files, fingerprints=("0" * 40,)))


def test_no_keys_at_all_say_which_package_has_them(
    good: Archive, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stackbuild.packages.signature.default_keyrings", lambda root=None: ())
    error = refused(good, fetcher, keys=Keys())
    assert "no keys to verify it with" in error.what and "debian-archive-keyring" in error.hints[0].command


@pytest.mark.parametrize(("content", "says"), [(None, "not readable"), (b"no key", "no OpenPGP keyring")])
def test_a_keyring_that_is_none(
    good: Archive, fetcher: Fetcher, tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "key.gpg").write_bytes(content)
    assert says in refused(good, fetcher, keys=Keys(files=(tmp_path / "key.gpg",))).what


def test_an_expired_index_is_refused_unless_the_source_allows_it(good: Archive, fetcher: Fetcher) -> None:
    good.publish(valid_for=-3600)
    error = refused(good, fetcher)
    assert "has expired" in error.what and "valid until" in error.why and "check-valid-until" in error.hints[1].text
    assert opened(good, fetcher, check_valid_until=False).archive.origin == "Test"


def test_a_replayed_index_is_refused_once_it_is_too_old(good: Archive, fetcher: Fetcher) -> None:
    opened(good, fetcher)
    with pytest.raises(NetworkError, match="has expired"):
        opened(good, fetcher, Later(10 * 86400))


def test_an_index_from_the_future_is_refused(good: Archive, fetcher: Fetcher) -> None:
    assert "from the future" in refused(good, fetcher, Later(-30 * 86400)).what
    assert opened(good, fetcher, Later(-30 * 86400), check_date=False).archive.origin == "Test"


def test_an_older_index_than_the_last_one_does_not_take_its_place(good: Archive, fetcher: Fetcher) -> None:
    before = (top(good) / "InRelease").read_bytes()
    data = (top(good) / "Release").read_text()
    lines = [
        line if not line.startswith("Date:") else "Date: Thu, 01 Jan 2026 00:00:00 UTC" for line in data.splitlines()
    ]
    (top(good) / "Release").write_text("\n".join(lines) + "\n")
    newer = opened(good, fetcher).archive
    (top(good) / "InRelease").unlink()
    run([*good.gpg, "--clear-sign", "-o", top(good) / "InRelease", top(good) / "Release"])
    os.utime(top(good) / "InRelease", (2**31, 2**31))  # a server knows no time finer than a second
    assert before != (top(good) / "InRelease").read_bytes()
    events: list[Event] = []
    again = Fetcher(fetcher.paths, fetcher.downloader, events.append)
    assert opened(good, again).archive == newer
    assert any(isinstance(e, Note) and "older index" in e.text for e in events)


def test_an_index_older_than_that_of_the_lock_is_refused(good: Archive, stackbuild: Stackbuild) -> None:
    """An attacker, or a mirror that is behind, offers what was signed before a fix: still valid, but not the newest."""
    project = stack_of(good, stackbuild.folder, ["hello"])
    good.publish(age=7200)
    old = project.parent / "old"
    shutil.copytree(good.folder / "dists", old)
    newer = good.package("hello", "1.1")
    good.publish(age=3600)
    newer.unlink()
    stackbuild("lock")
    shutil.rmtree(good.folder / "dists")
    shutil.copytree(old, good.folder / "dists")
    later = time.time() + 3600  # or the server says that it is what this store has
    os.utime(top(good) / "InRelease", (later, later))
    kept = stackbuild("lock", "--update")  # this store knows the newer index
    assert "offers an older index than before, which is refused" in kept.err and "up to date" in kept.out
    elsewhere = stackbuild.at(store=project.parent / "new-store")  # this one knows it from the lock alone
    error = elsewhere("lock", "--update", code=4).err
    assert "the index of Test/bookworm is older than the one that stack.lock was made from" in error
    assert "replays" in error and 'version = "1.1"' in (project / "stack.lock").read_text()


def test_an_index_of_another_suite_is_refused(good: Archive, fetcher: Fetcher) -> None:
    (good.folder / "dists/bookworm-security").symlink_to("bookworm")
    error = refused(good, fetcher, suite="bookworm-security")
    assert "that of another suite: bookworm / stable, not bookworm-security" in error.what


@pytest.mark.parametrize(
    ("fault", "says"),
    [("lie", "wrong digest"), ("truncate", "truncated"), ("refuse", "cannot fetch"), ("missing", "no longer on")],
)
def test_a_packages_file_that_is_not_the_promised_one(good: Archive, fetcher: Fetcher, fault: str, says: str) -> None:
    good.faults["Packages"] = fault
    error = refused(good, fetcher)
    assert says in f"{error.what}: {error.why}"
    good.faults.clear()
    assert opened(good, fetcher).archive.origin == "Test"  # nothing of the bad bytes is in the way


@pytest.mark.parametrize(("fault", "says"), [("truncate", "truncated"), ("refuse", "status 503")])
def test_a_release_that_does_not_come_whole(good: Archive, fetcher: Fetcher, fault: str, says: str) -> None:
    good.faults["Release"] = fault
    error = refused(good, fetcher)
    assert says in f"{error.what}: {error.why}" and error.where == HERE


def test_a_place_without_an_archive_and_one_that_refuses(good: Archive, fetcher: Fetcher) -> None:
    assert "there is no archive at" in refused(good, fetcher, suite="nowhere").what
    good.faults["Release"] = "forbid"
    error = refused(good, fetcher)
    assert "status 403" in error.why and "auth.conf.d" in error.hints[1].text
    error = refused(good, fetcher, url=f"http://127.0.0.1:{free_port()}")
    assert "no answer" in error.what and error.where == HERE


def test_a_component_or_architecture_that_is_missing(good: Archive, fetcher: Fetcher) -> None:
    assert "has the components main" in refused(good, fetcher, components=("contrib",)).why
    with pytest.raises(NetworkError, match="has the architectures amd64"):
        open_repositories([source(good)], "s390x", fetcher)


def test_a_trusted_source_needs_no_signature_and_says_so(good: Archive, tmp_path: Path) -> None:
    good.publish(signed=False)
    events: list[Event] = []
    fetcher = Fetcher(StorePaths(tmp_path / "store"), Client(policy=Policy(retries=0)), events.append)
    assert opened(good, fetcher, trusted=True, keys=Keys()).archive.origin == "Test"
    assert any(isinstance(e, Note) and "nothing proves" in e.text for e in events)


def test_a_local_archive_by_file_url(good: Archive, fetcher: Fetcher) -> None:
    assert opened(good, fetcher, url=f"file://{good.folder}").archive.origin == "Test"


def test_indexes_by_hash_are_fetched_by_hash(good: Archive, fetcher: Fetcher) -> None:
    index = top(good) / "main/binary-amd64"
    digest = hashlib.sha256((index / "Packages.xz").read_bytes()).hexdigest()
    (index / "by-hash/SHA256").mkdir(parents=True)
    (index / "Packages.xz").rename(index / "by-hash/SHA256" / digest)
    text = (top(good) / "Release").read_text()
    (top(good) / "Release").write_text("Acquire-By-Hash: yes\n" + text)
    good.sign(top(good))
    good.asked.clear()
    opened(good, fetcher)
    assert f"/dists/bookworm/main/binary-amd64/by-hash/SHA256/{digest}" in good.asked


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(8 << 20))
    with pytest.raises(NetworkError, match="larger than promised"):
        decompress(bomb, "Packages.gz", 1 << 20)
    with pytest.raises(NetworkError, match="cannot be decompressed"):
        decompress(b"garbage", "Packages.xz", 1 << 20)


def test_hostile_entries_of_an_index_are_left_out_and_counted(good: Archive, tmp_path: Path) -> None:
    index = top(good) / "main/binary-amd64"
    plain = (index / "Packages").read_text().strip()
    bad = [
        plain.replace("Filename: pool/", "Filename: ../../"),
        plain.replace("Package: hello", "Package: ../hello"),
        plain.replace("Version: 1.0", "Version: 1.0\x1b[2J"),
        plain.replace("Size: ", "Size: -"),
        "no fields here",
    ]
    (index / "Packages").write_text("\n\n".join([plain, *bad]))
    (index / "Packages.xz").unlink()
    run(["apt-ftparchive", "-o", "APT::FTPArchive::Release::Codename=bookworm", "release", top(good)])
    out = subprocess.run(["apt-ftparchive", "-o", "APT::FTPArchive::Release::Codename=bookworm", "release", "."],
                         cwd=top(good), capture_output=True, check=True).stdout  # fmt: skip
    (top(good) / "Release").write_bytes(out)
    good.sign(top(good))
    events: list[Event] = []
    fetcher = Fetcher(StorePaths(tmp_path / "store"), Client(policy=Policy(retries=0)), events.append)
    (read,) = opened(good, fetcher).indexes
    assert [p.name for p in read.all(None)] == ["hello"]
    assert any(isinstance(e, Note) and "5 entries" in e.text for e in events)
