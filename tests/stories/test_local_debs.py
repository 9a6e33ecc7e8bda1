"""`install = ["./dist/tool.deb"]`: a package file of the project, with what it needs of the archive, built and run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.paths import StorePaths
from tests.archive import Archive, archive, stack_of
from tests.conftest import Hello, Stackbuild
from tests.machine import need_root
from tests.projects import busybox


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Archive]:
    with archive(tmp_path / "archive") as found:
        found.package("shell", files={"bin/sh": Path(busybox())})
        found.publish()
        yield found


def tool(made: Archive, project: Path, text: str) -> Path:
    files = {"usr/bin/tool": f"#!/bin/sh\necho {text}\n", "DEBIAN/postinst": "#!/bin/sh\ntool > /var/lib/tool\n"}
    return made.package("tool", depends="shell", files=files, to=project / "dist")


def test_a_package_file_is_built_and_run_and_a_changed_one_makes_the_lock_stale(
    made: Archive, stackbuild: Stackbuild
) -> None:
    project = stack_of(made, stackbuild.folder, ["./dist/tool_1.0_all.deb"])
    file = project / "stack.toml"
    file.write_text(file.read_text().replace("[packages]", '[packages]\nscripts = "skip"'))
    missing = stackbuild("lock", code=2).err
    assert (
        "there is no ./dist/tool_1.0_all.deb" in missing and "stack.toml:8" in missing and "build it first" in missing
    )
    deb = tool(made, project, "one")
    first = stackbuild("build").out
    assert stackbuild("run", "small", "tool").out == "one\n"
    assert "shell 1.0" in stackbuild("tree").out
    assert "asked for as ./dist/tool_1.0_all.deb" in stackbuild("why", "shell").out

    bytes_ = deb.read_bytes()
    deb.unlink()
    gone = stackbuild("why", "shell")  # from the lock alone
    assert "└─ depends shell 1.0" in gone.out and "is stale" in gone.err
    assert "there is no ./dist/tool_1.0_all.deb" in stackbuild("build", "--locked", code=2).err
    made.faults["/"] = "refuse"  # another time of the same bytes is the same: no step runs, nobody is asked
    deb.write_bytes(bytes_)
    assert "up to date" in stackbuild("lock", "--check").out
    assert stackbuild("build", "--locked", "--fail-if-run").out == first
    made.faults.clear()

    shutil.copy(project / "stack.lock", project / "old.lock")
    tool(made, project, "two")
    for words in (["lock", "--check"], ["build", "--locked"]):
        stale = stackbuild(*words, code=2).err
        assert "stack.lock is stale" in stale and "./dist/tool_1.0_all.deb has changed" in stale
    assert stackbuild("build").out != first and stackbuild("run", "small", "tool").out == "two\n"
    told = stackbuild("diff", "old.lock", "stack.lock").out
    assert told == "tool 1.0 with other content (./dist/tool_1.0_all.deb)\n"


def test_from_a_clean_clone_the_vendor_folder_and_the_file_are_enough(
    made: Archive, stackbuild: Stackbuild, tmp_path: Path
) -> None:
    project = stack_of(made, stackbuild.folder, ["./dist/"])
    file = project / "stack.toml"
    file.write_text(file.read_text().replace("[packages]", '[packages]\nscripts = "skip"'))
    tool(made, project, "one")
    stackbuild("lock", "--vendor", "vendor")
    assert [path.name for path in (project / "vendor").iterdir()] == ["shell_1.0_all.deb"]  # the other is there already
    first = stackbuild("build").out
    clone = Path(shutil.copytree(project, tmp_path / "clone"))
    elsewhere = stackbuild.at(clone, tmp_path / "new-store")
    made.faults["/"] = "refuse"
    made.asked.clear()
    assert elsewhere("build", "--locked").out == first and made.asked == []
    assert elsewhere("run", "small", "tool").out == "one\n"
    assert list((StorePaths(tmp_path / "new-store").packages / "sha256").iterdir())


def test_its_scripts_run_on_top_of_a_base_image(made: Archive, stackbuild: Stackbuild, hello: Hello) -> None:
    """dpkg of the base unpacks and configures it; what it needs comes from the archive."""
    need_root()
    made.package("extra", files={"usr/share/extra": "extra\n"})
    made.publish()
    project = stack_of(made, stackbuild.folder, ["./dist/"], '[image]\nentrypoint = ["sh", "-c"]\n')
    script = "#!/bin/sh\nset -e\ncat /usr/share/extra > /var/lib/tool\n"
    files = {"usr/bin/tool": "#!/bin/sh\ncat /var/lib/tool\n", "DEBIAN/postinst": script}
    made.package("tool", depends="extra, dpkg", files=files, to=project / "dist")
    file = project / "stack.toml"
    base = f'image = "oci:{hello.layout}:hello:latest"'
    file.write_text(file.read_text().replace('distro = "debian/bookworm"\nvariant = "custom"', base))
    stackbuild("build")
    listed = "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n' tool extra; dpkg --audit; tool"
    assert stackbuild("run", "small", listed).out == "ii  extra\nii  tool\nextra\n"
