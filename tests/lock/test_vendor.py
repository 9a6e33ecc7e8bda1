"""`lock --vendor DIR`: every locked file in the project, used before any mirror, checked like a download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.errors import NetworkError, UsageError
from stackbuild.core.paths import StorePaths
from stackbuild.lock.lock import LockFile
from stackbuild.lock.vendor import file_names, folder_of, take
from stackbuild.net.client import Client
from stackbuild.packages.fetch import Fetcher
from tests.archive import Archive, archive, stack_of
from tests.conftest import Stackbuild


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archive(tmp_path_factory.mktemp("archive")) as found:
        found.package("lib", "1:2")
        found.package("app", "1.0", depends="lib")
        found.publish()
        yield found


def debs(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*"))


def test_a_vendored_lock_builds_without_its_archive(made: Archive, stackbuild: Stackbuild) -> None:
    stack_of(made, stackbuild.folder, ["app"])
    project = stackbuild.folder
    stackbuild("lock", "--vendor", "third-party/debs")
    vendor = project / "third-party/debs"
    assert debs(vendor) == ["app_1.0_all.deb", "lib_1%3a2_all.deb"]
    lock = LockFile(project / "stack.lock").read()
    assert lock is not None and lock.vendor == "third-party/debs"
    made.asked.clear()
    made.faults["/"] = "refuse"
    elsewhere = Stackbuild(project, project.parent / "new-store", environ=stackbuild.environ)
    said = elsewhere("build", "--locked", "--offline", code=2).err  # it has no dpkg: both are unpacked, that is enough
    assert said.count("unpack/") == 4 and said.count(" done ") == 2
    assert made.asked == []

    made.faults.clear()  # a new lock brings the folder along: files that it does not name any more go, others stay
    (vendor / "own.deb").write_text("mine")
    made.package("app", "2.0", depends="lib")
    made.publish()
    (vendor / "lib_1%3a2_all.deb").write_text("damaged")
    stackbuild("lock", "--update")
    assert debs(vendor) == ["app_2.0_all.deb", "lib_1%3a2_all.deb", "own.deb"]
    assert (vendor / "lib_1%3a2_all.deb").stat().st_size > 100
    stackbuild("lock", "--vendor", "")
    lock = LockFile(project / "stack.lock").read()
    assert lock is not None and lock.vendor == ""


def test_a_vendored_file_with_other_bytes_is_refused(made: Archive, stackbuild: Stackbuild, tmp_path: Path) -> None:
    stack_of(made, stackbuild.folder, ["app"])
    stackbuild("lock", "--vendor", "vendor")
    lock = LockFile(stackbuild.folder / "stack.lock").read()
    assert lock is not None
    file = stackbuild.folder / "vendor/app_1.0_all.deb"
    package = file_names(lock)[file.name]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    fetcher = Fetcher(StorePaths(tmp_path / "other"), Client())
    with pytest.raises(NetworkError, match=r"vendor/app_1\.0_all\.deb is not what the lock says"):
        take(stackbuild.folder, "vendor", package, fetcher)
    assert not fetcher.path(package.sha256).exists()
    file.unlink()
    assert not take(stackbuild.folder, "vendor", package, fetcher)  # a mirror is asked then
    file.symlink_to(made.folder / "pool/app_1.0_all.deb")
    with pytest.raises(NetworkError, match="cannot be used"):
        take(stackbuild.folder, "vendor", package, fetcher)


def test_the_folder_is_below_the_project(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/out").symlink_to(tmp_path)
    for wrong in ("..", ".", "/srv", "out/debs", "a b", "a/../.."):
        with pytest.raises(UsageError):
            folder_of(tmp_path / "p", wrong)
    assert folder_of(tmp_path / "p", "./vendor/") == "vendor"
