"""Events as plain lines, JSON lines and a live view."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from typing import get_args

import pytest

from stackbuild.cli.progress import Plain, guarded, kind, make
from stackbuild.cli.wording import seconds
from stackbuild.core import events
from stackbuild.core.events import Event
from stackbuild.core.words import size

EVIL = "\x1b[2J\x1b]0;owned\x07"
STORY: list[Event] = [
    events.Note("the host's sources switch Check-Valid-Until off", "warning"),
    events.PhaseStarted("resolve"),
    events.BytesFetched("Packages.xz", 500, 1000),
    events.PhaseFinished("resolve", 0.42, "133 packages"),
    events.PlanMade(5, 2, 12.3),
    events.PhaseStarted("build"),
    events.StepFinished("copy/site", True, 0.0),
    events.StepStarted("fetch/libc6"),
    events.StepFinished("fetch/libc6", False, 0.1),
    events.StepStarted("configure/0", "never built", 3.6),
    events.StepOutput("configure/0", f"Setting up{EVIL} base-files"),
    events.StepFinished("configure/0", False, 4.04),
    events.StepStarted("run/compile", f"src/a{EVIL} changed"),
    events.StepOutput("run/compile", f"compiling{EVIL}"),
    events.ShellStarted("run/compile"),
    events.ShellEnded("run/compile"),
    events.StepFailed("run/compile", "exit code 2"),
    events.PhaseFinished("build", 65.0),
    events.ImageBuilt("hello", "sha256:" + "0" * 64, 51_200_000),
    events.BytesSent("layer", 10, 20),
    events.ImagePushed("localhost:5000/hello", "sha256:" + "0" * 64, 2, 5),
    events.ContainerStateChanged("hello-1234", "healthy", "after 2 probes"),
]


def test_the_story_has_every_event() -> None:
    assert {type(event) for event in STORY} == set(get_args(Event))


def told(mode: str, **options: bool) -> list[str]:
    out = io.StringIO()
    with make(mode, stream=out, **options) as listener:
        for event in STORY:
            listener(event)
    return out.getvalue().splitlines()


def test_plain_lines_tell_the_story_without_the_noise() -> None:
    assert told("plain") == [
        "warning: the host's sources switch Check-Valid-Until off",
        "=> resolve",
        "=> resolve done 0.4s (133 packages)",
        "=> 5 steps, 2 cached, about 12.3s",
        "=> build",
        "=> configure/0 (never built), about 3.6s",
        "=> configure/0 done 4.0s",
        "=> run/compile (src/a changed)",
        "   run/compile | compiling",
        "=> run/compile failed; a shell in its tree as it was (leave it with exit):",
        "=> run/compile FAILED: exit code 2",
        "=> build done 1m 05s",
        "=> image hello sha256:" + "0" * 64 + " (51.2 MB)",
        "=> pushed localhost:5000/hello sha256:" + "0" * 64 + " (2 B sent, 5 B already there)",
        "=> container hello-1234 healthy: after 2 probes",
    ]


def test_verbose_plain_lines_tell_all_of_it() -> None:
    lines = told("plain", verbose=True)
    assert "=> copy/site cached" in lines and "   configure/0 | Setting up base-files" in lines
    assert "=> fetch/libc6 done 0.1s" in lines


def test_quiet_leaves_warnings_and_failures() -> None:
    assert told("auto", quiet=True) == [
        "warning: the host's sources switch Check-Valid-Until off",
        "=> run/compile failed; a shell in its tree as it was (leave it with exit):",
        "=> run/compile FAILED: exit code 2",
    ]


def test_while_a_shell_has_the_terminal_nothing_is_told_but_later_all_of_it() -> None:
    out = io.StringIO()
    with make("plain", stream=out) as listener:
        listener(events.ShellStarted("run/one"))
        listener(events.StepOutput("run/two", "meanwhile"))
        listener(events.ShellStarted("run/two"))  # its turn comes when the first has ended
        assert out.getvalue().count("\n") == 1
        listener(events.ShellEnded("run/one"))
    assert [line.split()[-1] for line in out.getvalue().splitlines()[1:]] == ["meanwhile", "exit):"]


def test_auto_is_plain_where_there_is_no_terminal() -> None:
    assert told("auto") == told("plain")


def test_json_lines_hold_every_event_with_version_and_type() -> None:
    lines = [json.loads(line) for line in told("json")]
    assert len(lines) == len(STORY) and {line["v"] for line in lines} == {events.VERSION}
    assert [line["type"] for line in lines] == [kind(event) for event in STORY]
    started = {"step": "configure/0", "reason": "never built", "expected": 3.6}
    assert lines[9] == {"v": 1, "type": "step_started", **started}
    assert "\x1b" not in "".join(told("json"))


def test_a_long_download_shows_signs_of_life_not_a_flood() -> None:
    out, clock = io.StringIO(), iter([0.0] + [n / 10 for n in range(1, 400)])
    plain = Plain(out, now=lambda: next(clock))
    for n in range(200):
        plain(events.BytesFetched(f"deb{n % 4}", n * 1000, 200_000))
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert re.fullmatch(r"=> fetched [\d.]+ kB of 800.0 kB", lines[-1])


def test_a_reader_that_went_away_does_not_end_the_build() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        listener = guarded(Plain(stream))
        listener(events.PhaseStarted("build"))
        listener(events.PhaseFinished("build", 1.0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # so that closing can flush what is buffered


def test_lines_of_many_threads_stay_whole() -> None:
    out = io.StringIO()
    with make("json", stream=out) as listener:
        threads = [
            threading.Thread(target=lambda n=n: [listener(events.StepOutput(f"s{n}", "x" * 500)) for _ in range(100)])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert sum(json.loads(line)["line"] == "x" * 500 for line in out.getvalue().splitlines()) == 800


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0s"), (59.94, "59.9s"), (60, "1m 00s"), (754.9, "12m 34s")])
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(999, "999 B"), (1000, "1.0 kB"), (51_234_567, "51.2 MB"), (2 * 10**9, "2.0 GB")]
)
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


def test_what_is_drawn_says_why_it_runs_and_how_long_it_may_take() -> None:
    from rich.console import Console

    from stackbuild.cli.live import View

    clock = 0.0
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    view = View(console, now=lambda: clock)
    for event in (
        events.PhaseStarted("build"),
        events.PlanMade(48, 2, 12.3),
        events.StepFinished("unpack/0/0", True, 0.0),
        events.StepStarted("configure/1", f"package curl 1 → 2 {EVIL}(stack.toml:6)", 3.6),
        events.StepOutput("configure/1", "Setting up curl"),
        events.StepStarted("run/new", "never built"),
    ):
        view(event)
    view.rest()
    clock = 1.5
    with console.capture() as drawn:
        console.print(view.render())
    build, configure, new = re.sub(r"\x1b\[[0-9;]*m", "", drawn.get()).splitlines()
    assert "build  1/48, 1 cached  1.5s of about 12.3s" in build
    assert "configure/1  1.5s of about 3.6s  package curl 1 → 2 (stack.toml:6)  Setting up curl" in configure
    assert new.rstrip().endswith("run/new  1.5s  never built")


LIVE = """
import sys, time, pickle
from stackbuild.cli.progress import make
with make("auto") as listener:
    for event in pickle.loads(bytes.fromhex(sys.argv[1])):
        listener(event)
        time.sleep(0.02)
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("columns", [20, 100])
def test_the_live_view_draws_on_a_terminal_and_leaves_what_finished(columns: int) -> None:
    import pickle

    master, slave = pty.openpty()
    environ = {
        **os.environ,
        "TERM": "xterm",
        "COLUMNS": str(columns),
        "LINES": "24",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }
    environ.pop("CI", None)
    child = subprocess.Popen([sys.executable, "-c", LIVE, pickle.dumps(STORY).hex()], stderr=slave, env=environ)
    os.close(slave)
    seen = b""
    try:
        while piece := os.read(master, 65536):
            seen += piece
    except OSError:  # EIO: the other side is closed
        pass
    assert child.wait(timeout=20) == 0
    text = seen.decode()
    assert "owned" not in text and "\x1b[2J" not in text  # what steps write stays words
    kept = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    for words in ("configure/0  4.0s", "resolve  0.4s  133 packages", "run/compile  exit code 2", "hello-1234 healthy"):
        assert words in kept
    assert "copy/site" not in kept  # cached: counted, not listed
    assert kept.rstrip().endswith("after")
    drawn = [row for row in kept.replace("\r", "\n").split("\n") if row[:1] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" and row]
    assert drawn and all(len(row) < columns for row in drawn)  # a wrapped row would leave rubbish behind
    os.close(master)


BETWEEN = """
import sys, time
from stackbuild.cli.progress import make
from stackbuild.core.events import *
with make("tty") as listener:
    print("rich" in sys.modules, file=sys.stderr)
    listener(PhaseStarted("build"))
    time.sleep(0.15)
    listener(StepFailed("run/x", "exit code 1") if sys.argv[1] == "failed" else PhaseFinished("build", 1.0))
    for n in range(10):
        print(f"data {n}", file=sys.stderr, flush=True)
        time.sleep(0.05)
"""


@pytest.mark.parametrize("how", ["done", "failed"])
def test_data_that_follows_is_not_drawn_over(how: str) -> None:
    ran = subprocess.run([sys.executable, "-c", BETWEEN, how], capture_output=True, text=True, timeout=20)
    imported, _, rest = ran.stderr.partition("\n")
    assert imported == "False"  # nothing to tell yet, nothing paid
    assert rest.endswith("".join(f"data {n}\n" for n in range(10)))


def test_plain_output_imports_no_rich() -> None:
    code = "import sys, io; from stackbuild.cli.progress import make\nwith make('plain', stream=io.StringIO()): pass\n"
    code += "sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 0
