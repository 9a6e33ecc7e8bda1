"""A build with stages as its users see it: built in one place, shipped from another, and only what must run runs."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.archive import archive, stack_of
from tests.conftest import Stackbuild
from tests.machine import need_root
from tests.projects import busybox

pytestmark = pytest.mark.root

STACK = """\
[stack]
name = "staged"
[base]
scratch = true

[[stages.builder.layer]]
name = "tools"
copy = [{ from = "bin/busybox", to = "/bin/busybox", mode = "0755" }]
[[stages.builder.layer]]
name = "links"
files = [{ path = "/bin/sh", link = "busybox" }, { path = "/etc/passwd", content = "root:x:0:0:root:/:/bin/sh\\n" }]
[[stages.builder.layer]]
name = "compile"
inputs = ["src/"]
run = [
  "/bin/busybox mkdir -p /app/dist/deep",
  "/bin/busybox head -n 1 /src/src/main > /app/dist/program",
  "/bin/busybox chmod 0750 /app/dist/program",
  "/bin/busybox chown 7:8 /app/dist/program",
  "echo map > /app/dist/deep/program.map",
  "/bin/busybox ln -s ../program /app/dist/deep/link",
]
[[stages.second.layer]]
name = "again"
copy = [{ stage = "builder", from = "/app/dist/program", to = "/from/builder" }]
[[stages.idle.layer]]
name = "never"
run = ["exit 1"]

[[layer]]
name = "assets"
copy = [
  { stage = "builder", from = "/app/dist", to = "/srv/", exclude = ["*.map"] },
  { from = "src/main", to = "/srv/source" },
  { stage = "second", from = "/from", to = "/copies" },
]
[image]
cmd = ["/srv/program"]
"""


@pytest.fixture
def staged(stackbuild: Stackbuild) -> Stackbuild:
    need_root()
    (stackbuild.folder / "bin").mkdir()
    shutil.copy(busybox(), stackbuild.folder / "bin/busybox")
    (stackbuild.folder / "src").mkdir()
    (stackbuild.folder / "src/main").write_text("first\nsecond\n")
    (stackbuild.folder / "stack.toml").write_text(STACK)
    return stackbuild


def ran(err: str) -> set[str]:
    """The steps that a build said it started."""
    return {line.split()[1] for line in err.splitlines() if line.startswith("=> ") and "/" in line and " (" in line}


def test_what_was_built_in_a_stage_is_all_that_reaches_the_image(staged: Stackbuild, tmp_path: Path) -> None:
    out = tmp_path / "image.tar"
    built = staged("build", "--progress", "plain", "--to", f"docker-archive:{out}")
    assert "stages.builder/run/compile" in ran(built.err) and "stages.idle" not in built.err
    with tarfile.open(out) as archive:
        [manifest] = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
        files: dict[str, tarfile.TarInfo] = {}
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as inner:
                files |= {member.name: member for member in inner if not member.isdir()}
    assert set(files) == {"srv/program", "srv/deep/link", "srv/source", "copies/builder"}
    program = files["srv/program"]
    assert (program.mode, program.uid, program.gid, program.size) == (0o750, 0, 0, len("first\n"))

    (staged.folder / "src/main").write_text("first\nanother\n")
    again = staged("build", "--progress", "plain")
    assert {"stages.builder/run/compile"} < ran(again.err) and "copy/assets" in ran(again.err)
    assert "pick/assets/0" not in ran(again.err), "the stage came to the same bytes: nothing that reads it runs"

    text = (staged.folder / "stack.toml").read_text()
    (staged.folder / "stack.toml").write_text(text.replace('"echo map > ', '"echo more > '))
    third = staged("build", "--progress", "plain")
    assert "stages.builder/run/compile" in ran(third.err)
    assert "copy/assets" not in ran(third.err) and third.out == again.out, third.err
    assert "image  cached" in staged("plan").out.replace("image cached", "image  cached")


MEET = """
[[{table}layer]]
name = "tools"
copy = [{{ from = "bin/busybox", to = "/bin/busybox", mode = "0755" }}]
[[{table}layer]]
name = "links"
files = [{{ path = "/bin/sh", link = "busybox" }}]
[[{table}layer]]
name = "meet"
caches = [{{ path = "/meet", sharing = "shared" }}]
run = [
  "echo {mine} > /meet/{mine}",
  "for n in $(/bin/busybox seq 200); do [ -e /meet/{other} ] || /bin/busybox sleep 0.1; done; [ -e /meet/{other} ]",
  "echo {mine} > /{mine}",
]
"""


def test_a_stage_is_built_beside_the_image(staged: Stackbuild) -> None:
    """A step of the stage and one of the image wait for each other: apart, neither would end well."""
    text = '[stack]\nname = "x"\n[base]\nscratch = true\n[build]\nsandboxes = 2\n'
    text += MEET.format(table="stages.kit.", mine="kit", other="image") + MEET.format(
        table="", mine="image", other="kit"
    )
    text += '[[layer]]\nname = "both"\ncopy = [{ stage = "kit", from = "/kit", to = "/kit" }]\n'
    (staged.folder / "stack.toml").write_text(text)
    assert {"run/meet", "stages.kit/run/meet"} <= ran(staged("build", "-j", "2", "--progress", "plain").err)


def test_packages_of_a_stage_are_locked_and_fetched_by_its_own_sources(stackbuild: Stackbuild, tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as made:
        made.package("tool", depends="library", files={"usr/bin/tool": "x"})
        made.package("library")
        made.publish()
        folder = stack_of(made, tmp_path / "project", [])
        source = made.source().replace("[[packages.source]]", "[[stages.kit.packages.source]]")
        (folder / "stack.toml").write_text(
            '[stack]\nname = "x"\n[base]\nscratch = true\n[stages.kit]\nbase.distro = "debian/bookworm"\n'
            f'base.variant = "custom"\npackages.install = ["tool"]\n{source}'
        )
        here = stackbuild.at(folder)
        here("build", "stages.kit/unpack")
        lock = (folder / "stack.lock").read_text()
        assert '[[platform."linux/amd64".stage.kit.package]]' in lock
        assert "linux/amd64 stage kit:" in here("why", "library").out and "tool 1.0" in here("why", "library").out
        assert here("lock", "--check").code == 0
        shutil.copy(folder / "stack.lock", folder / "old.lock")
        made.package("tool", version="2.0", files={"usr/bin/tool": "y"})
        made.publish()
        assert "tool 1.0 → 2.0 (stage kit)" in here("outdated").out
        here("lock", "--update")
        assert "tool 1.0 → 2.0 (stage kit)" in here("diff", "old.lock", "stack.lock").out
        here("build", "--locked", "stages.kit/unpack")


def test_a_stage_is_a_target_and_its_failure_names_it(staged: Stackbuild) -> None:
    assert "stages.builder/run/compile" in staged("plan", "stages.builder/compile").out
    failed = staged("build", "stages.idle", code=1)
    assert "stages.idle/run/never" in failed.err
    text = (staged.folder / "stack.toml").read_text()
    (staged.folder / "stack.toml").write_text(text.replace('from = "/app/dist",', 'from = "/app/dits",'))
    missing = staged("build", code=1)
    assert "there is no `/app/dits` in the stage" in missing.err and "/app/dist" in missing.err
