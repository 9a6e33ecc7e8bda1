"""`run` layers: what a script sees, what is kept of it, and what is said when it fails; in both sandboxes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stackbuild.build.steps.run import Run
from stackbuild.core.errors import StepError
from tests.build.own import LATE, PROGRAMS, Bench, edit_late, small_tree, write
from tests.conftest import Person
from tests.machine import need, need_root, once

SANDBOXES = ("overlay", "chroot")


@pytest.fixture
def bench(tmp_path: Path, shared: Path) -> Bench:
    need_root()
    base = once(shared / "run-base", lambda folder: small_tree(folder / "root", PROGRAMS))
    return Bench(tmp_path / "work", write(tmp_path / "project", {"src/a.txt": "a", "src/deep/b": "b"}), [base / "root"])


SCRIPT = [
    "echo $HOME $PATH $SOURCE_DATE_EPOCH $MINE > env",
    "mkdir -p data/empty; ln -s data link; ln env hard",
    "chmod 4755 env; chown 33:33 data",
    "cat /src/src/a.txt > a; echo changed > /src/src/a.txt; touch /src/new",
    "rm /usr/bin/touch",
    "echo t > /tmp/x; echo r > /run/x; mkdir -p /var/log; echo l > /var/log/app",
    "echo c > /cache/c",
]
RUN = {
    "script": SCRIPT,
    "workdir": "/app/here",
    "env": {"MINE": "é"},
    "inputs": ["src/"],
    "caches": [{"path": "/cache", "sharing": "shared"}],
}


def test_both_sandboxes_give_the_layer_that_was_meant(bench: Bench, tmp_path: Path) -> None:
    made = {}
    for bench.sandbox in SANDBOXES:
        cache = tmp_path / f"cache-{bench.sandbox}"
        cache.mkdir()
        bench.caches = {"/cache": cache}
        made[bench.sandbox] = bench.layer("run", RUN)
        assert (cache / "c").read_text() == "c\n"
    one, two = made.values()
    assert one.digest == two.digest and one.inputs.key == two.inputs.key and one.action.digest == two.action.digest
    assert {name: f"{entry.mode:04o} {entry.uid}" for name, entry in one.entries.items()} == {
        "app": "0755 0", "app/here": "0755 0", "app/here/a": "0644 0", "app/here/data": "0755 33",
        "app/here/data/empty": "0755 0", "app/here/env": "4755 0", "app/here/hard": "4755 0",
        "app/here/link": "0777 0", "usr": "0755 0", "usr/bin": "0755 0", "usr/bin/.wh.touch": "0644 0",
        "var": "0755 0", "var/log": "0755 0", "var/log/app": "0644 0",
    }  # fmt: skip
    assert one.content("app/here/env").decode() == (
        "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin 315532801 é\n"
    )
    assert one.content("app/here/a") == b"a" and one.entries["app/here/hard"].linkname == "app/here/env"
    assert (bench.project / "src/a.txt").read_text() == "a" and not (bench.project / "new").exists()
    assert one.facts["created_by"].startswith("run echo $HOME")
    assert one.action.needs.sandbox and one.action.needs.caches == ("/cache",) and not one.action.needs.network


def test_inputs_have_normal_modes_and_times(bench: Bench) -> None:
    (bench.project / "src/a.txt").chmod(0o600)
    layer = bench.layer("run", {"script": ["stat -c '%a %u %Y' /src/src/a.txt /src/src"], "inputs": ["src/a.txt"]})
    assert layer.output == b"644 0 315532801\n755 0 315532801\n" and layer.facts["empty"] is True


def test_an_input_that_changes_or_goes_during_the_build_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_late(bench, monkeypatch, Run, "src/a.txt")
    for why in LATE:
        with pytest.raises(StepError, match=rf"src/a.txt changed while the image was built: {why}"):
            bench.layer("run", {"script": ["true"], "inputs": ["src/a.txt"]})


def test_inputs_are_part_of_the_key_under_their_names(bench: Bench) -> None:
    params = {"script": ["true"], "inputs": ["src/*"]}
    before = bench.layer("run", params).inputs
    (bench.project / "src/deep/b").write_text("B")
    after = bench.layer("run", params).inputs
    assert [name for name in after.reads if after.reads[name] != before.reads[name]] == ["src/deep/b"]


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_line_that_fails_is_named_with_its_last_output(bench: Bench, sandbox: str) -> None:
    bench.sandbox = sandbox
    with pytest.raises(StepError) as error:
        bench.layer("run", {"script": ["echo start", "echo wrong >&2; exit 3", "echo never"]})
    assert str(error.value) == "`echo wrong >&2; exit 3` failed: line 2 of `run`: exit code 3"
    assert error.value.output == "start\nwrong"


def test_lines_that_cannot_be_told_apart_are_named_together(bench: Bench) -> None:
    with pytest.raises(StepError) as error:
        bench.layer("run", {"script": ["true", "if true; then", "nocommand", "fi"]})
    assert str(error.value) == "`if true; then …` failed: one of the lines 2 to 4 of `run`: exit code 127"
    assert "packages.install" in error.value.hints[0].text and "nocommand: not found" in error.value.output


def test_a_signal_is_named(bench: Bench) -> None:
    with pytest.raises(StepError, match=r"`kill -9 \$\$` failed: line 1 of `run`: it was killed by signal 9"):
        bench.layer("run", {"script": ["kill -9 $$"]})


def test_the_workdir_follows_links_of_the_tree_alone(bench: Bench, tmp_path: Path) -> None:
    upper = write(tmp_path / "upper", {"start": f"-> {'../' * 12}srv/deep", "srv/x": ""})
    bench.lowers = [*bench.lowers, upper]
    for bench.sandbox in SANDBOXES:
        layer = bench.layer("run", {"script": ["echo x > y"], "workdir": "/start"})
        assert list(layer.entries) == ["srv", "srv/deep", "srv/deep/y"]
    layer = bench.layer("run", {"script": ["cat deep/b"], "workdir": "/src/src", "inputs": ["src"]})
    assert layer.output == b"b" and layer.facts["empty"]


def test_the_network_is_off_and_the_plan_may_know(bench: Bench) -> None:
    layer = bench.layer("run", {"script": ["ls /sys/class/net 2>/dev/null || true"], "network": True})
    assert layer.action.needs.network
    script = ["cat /proc/net/route"]
    try:
        output = bench.layer("run", {"script": script}).output
    except StepError as error:  # no /proc/net at all
        output = error.output.encode()
    assert b"eth" not in output


def test_an_image_without_a_shell_cannot_run_anything(bench: Bench, tmp_path: Path) -> None:
    bench.lowers = []
    with pytest.raises(StepError, match="there is no /bin/sh to run the script: the image is empty below this layer"):
        bench.layer("run", {"script": ["true"]})
    bench.lowers = [small_tree(tmp_path / "no-shell")]
    with pytest.raises(StepError, match="there is no /bin/sh to run the script: the layers below have none"):
        bench.layer("run", {"script": ["true"]})


def test_the_workers_umask_and_environment_reach_nothing(bench: Bench) -> None:
    first = bench.layer("run", {"script": ["env > e", "echo x > f"], "workdir": "/app"})
    inner = ["env", "FOO=bar", "LC_ALL=de_DE.UTF-8", "TZ=Asia/Tokyo", "HTTP_PROXY=http://p.example.com"]
    bench.wrap = lambda argv: [
        sys.executable,
        "-c",
        "import os,sys; os.umask(0o077); os.execvp(sys.argv[1], sys.argv[1:])",
        *inner,
        *argv,
    ]
    second = bench.layer("run", {"script": ["env > e", "echo x > f"], "workdir": "/app"})
    assert first.digest == second.digest
    assert b"FOO" not in second.content("app/e") and second.entries["app/f"].mode == 0o644


def test_an_ordinary_users_layer_is_roots(bench: Bench, person: Person) -> None:
    """The worker in a user namespace with the person's range of ids; the tree belongs to the person."""
    script = ["echo x > f; chown 33:33 f", "chmod 2755 /var/www; rm /usr/bin/ls", "ln f g"]
    params = {"script": script, "workdir": "/app", "inputs": ["src"]}
    first = bench.layer("run", params)
    base = person.home / "base"
    shutil.copytree(bench.lowers[0], base, symlinks=True)

    def rootless(argv: list[str]) -> list[str]:
        subprocess.run([need("chown"), "-R", "--no-dereference", f"{person.name}:", person.home], check=True)
        namespace = [need("unshare"), "--user", "--map-auto", "--map-root-user"]
        return person.argv(*namespace, person.python, *argv[1:])

    project = Path(shutil.copytree(bench.project, person.home / "project", symlinks=True))
    second = Bench(person.home / "work", project, [base], wrap=rootless).layer("run", params)
    assert (second.digest, second.inputs.key) == (first.digest, first.inputs.key)
    assert second.entries["app/f"].uid == 33 and second.entries["app/g"].linkname == "app/f"


def test_gnu_tar_reads_the_layer(bench: Bench, tmp_path: Path) -> None:
    layer = bench.layer("run", {"script": ["echo x > /root/x"]})
    listed = subprocess.run(["tar", "-tzf", "-"], input=layer.blob, capture_output=True, check=True).stdout
    assert listed == b"root/\nroot/x\n"
