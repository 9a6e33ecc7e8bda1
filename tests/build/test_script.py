"""The script of a `run` layer: which line failed, without changing what the lines mean."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.build.script import MARK, complete, script_of


def sh(text: str, *, check: bool = False, by: str = "dash") -> subprocess.CompletedProcess[bytes]:
    options = ["-n"] if check else ["-eu"]
    return subprocess.run(
        [by, *options, "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=10, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (["true", "false", "true"], (2, 2)),
        (["true", "if true; then", "false", "fi", "true"], (2, 4)),
        (["x='a", "b'", "false"], (3, 3)),
        (["for i in 1 2; do", "[ $i = 1 ]", "done"], (1, 3)),
        (["true &&", "false"], (1, 2)),
        (["f() {", "false", "}", "true", "f"], (5, 5)),
        (['x="$(echo "a b")"', "echo ${x#a} # comment", "exit 3"], (3, 3)),
        (["cat <<E", "it's", "E", "false"], (1, 4)),
        (["case a in", "a) false;;", "esac"], (1, 3)),
        (["true", "echo a \\", "b; false"], (2, 3)),
        (["# nothing", "", "unset_command_of_nobody"], (3, 3)),
        (["set -u", "echo $nothing"], (2, 2)),
    ],
)
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_part_that_failed_is_named(lines: list[str], part: tuple[int, int], shell: str) -> None:
    script = script_of(lines)
    ran = sh(script.text, by=shell)
    assert ran.returncode != 0
    mark = MARK.search(ran.stdout)
    assert mark is not None and script.part(int(mark[1])) == part


def test_a_script_that_succeeds_says_nothing_of_ours() -> None:
    assert sh(script_of(["echo a", "echo b"]).text).stdout == b"a\nb\n"


def test_the_exit_code_and_the_shells_line_numbers_are_the_users() -> None:
    assert sh(script_of(["true", "exit 7"]).text).returncode == 7
    assert sh(script_of(["echo $LINENO", "true", "echo $LINENO"]).text, by="bash").stdout == b"1\n3\n"


def test_the_users_own_trap_works() -> None:
    assert sh(script_of(["trap 'echo bye' EXIT", "false"]).text).stdout == b"bye\n"


PIECES = st.sampled_from(
    ["if", "then", "else", "fi", "for x in a", "do", "done", "while", "case", "esac", "{", "}", "(", ")", "f()", "!"]
    + [
        "true",
        "echo a",
        "x=1",
        "'",
        '"',
        "$(",
        "${x",
        "`",
        "\\",
        "#",
        ";",
        "&&",
        "||",
        "|",
        "&",
        "\n",
        "<<E",
        ">f",
        "E",
    ]
)
REST = ["\nfi", "\nthen :\nfi", "\ndone", "\ndo :\ndone", "\n}", "\n)", "\n{ :; }", " true", "'", '"', "`", "\nesac"]


@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES, max_size=9), st.sampled_from(["", " "]))
def test_nothing_is_put_where_the_shell_still_waits(pieces: list[str], glue: str) -> None:
    """The shell's own parser is the oracle: what it takes for unfinished is never called complete."""
    text = glue.join(pieces)
    if complete(text) and sh(text, check=True).returncode != 0:
        assert not [rest for rest in REST if sh(text + rest, check=True).returncode == 0], text
