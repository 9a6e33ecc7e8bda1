"""The log gives back every byte, through rotations and torn writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.run.log import LogReader, LogWriter, parse

PIECES = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=60)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_what_was_written_is_read_back(pieces: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = LogWriter(Path(folder, "log"))
        for stream, data in pieces:
            writer.write(stream, data)
        with LogReader(Path(folder, "log")) as reader:
            found = list(reader.read())
    for stream in ("stdout", "stderr"):
        expected = b"".join(data for name, data in pieces if name == stream)
        assert b"".join(entry.data for entry in found if entry.stream == stream) == expected


def test_a_follower_loses_nothing_when_the_log_is_rotated(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", limit=2000)
    found: list[bytes] = []
    with LogReader(tmp_path / "log") as reader:
        for number in range(200):
            writer.write("stdout", b"line %d\n" % number)
            found += [entry.data for entry in reader.read()]
    assert b"".join(found) == b"".join(b"line %d\n" % number for number in range(200))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * 2100


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    writer.write("stdout", b"one\n")
    with open(tmp_path / "log", "ab") as file:
        file.write(b"2026-11-24T05:3\n")
    writer.write("stdout", b"two\n")
    with LogReader(tmp_path / "log") as reader:
        assert [entry.data for entry in reader.read()] == [b"one\n", b"two\n"]
    assert parse(b"x stdout F text") is None


def test_a_log_that_is_not_there_yet_is_read_when_it_comes(tmp_path: Path) -> None:
    with LogReader(tmp_path / "log") as reader:
        assert list(reader.read()) == []
        LogWriter(tmp_path / "log").write("stderr", b"now")
        assert [(entry.stream, entry.data) for entry in reader.read()] == [("stderr", b"now")]
