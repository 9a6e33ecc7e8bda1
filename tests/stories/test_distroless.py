"""Packages without their scripts: the image starts, scanners can read it, and what scripts leave is there."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.engines import podman as podman_of
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from tests.conftest import Person, Stackbuild
from tests.machine import need, once, run

STACK = """\
[stack]
name = "distroless"
recipes = [{ use = "distroless", with = { packages = ["python3-minimal"] } }]

[image]
entrypoint = ["/usr/bin/python3", "-c"]
cmd = ["import os, pwd; print(os.getuid(), pwd.getpwuid(65532).pw_name, os.getcwd())"]
"""


@pytest.fixture(scope="module")
def made(shared: Path) -> Path:
    """A folder with the project, its store, and the image's tree in `root`."""

    def make(folder: Path) -> None:
        (folder / "project").mkdir(parents=True)
        (folder / "project/stack.toml").write_text(STACK)
        ran = Stackbuild(folder / "project", folder / "store")("build", "--to", f"rootfs:{folder / 'root'}")
        (folder / "digest").write_text(ran.out.strip())
        (folder / "told").write_text(ran.err)

    return once(shared / "distroless", make)


def test_its_program_runs_as_the_user_of_the_stack(made: Path) -> None:
    ran = Stackbuild(made / "project", made / "store")("run", "distroless:latest")
    assert ran.out == "65532 nonroot /home/nonroot\n"


def test_nothing_of_dpkg_is_needed_and_no_script_is_kept(made: Path) -> None:
    root = made / "root"
    assert not (root / "usr/bin/apt").exists() and not (root / "bin/sh").exists()
    assert not list((root / "var/lib/dpkg/info").glob("*")) and not (root / "var/lib/dpkg/status").exists()
    assert "nothing stands in for those of" in (made / "told").read_text()
    assert "base-files" not in (made / "told").read_text().partition("nothing stands in")[2].splitlines()[0]


def test_scanners_find_each_package_with_sums_that_hold(made: Path) -> None:
    """As distroless images have it: one control paragraph a file, named as its package, and md5sums beside it."""
    folder = made / "root/var/lib/dpkg/status.d"
    lock = (made / "project/stack.lock").read_text()
    files = [path for path in folder.iterdir() if path.suffix != ".md5sums"]
    assert {"base-files", "libc6", "python3-minimal", "ca-certificates"} <= {path.name for path in files}
    checked = 0
    for file in files:
        text = run([need("dpkg-query"), "--admindir", admin(made, file), "-W", "-f", "${Package} ${Version}"]).out
        assert text.split()[0] == file.name and f'version = "{text.split()[1]}"' in lock
        for line in Path(f"{file}.md5sums").read_text().splitlines():
            digest, _, path = line.partition("  ")
            assert not path.startswith("usr/share/man/")
            place = made / "root" / path
            assert hashlib.md5(place.read_bytes()).hexdigest() == digest, path
            checked += 1
    assert checked > 500


def admin(made: Path, file: Path) -> Path:
    """dpkg's own parser on one file: a database that holds nothing else, with the Status line that it insists on."""
    place = made / "admin"
    shutil.rmtree(place, ignore_errors=True)
    (place / "info").mkdir(parents=True)
    (place / "updates").mkdir()
    text = file.read_text()
    assert text.count("\n\n") == 0 and text.startswith("Package: ") and "\nStatus:" not in text
    (place / "status").write_text(text.replace("\n", "\nStatus: install ok installed\n", 1))
    return place


def test_the_linker_cache_says_what_ldconfig_says(made: Path, tmp_path: Path) -> None:
    ours = run([need("ldconfig"), "-p", "-C", made / "root/etc/ld.so.cache"]).out.splitlines()[1:]
    copy = tmp_path / "copy"
    shutil.copytree(made / "root", copy, symlinks=True)
    (copy / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    run([need("ldconfig"), "-r", copy])
    theirs = run([need("ldconfig"), "-p", "-C", copy / "etc/ld.so.cache"]).out.splitlines()[1:]
    assert ours == [line for line in theirs if not line.startswith("Cache generated")] and len(ours) > 20


def test_certificates_clock_names_and_alternatives_are_there(made: Path) -> None:
    etc = made / "root/etc"
    shipped = list((made / "root/usr/share/ca-certificates").rglob("*.crt"))
    assert (etc / "ssl/certs/ca-certificates.crt").read_bytes().count(b"BEGIN CERTIFICATE") == len(shipped) > 50
    verify = ["/usr/bin/openssl", "verify", "-CApath", "/etc/ssl/certs", "-no-CAfile", "-no-CAstore"]
    inside = "/" + str(shipped[0].relative_to(made / "root"))
    assert run([need("chroot"), made / "root", *verify, inside]).out.endswith(": OK\n")
    assert os.readlink(etc / "localtime") == "/usr/share/zoneinfo/Etc/UTC"
    assert os.readlink(made / "root/usr/bin/awk") == "/etc/alternatives/awk"
    assert os.readlink(etc / "alternatives/awk") == "/usr/bin/mawk"
    assert "hosts:          files dns" in (etc / "nsswitch.conf").read_text()
    names = [line.split(":")[0] for line in (etc / "passwd").read_text().splitlines()]
    assert names == ["root", "nobody", "nonroot"] and (etc / "shadow").stat().st_mode & 0o777 == 0o640


def test_it_is_the_same_in_the_chroot_sandbox_elsewhere(made: Path, tmp_path: Path) -> None:
    project = shutil.copytree(made / "project", tmp_path / "else where")
    store = tmp_path / "store"
    store.mkdir()
    shutil.copytree(made / "store/packages.v1", store / "packages.v1")
    ran = Stackbuild(project, store, environ={"STACKBUILD_SANDBOX": "chroot", "TZ": "Asia/Tokyo"})(
        "--offline", "build", "--locked"
    )
    assert ran.out.strip() == (made / "digest").read_text()


@pytest.mark.whole
def test_rootless_gives_the_same_digest(made: Path, person: Person) -> None:
    project = shutil.copytree(made / "project", person.home / "project")
    shutil.copytree(made / "store/packages.v1", person.home / "store/packages.v1")
    run([need("chown"), "-R", f"{person.name}:", person.home])
    ran = person.stackbuild(project)("--offline", "--store", person.home / "store", "build", "--locked")
    assert ran.out.strip() == (made / "digest").read_text()


@pytest.mark.whole
def test_podman_runs_it(made: Path, tmp_path: Path) -> None:
    for program in ("podman", "runc", "conmon"):
        need(program)
    podman = podman_of(tmp_path / "p")
    ran = podman("run", "--rm", "--network", "none", "--quiet", f"oci:{made / 'store/images'}:distroless:latest")
    assert ran.stdout == "65532 nonroot /home/nonroot\n"


def test_what_cannot_be_is_refused_with_its_place(stackbuild: Stackbuild) -> None:
    file = stackbuild.folder / "stack.toml"
    file.write_text(
        '[stack]\nname = "x"\n[base]\nimage = "oci:base"\n[packages]\ninstall = ["curl"]\nscripts = "skip"\n'
        'debconf = { "postfix/mailname" = "x" }\n'
    )
    told = stackbuild("config", code=2).err
    assert "scripts cannot be skipped on this base" in told and "stack.toml:7" in told
    assert "nobody asks `postfix/mailname`" in told and "stack.toml:8" in told


def test_the_engines_variant_gives_way_and_a_named_one_stays(stackbuild: Stackbuild) -> None:
    file = stackbuild.folder / "stack.toml"
    text = '[stack]\nname = "x"\n[base]\ndistro = "debian/bookworm"\n{}[packages]\nscripts = "skip"\n'
    file.write_text(text.format(""))
    assert stackbuild("config", "base.variant", "--format", "json").out.count('"custom"')
    file.write_text(text.format('variant = "essential"\n'))
    assert stackbuild("config", "base.variant", "--format", "json").out.count('"essential"')


def test_a_stage_has_what_runs_things_in_a_stack_that_has_not(stackbuild: Stackbuild) -> None:
    """And the other way round: only the engine's own variant gives way."""
    file = stackbuild.folder / "stack.toml"
    text = '[stack]\nname = "x"\n[base]\ndistro = "debian/bookworm"\n{}[packages]\nscripts = "{}"\n'
    text += '[stages.other]\npackages.scripts = "{}"\n[[stages.other.layer]]\nname = "l"\nrun = ["true"]\n'
    for line, mine, stages, variant in (
        ("", "skip", "run", "apt"),
        ("", "run", "skip", "custom"),
        ("", "skip", "skip", "custom"),
        ('variant = "essential"\n', "skip", "run", "essential"),
        ('variant = "essential"\n', "run", "skip", "essential"),
    ):
        file.write_text(text.format(line, mine, stages))
        assert settle(Question(file)).stages["other"].base.variant == variant, (line, mine, stages)


@pytest.mark.whole
def test_another_architecture_is_built_without_its_programs(stackbuild: Stackbuild, tmp_path: Path) -> None:
    """Nothing of the packages runs, so an image for arm64 is made on amd64, linker cache and all."""
    text = STACK.replace("[image]", '[image]\nplatforms = ["linux/arm64"]')
    (stackbuild.folder / "stack.toml").write_text(text)
    stackbuild("build", "--to", f"rootfs:{tmp_path / 'root'}")
    told = run([need("ldconfig"), "-p", "-C", tmp_path / "root/etc/ld.so.cache"]).out
    assert "libc.so.6 (libc6,AArch64) => /lib/aarch64-linux-gnu/libc.so.6" in told and "x86-64" not in told
