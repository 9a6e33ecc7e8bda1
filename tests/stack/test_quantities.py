"""The small languages inside values, and chmod's words against chmod(1) itself."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stackbuild.core.modes import apply_mode, check_mode
from stackbuild.stack.quantities import (
    Port,
    Tmpfs,
    Ulimit,
    Volume,
    parse_bytes,
    parse_expose,
    parse_port,
    parse_seconds,
    parse_tmpfs,
    parse_ulimit,
    parse_volume,
)


def test_sizes() -> None:
    given: list[str | int] = [1024, "0", "256MiB", "256MB", "256m", "1.5GiB", "1 KiB", "4T"]
    assert [parse_bytes(text) for text in given] == [
        1024,
        0,
        256 << 20,
        256 * 10**6,
        256 << 20,
        3 << 29,
        1024,
        4 << 40,
    ]


def test_times() -> None:
    assert [parse_seconds(text) for text in (2, 0.5, "2s", "1m30s", "500ms", "1h", "1.5s")] == [
        2,
        0.5,
        2,
        90,
        0.5,
        3600,
        1.5,
    ]


def test_ports() -> None:
    assert parse_port(80) == Port(80, 0)
    assert parse_port("8080:80") == Port(80, 8080)
    assert parse_port("127.0.0.1:8080:80/udp") == Port(80, 8080, "127.0.0.1", "udp")
    assert parse_port("[::1]:8080:80") == Port(80, 8080, "::1")
    assert parse_port("127.0.0.1::80") == Port(80, 0, "127.0.0.1")
    assert parse_port("53/UDP").name == "53/udp"
    assert (parse_expose(8080), parse_expose("53/udp")) == ("8080/tcp", "53/udp")


def test_volumes_and_tmpfs() -> None:
    assert parse_volume("./data:/srv/data:ro") == Volume("./data", "/srv/data", True, "path")
    assert parse_volume("/abs:/srv") == Volume("/abs", "/srv", False, "path")
    assert parse_volume("cache:/var/cache:rw") == Volume("cache", "/var/cache", False, "named")
    assert parse_volume("/var/lib/x") == Volume("", "/var/lib/x", False, "anonymous")
    assert parse_tmpfs("/run") == Tmpfs("/run")
    assert parse_tmpfs("/run:size=64m,mode=0755") == Tmpfs("/run", 64 << 20, 0o755)


def test_ulimits() -> None:
    assert parse_ulimit(1024) == Ulimit(1024, 1024)
    assert parse_ulimit("1024:4096") == Ulimit(1024, 4096)
    assert parse_ulimit("10:unlimited") == Ulimit(10, -1)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_bytes, "12 parsecs", "not a size"),
        (parse_bytes, True, "a number of bytes"),
        (parse_bytes, "-1", "not a size"),
        (parse_bytes, "9" * 30, "not a size"),
        (parse_seconds, "2 s", "not a time"),
        (parse_seconds, "1s30", "not a time"),
        (parse_port, "8080:http", 'not a port: "http"'),
        (parse_port, "8000-8010:8000-8010", "ranges of ports"),
        (parse_port, "70000", "1 to 65535"),
        (parse_port, "localhost:1:2", "not an address"),
        (parse_port, "80/sctp", "tcp or udp"),
        (parse_volume, "./a:b", "absolute path"),
        (parse_volume, "a b:/c", "not a volume"),
        (parse_volume, "./a:/b:z", "ro or rw"),
        (parse_volume, "./a:/b/../../c", '".."'),
        (parse_volume, "./a:/", "mounted on /"),
        (parse_tmpfs, "/run:exec", "not an option"),
        (parse_ulimit, "2:1", "above the hard one"),
        (parse_ulimit, "many", "not a limit"),
        (check_mode, "rw", "not a mode"),
        (check_mode, "99", "not a mode"),
        (check_mode, "", "not a mode"),
        (check_mode, "u+r,", "not a mode"),
    ],
)
def test_what_is_not_one_is_refused_with_words(
    parse: Callable[[str | bool], object], text: str | bool, words: str
) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        parse(text)


def test_symbolic_modes_mean_what_chmod_means(tmp_path: Path) -> None:
    """chmod(1) is asked about random modes; one process for many of them, as a script of our own making."""
    dice = random.Random(7)
    cases = []
    script = ["umask 0"]
    for number in range(300):
        clauses = []
        for _ in range(dice.randint(1, 3)):
            who = "".join(dice.choices("ugoa", k=dice.randint(0, 3)))
            what = dice.choice(["u", "g", "o", "", "r", "rx", "rwX", "X", "s", "t", "rwxXst", "wx"])
            clauses.append(who + dice.choice("+-=") + what)
        mode, old, is_dir = ",".join(clauses), dice.randrange(0o10000), dice.random() < 0.4
        file = tmp_path / str(number)
        file.mkdir() if is_dir else file.touch()
        os.chmod(file, old)
        if file.stat().st_mode & 0o7777 == old:
            cases.append((mode, is_dir, old, file))
            script.append(f"chmod -- '{mode}' {number}")
    subprocess.run(["sh", "-c", "\n".join(script)], cwd=tmp_path, check=True)
    wrong = []
    for mode, is_dir, old, file in cases:
        want = file.stat().st_mode & 0o7777
        if apply_mode(check_mode(mode), is_dir, old) != want:
            wrong.append((mode, is_dir, oct(old), oct(apply_mode(mode, is_dir, old)), oct(want)))
    assert not wrong
    assert len(cases) > 250


def test_an_octal_mode_is_for_files_and_leaves_folders_usable() -> None:
    assert apply_mode("0644", False, 0o777) == 0o644
    assert apply_mode("0644", True, 0o777) == 0o755
    assert apply_mode("0600", True, 0o777) == 0o700
    assert apply_mode("4755", False, 0) == 0o4755
