"""`stackbuild build` as its users see it: what runs again and why, targets, failures, and where the image goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stackbuild.cli.live import SPINNER
from tests.archive import archive
from tests.conftest import Stackbuild
from tests.machine import need, run, wait_until
from tests.projects import write_tiny
from tests.terminal import Terminal

pytestmark = pytest.mark.root
Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]

RUN = '[[layer]]\nname = "made"\nrun = ["echo making", "echo made > /made"]\n'
LEFT = (0, 1, 2, 4, 8, 12)
FAILS = '[[layer]]\nname = "broken"\nrun = ["echo so far so good", "cat /no/such/file", "echo never"]\n'
SLOW = '[[layer]]\nname = "slow"\nrun = ["echo begun", "sleep 60", "echo > /done"]\n'


def digest(ran: object) -> str:
    text = str(getattr(ran, "out", "")).strip()
    assert text.startswith("sha256:") and len(text) == 71, ran
    return text


def test_a_second_build_runs_nothing_and_says_the_same_digest(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers=RUN)
    first = digest(stackbuild("build"))
    again = stackbuild("build")
    assert digest(again) == first
    assert "run/made" not in again.err and again.seconds < 3
    plan = json.loads(stackbuild("plan", "--format", "json").out)
    assert plan


def test_the_plan_names_the_file_that_changed(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers=RUN)
    first = digest(stackbuild("build"))
    assert "run" not in [line.split()[1] for line in stackbuild("plan").out.splitlines() if len(line.split()) > 1]
    (stackbuild.folder / "site/index.html").write_text("changed\n")
    plan = stackbuild("plan").out
    assert "site/index.html" in plan
    ran = stackbuild("build", "-n")
    assert "site/index.html" in ran.out
    assert digest(stackbuild("build")) != first
    (stackbuild.folder / "site/index.html").write_text("tiny\n")
    assert digest(stackbuild("build")) == first


def test_one_layer_can_be_asked_for(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers=RUN + FAILS)
    stackbuild("build", "made")
    wrong = stackbuild("build", "mad", code=2)
    assert "did you mean `made`" in wrong.err


def test_a_failing_line_is_shown_with_its_output_and_place(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers=FAILS)
    failed = stackbuild("build", code=1)
    assert "so far so good" in failed.err and "/no/such/file" in failed.err and "broken" in failed.err
    assert "never" not in failed.err.split("its last output")[-1]
    line = (stackbuild.folder / "stack.toml").read_text().splitlines().index('name = "broken"') + 1
    place = [f"stack.toml:{n}" for n in (line - 1, line, line + 1)]
    assert any(word in failed.err for word in place), failed
    assert "--shell-on-failure" in failed.err and "Traceback" not in failed.err


@pytest.mark.parametrize("sandbox", ["overlay", "chroot"])
def test_a_shell_in_the_tree_as_it_was_when_a_line_failed(stackbuild: Stackbuild, sandbox: str) -> None:
    fails = 'run = ["/bin/busybox mkdir /made", "cat /no/such/file"]\nworkdir = "/srv"\nenv = { COLOUR = "blue" }\n'
    write_tiny(stackbuild.folder, layers='[[layer]]\nname = "broken"\n' + fails)
    with Terminal(stackbuild.at(STACKBUILD_SANDBOX=sandbox), "build", "--shell-on-failure") as terminal:
        terminal.until(b"run/broken failed; a shell in its tree as it was")
        terminal.until(b"stackbuild# ")
        terminal.type(b"/bin/busybox sleep 0.5; echo $PWD $COLOUR; cd /made && echo o${COLOUR}ver\n")
        seen = terminal.until(b"/srv blue")
        assert not [mark for mark in SPINNER if mark.encode() in seen], "the live view draws over the shell"
        terminal.until(b"obluever")
        terminal.type(b"/bin/sh -c 'echo be${COLOUR}gun; exec /bin/busybox sleep 60'\n")
        terminal.until(b"bebluegun")
        terminal.type(b"\x03")  # for what runs in there
        terminal.until(b"stackbuild# ")
        terminal.type(b"exit 3\n")
        terminal.until(b"`cat /no/such/file` failed")
        assert terminal.code() == 1
    (stackbuild.folder / "stack.toml").write_text(
        (stackbuild.folder / "stack.toml").read_text().replace('"cat /no/such/file"', '"/bin/busybox rmdir /made"')
    )
    stackbuild("build")  # what the shell saw is in no tree


def test_the_failing_step_in_json(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers=FAILS)
    failed = stackbuild("--progress", "json", "build", code=1)
    lines = [json.loads(line) for line in failed.err.splitlines()]
    assert {line["v"] for line in lines} == {1}
    assert any(line["type"] == "step_failed" and "broken" in line["step"] for line in lines)
    assert lines[-1]["type"] == "error" and lines[-1]["exit_code"] == 1 and "so far so good" in lines[-1]["output"]


def test_keep_going_does_what_does_not_need_the_failure(stackbuild: Stackbuild, tmp_path: Path) -> None:
    with archive(tmp_path / "files") as files:  # a web server that has neither file
        sha = "0" * 64
        fetches = [
            f'[[layer]]\nname = "{name}"\n'
            f'fetch = [{{ url = "{files.url}/{name}", sha256 = "{sha}", to = "/{name}" }}]\n'
            for name in ("one", "two")
        ]
        write_tiny(stackbuild.folder, layers="".join(fetches))
        failed = stackbuild("build", "-k", "-j", "1", code=None)
        assert failed.code in (1, 4)
        assert "/one" in failed.err and "/two" in failed.err and "404" in failed.err, failed


def test_always_make_runs_all_again_and_gives_the_same(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers=RUN)
    first = digest(stackbuild("build"))
    again = stackbuild("build", "-B", "-j", "2")
    assert digest(again) == first and "run/made" in again.err


def test_the_image_goes_to_every_form(stackbuild: Stackbuild, tmp_path: Path) -> None:
    write_tiny(stackbuild.folder, layers=RUN)
    out = tmp_path / "out"
    out.mkdir()
    places = [
        f"oci:{out}/dir:v1",
        f"oci-archive:{out}/o.tar",
        f"docker-archive:{out}/d.tar:tiny:v1",
        f"rootfs:{out}/tree",
    ]
    words = [word for place in places for word in ("--to", place)]
    told = json.loads(stackbuild("build", "--format", "json", "--metadata-file", str(out / "m.json"), *words).out)
    assert json.loads((out / "m.json").read_text())["containerimage.digest"] == told["digest"]
    index = json.loads((out / "dir/index.json").read_text())
    assert [m["digest"] for m in index["manifests"]] == [told["digest"]]
    with tarfile.open(out / "o.tar") as archive:
        assert {"oci-layout", "index.json"} <= {name.removeprefix("./") for name in archive.getnames()}
    with tarfile.open(out / "d.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
    assert manifest[0]["RepoTags"] == ["tiny:v1"]
    assert (out / "tree/made").read_text() == "made\n" and os.readlink(out / "tree/bin/sh") == "busybox"


def test_ctrl_c_stops_a_build_and_the_next_one_just_works(stackbuild: Stackbuild, running: Keep) -> None:
    write_tiny(stackbuild.folder, layers=SLOW)
    child = running(stackbuild.start("--progress", "plain", "build"))
    assert child.stderr is not None
    for line in child.stderr:
        if "begun" in line:
            break
    began = time.monotonic()
    os.killpg(child.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and time.monotonic() - began < 15, err
    assert "Traceback" not in err
    no_children_left(child.pid)
    write_tiny(stackbuild.folder, layers=SLOW.replace("sleep 60", "sleep 0"))
    digest(stackbuild("build"))


@pytest.mark.parametrize("delay", [0.3, 1.0])
def test_kill_9_in_a_build_leaves_nothing_to_repair(stackbuild: Stackbuild, running: Keep, delay: float) -> None:
    write_tiny(stackbuild.folder, layers=RUN + SLOW)
    child = running(stackbuild.start("--progress", "plain", "build"))
    if delay > 0.5:
        assert child.stderr is not None
        assert any("begun" in line for line in child.stderr)
    else:
        time.sleep(delay)  # any instant will do; there is no sign to wait for
    os.kill(child.pid, signal.SIGKILL)  # only itself: what it started must end by itself
    child.communicate(timeout=30)
    no_children_left(child.pid)
    quick = SLOW.replace("sleep 60", "sleep 0")
    write_tiny(stackbuild.folder, layers=RUN + quick)
    again = digest(stackbuild("build"))
    other = stackbuild.at(store=stackbuild.store.with_name("clean"))
    assert digest(other("build")) == again


def no_children_left(session: int) -> None:
    """All processes of a session end by themselves."""

    def gone() -> bool:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[3] == str(session) and fields[0] != "Z":
                    return False
        return True

    wait_until(gone, 15, "the end of what the build had started")


def test_a_full_disk_is_an_error_that_says_so_and_nothing_is_broken_by_it(
    stackbuild: Stackbuild, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    run([need("mount"), "-t", "tmpfs", "-o", "size=3m", "tmpfs", small])
    try:
        big = '[[layer]]\nname = "big"\ncopy = [{ from = "big", to = "/big" }]\n'
        write_tiny(stackbuild.folder, layers=RUN + big)
        (stackbuild.folder / "big").write_bytes(os.urandom(8 << 20))
        here = stackbuild.at(store=small / "store")
        failed = here("build", code=5)
        assert "no space left" in failed.err and str(small) in failed.err
        assert "Traceback" not in failed.err
        run([need("mount"), "-o", "remount,size=100m", small])
        first = digest(here("build"))
        assert first
    finally:
        run([need("umount"), "-l", small])


def test_a_disk_that_gets_full_at_any_place_is_no_traceback(stackbuild: Stackbuild, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    run([need("mount"), "-t", "tmpfs", "-o", "size=20m", "tmpfs", small])
    try:
        write_tiny(stackbuild.folder, layers=RUN)
        here = stackbuild.at(store=small / "store")
        first = here("build").out
        codes = []
        for left in (*LEFT, 500):  # pages of the disk that are free when a build begins
            script = "cat /dev/zero > /big" if left == 500 else f"echo {left}"  # the last one fills it itself
            write_tiny(stackbuild.folder, layers=RUN.replace("echo making", script))
            disk = os.statvfs(small)
            (small / "fill").write_bytes(b"0" * ((disk.f_bavail - left) * disk.f_bsize))
            done = here("build", code=None)
            codes.append(done.code)
            assert "Traceback" not in done.err and (not done.code or "no space left" in done.err.lower()), done
            (small / "fill").unlink()
        # 1: it was the script that found no room
        assert set(codes) <= {0, 1, 5} and codes[0] and codes[-1], codes
        assert json.loads(here("cache", "verify", "--format", "json").out)["bad"] == []
        write_tiny(stackbuild.folder, layers=RUN)
        assert here("build").out == first
    finally:
        run([need("umount"), "-l", small])


def test_two_builds_at_once_share_a_store(stackbuild: Stackbuild, running: Keep) -> None:
    write_tiny(stackbuild.folder, layers=RUN)
    children = [running(stackbuild.start("build")) for _ in range(3)]
    ends = [(child.communicate(timeout=60), child.returncode) for child in children]
    assert [code for _, code in ends] == [0, 0, 0], ends
    assert len({out for (out, _), _ in ends}) == 1


def test_a_secret_reaches_no_layer_key_log_or_history(stackbuild: Stackbuild) -> None:
    word = "s3cr3t-w0rd-8f1"
    lines = '"grep -q s3cr3t /run/secrets/TOKEN", "echo used > /used"'
    uses = f'[[layer]]\nname = "uses"\nrun = [{lines}]\nsecrets = ["TOKEN"]\n'
    write_tiny(stackbuild.folder, layers=uses)
    ran = stackbuild("build", "--secret", "id=TOKEN,env=MY_TOKEN", env={"MY_TOKEN": word})
    assert word not in ran.out + ran.err
    found = run([need("grep"), "-rlaF", word, stackbuild.store], code=None)
    assert found.code == 1 and not found.out, found
    leak = '[[layer]]\nname = "leaks"\nrun = ["cp /run/secrets/TOKEN /kept"]\nsecrets = ["TOKEN"]\n'
    write_tiny(stackbuild.folder, layers=leak)
    refused = stackbuild("build", "--secret", "id=TOKEN,env=MY_TOKEN", env={"MY_TOKEN": word}, code=1)
    assert "secret" in refused.err and "TOKEN" in refused.err and word not in refused.err
