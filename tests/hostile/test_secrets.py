"""A secret is a file in /run/secrets while the step runs, and nowhere afterwards: layer, key, log, history, errors."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbuild.build.secrets import Hiding, Needles
from stackbuild.core.errors import StepError, UsageError
from tests.build.own import PROGRAMS, Bench, small_tree, write
from tests.machine import need_root, once

TOKEN = "s3cr3t-t0ken/with+signs"
SANDBOXES = ("overlay", "chroot")


@pytest.fixture
def bench(tmp_path: Path, shared: Path) -> Bench:
    need_root()
    base = once(shared / "run-base", lambda folder: small_tree(folder / "root", PROGRAMS))
    write(tmp_path, {"token": TOKEN + "\n", "project/x": ""})
    return Bench(tmp_path / "work", tmp_path / "project", [base / "root"], secrets={"TOKEN": tmp_path / "token"})


def run(bench: Bench, *script: str) -> object:
    return bench.layer("run", {"script": list(script), "secrets": ["TOKEN"]})


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_secret_is_read_and_leaves_no_trace(bench: Bench, sandbox: str) -> None:
    bench.sandbox = sandbox
    layer = bench.layer(
        "run",
        {
            "script": ["stat -c '%a %u' /run/secrets/TOKEN", "cat /run/secrets/TOKEN; echo done > /done"],
            "secrets": ["TOKEN"],
        },
    )
    assert layer.output == b"400 0\n***\n" and list(layer.entries) == ["done"]
    for said in (layer.action.canonical().decode(), repr(layer.inputs), repr(layer.facts)):
        assert TOKEN not in said
    assert layer.action.needs.secrets == ("TOKEN",)


def test_another_value_is_the_same_key(bench: Bench, tmp_path: Path) -> None:
    params = {"script": ["true"], "secrets": ["TOKEN"]}
    before = bench.layer("run", params)
    (tmp_path / "token").write_text("another-value")
    after = bench.layer("run", params)
    assert (before.inputs.key, before.action.digest) == (after.inputs.key, after.action.digest)


LEAKS = {
    "content": "cp /run/secrets/TOKEN /etc/copy",
    "inside a file": "{ echo user; cat /run/secrets/TOKEN; echo end; } > /root/.netrc",
    "name": 'touch "/root/$(cat /run/secrets/TOKEN | { read x; echo ${x%/*}; })-s3cr3t-t0ken"; '
    'mkdir -p "/root/$(cat /run/secrets/TOKEN)"; ln -s x "/root/l"; rm /root/l; ln -s "$(cat /run/secrets/TOKEN)" /l',
    "link": 'ln -s "$(cat /run/secrets/TOKEN)" /etc/link',
    "base64 of user and password": "{ printf user:; cat /run/secrets/TOKEN; } | base64 > /root/auth",
    "environment of a file": 'env X="$(cat /run/secrets/TOKEN)" env > /etc/environment',
    "appended to what was there": "cat /run/secrets/TOKEN >> /etc/group",
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_step_that_writes_a_secret_into_its_result_is_refused(bench: Bench, leak: str) -> None:
    with pytest.raises(StepError) as error:
        run(bench, LEAKS[leak])
    assert str(error.value).startswith("the secret `TOKEN` is in the result of the step: ")
    assert error.value.exit_code == 1 and TOKEN not in repr(vars(error.value))
    assert error.value.hints


def test_the_chroot_sandbox_refuses_too(bench: Bench) -> None:
    bench.sandbox = "chroot"
    with pytest.raises(StepError, match="is in the result of the step: /etc/copy holds it"):
        run(bench, "cp /run/secrets/TOKEN /etc/copy")


def test_a_secret_in_the_output_of_a_failure_is_hidden(bench: Bench) -> None:
    with pytest.raises(StepError) as error:
        run(bench, "true", "echo curl -u me:$(cat /run/secrets/TOKEN); exit 9")
    assert error.value.output == "curl -u me:***" and "line 2" in error.value.why
    assert error.value.__notes__ == ["curl -u me:***\n"]  # what the live log got


def test_a_secret_that_was_not_given_is_an_error_before_anything_runs(bench: Bench) -> None:
    bench.secrets = {}
    with pytest.raises(UsageError) as error:
        run(bench, "exit 1")
    assert str(error.value) == "the secret `TOKEN` was not given"
    assert error.value.hints[0].command == "stackbuild build --secret id=TOKEN,env=TOKEN"


def test_a_secret_too_short_to_be_looked_for_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    with pytest.raises(UsageError, match="the secret `TOKEN` is too short"):
        run(bench, "true")


def test_each_long_line_of_a_secret_counts() -> None:
    key = b"-----BEGIN KEY-----\nQUJDREVGR0hJSktM\nMNOPQRSTUVWXYZab\n-----END KEY-----\n"
    needles = Needles({"KEY": key})
    assert needles.find(b"x QUJDREVGR0hJSktM y") == "KEY" and needles.find(b"MNOPQRSTUVWXYZab") == "KEY"
    assert needles.find(b"-----BEGIN KEY-----") is None


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(min_size=12, max_size=60))
def test_base64_is_found_wherever_the_secret_stands(before: bytes, after: bytes, secret: bytes) -> None:
    if len(secret.strip()) < 12 or secret.strip() != secret or b"\n" in secret or b"\r" in secret:
        return
    needles = Needles({"S": secret})
    assert needles.find(base64.b64encode(before + secret + after)) == "S"
    assert needles.find(base64.urlsafe_b64encode(before + secret + after)) == "S"


@given(st.lists(st.sampled_from([b"s3cr3t", b"s3c", b"r3t", b"x", b"s", b"s3cr"]), max_size=12), st.integers(1, 5))
def test_a_secret_in_pieces_is_hidden_and_nothing_else_is_lost(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    needles = Needles({"S": b"s3cr3t"})
    out = bytearray()
    hiding = Hiding(needles, out.extend)
    for start in range(0, len(whole), size):
        hiding.write(whole[start : start + size])
    hiding.flush()
    assert bytes(out) == whole.replace(b"s3cr3t", b"***")
