"""`install = ["tool:i386"]` on a base image whose dpkg knows i386: twins are built by its dpkg, and move together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive import Archive, archive, stack_of
from tests.conftest import Hello, Stackbuild
from tests.machine import need_root

SHELL = '[image]\nentrypoint = ["sh", "-c"]\n'
LISTED = "dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\\n' 'libpair*' 'tool*'; dpkg --audit"


def publish(made: Archive, version: str) -> None:
    """libpair for both architectures, with a file that both share; tool for i386 alone, whose script needs no i386."""
    for architecture in made.architectures:
        files = {f"usr/lib/{architecture}/libpair": version, "usr/share/libpair": f"shared {version}\n"}
        made.package("libpair", version, architecture=architecture, files=files, Multi_Arch="same")
    script = "#!/bin/sh\nset -e\ncat /usr/lib/i386/libpair > /var/lib/tool\n"
    files = {"usr/share/tool": "tool\n", "DEBIAN/postinst": script}
    made.package("tool", version, depends=f"libpair (= {version}), dpkg", files=files, architecture="i386")
    made.publish()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Archive]:
    with archive(tmp_path / "archive") as found:
        found.architectures = ("amd64", "i386")
        publish(found, "1.0")
        yield found


def on(project: Path, base: str) -> None:
    file = project / "stack.toml"
    said = 'distro = "debian/bookworm"\nvariant = "custom"'
    assert said in file.read_text()
    file.write_text(file.read_text().replace(said, f'image = "{base}"'))


def test_twins_are_installed_by_the_bases_dpkg_and_move_together(
    made: Archive, stackbuild: Stackbuild, hello: Hello, tmp_path: Path
) -> None:
    need_root()
    base = stackbuild.at(tmp_path / "base", stackbuild.store)
    arch = '[[layer]]\nname = "arch"\nfiles = [{ path = "/var/lib/dpkg/arch", content = "amd64\\ni386\\n" }]\n'
    on(stack_of(made, base.folder, [], arch), f"oci:{hello.layout}:hello:latest")
    base("build", "--to", f"oci:{tmp_path}/one:base")

    project = stack_of(made, stackbuild.folder, ["tool:i386", "libpair"], SHELL)
    on(project, f"oci:{tmp_path}/one:base")
    stackbuild("build", "--to", f"oci:{tmp_path}/two:twins")
    out = stackbuild("run", "small", f"{LISTED}; cat /var/lib/tool; ls /usr/lib/*/libpair").out
    assert out.splitlines() == [
        "ii  libpair:amd64 1.0", "ii  libpair:i386 1.0", "ii  tool:i386 1.0",
        "1.0/usr/lib/amd64/libpair", "/usr/lib/i386/libpair",
    ]  # fmt: skip
    chain = stackbuild("why", "libpair:i386").out.splitlines()
    assert chain == ["tool:i386 1.0 (asked for)", "└─ depends libpair:i386 1.0"]

    publish(made, "2.0")
    again = stackbuild.at(tmp_path / "again", stackbuild.store)
    on(stack_of(made, again.folder, ["libpair=2.0"], SHELL), f"oci:{tmp_path}/two:twins")
    again("lock")  # asks for newer indexes, which a build does at most every ten minutes
    again("build")
    assert again("run", "small", LISTED).out.splitlines() == [
        "ii  libpair:amd64 2.0", "ii  libpair:i386 2.0", "ii  tool:i386 2.0",
    ]  # fmt: skip
    assert again("tree").out.splitlines() == [
        "libpair 2.0 (the base image has 1.0)", "tool:i386 2.0 (the base image has 1.0)",
        "└─ libpair:i386 2.0 (the base image has 1.0)",
    ]  # fmt: skip
