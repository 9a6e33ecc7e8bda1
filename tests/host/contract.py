"""What every sandbox promises (host/sandbox/protocol.py); a subclass says which `name`."""

from __future__ import annotations

import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.changes import Changes
from stackbuild.core.errors import StepError
from stackbuild.host.sandbox import open_sandbox
from stackbuild.host.sandbox.protocol import Bind, Box, Command
from tests.host.tiny_root import ENV

pytestmark = pytest.mark.root

CAPABILITY = struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0)  # cap_net_bind_service=ep, revision 2


def script(text: str, **more: Any) -> Command:
    return Command(("sh", "-euc", text), ENV, **more)


def sh(box: Box, text: str, **more: Any) -> bytes:
    """Run a script that must succeed; its output."""
    output: list[bytes] = []
    code = box.run(script(text, **more), output.append)
    assert code == 0, b"".join(output)
    return b"".join(output)


def files(root: Path, tree: dict[str, object]) -> Path:
    """A folder from {path: text, None for a directory, a number for mode 0644 with that owner}."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_text(str(content))
    return root


def names(changes: Changes) -> tuple[list[str], list[str]]:
    return [os.fsdecode(p) for p in changes.present], [os.fsdecode(p) for p in changes.deleted]


class SandboxContract:
    name: str
    small = False

    @contextmanager
    def box(self, tmp: Path, *lowers: Path) -> Iterator[Box]:
        scratch = tmp / f"scratch{len(list(tmp.glob('scratch*')))}"
        scratch.mkdir()
        with open_sandbox(self.name).open(lowers, scratch, small=self.small) as box:
            yield box

    def whiteout(self, path: Path) -> None:
        """A whiteout in a lower folder, in the form that this sandbox reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.name == "overlay":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0))
        else:
            (path.parent / f".wh.{path.name}").touch()

    # ---- running ----

    def test_the_exit_code_is_the_commands_own(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            assert box.run(script("exit 7"), lambda data: None) == 7
            assert box.run(script("kill -TERM $$"), lambda data: None) == 143
            assert box.run(script("kill -KILL $$"), lambda data: None) == 137

    def test_both_streams_come_in_order_and_as_devices_too(self, tiny: Path, tmp_path: Path) -> None:
        text = "echo 1; echo 2 >&2; echo 3 >/dev/stdout; echo 4 >/dev/stderr; cat /dev/null; echo 5 >/dev/null; echo 6"
        with self.box(tmp_path, tiny) as box:
            assert sh(box, text) == b"1\n2\n3\n4\n6\n"

    def test_output_comes_while_the_command_runs(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            seen: list[bytes] = []

            def answer(data: bytes) -> None:
                if not seen:
                    (box.root / "go").touch()
                seen.append(data)

            waits = "echo up; i=0; while [ ! -e /go ]; do i=$((i+1)); [ $i -lt 1000 ]; sleep 0.01; done; echo done"
            assert box.run(script(waits), answer) == 0
            assert b"".join(seen) == b"up\ndone\n"

    def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            output: list[bytes] = []
            assert box.run(Command(("no-such-program",), ENV), output.append) == 127
            assert b"no-such-program: No such file or directory" in b"".join(output)
            assert box.run(Command(("/etc/passwd",), ENV), lambda data: None) == 126

    def test_the_environment_is_complete_and_nothing_of_the_host(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOST_SECRET", "1")
        with self.box(tmp_path, tiny) as box:
            output: list[bytes] = []
            command = Command(("env",), {**ENV, "A": "x y", "LC_ALL": "C.UTF-8"}, cwd="/etc")
            assert box.run(command, output.append) == 0
        found = sorted(b"".join(output).decode().splitlines())
        assert found == ["A=x y", "LC_ALL=C.UTF-8", f"PATH={ENV['PATH']}", "PWD=/etc"]

    def test_folder_umask_input_and_user(self, tiny: Path, tmp_path: Path) -> None:
        os.umask(0o077)
        try:
            with self.box(tmp_path, tiny) as box:
                assert sh(box, "id -u; umask; pwd; cat", cwd="/var/lib", stdin=b"in\n") == b"0\n0022\n/var/lib\nin\n"
                with pytest.raises(StepError, match="cannot run `sh` in /nowhere"):
                    box.run(script("true", cwd="/nowhere"), lambda data: None)
        finally:
            os.umask(0o022)

    def test_a_command_may_become_another_user_and_then_has_no_rights(self, tiny: Path, tmp_path: Path) -> None:
        perl = "$( = $) = '33 33'; $< = $> = 33; print qq($< $>\\n); open(F, '>', '/etc/x') and exit 1; exit 0"
        with self.box(tmp_path, tiny) as box:
            assert sh(box, f'perl -e "{perl.replace("$", chr(92) + "$")}"') == b"33 33\n"

    def test_a_timeout_ends_the_command_and_all_it_started(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            start, long = time.monotonic(), seconds_of_our_own()
            with pytest.raises(StepError, match=r"did not end: killed after 0\.3 seconds"):
                box.run(script(f"trap '' TERM; setsid sleep {long} & sleep {long}", timeout=0.3), lambda data: None)
            assert time.monotonic() - start < 10
        assert not running(long)

    def test_nothing_that_a_command_left_behind_lives_on(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            long = seconds_of_our_own()
            nap = f"sleep {long}"
            sh(box, f"{nap} & setsid {nap} & (setsid sh -c 'trap \"\" TERM HUP; {nap} & wait' &) ; true")
            assert not running(long)

    def test_too_much_output_is_an_error(self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("stackbuild.host.sandbox.limits.OUTPUT", 100_000)
        with self.box(tmp_path, tiny) as box, pytest.raises(StepError, match="`yes` wrote too much"):
            box.run(Command(("yes",), ENV), lambda data: None)

    def test_running_true_takes_tens_of_milliseconds(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            sh(box, "true")
            times: list[float] = []
            while min(times, default=1) >= 0.1 and len(times) < 50:  # others may have the machine for a while
                start = time.monotonic()
                sh(box, "true")
                times.append(time.monotonic() - start)
        assert min(times) < 0.1, times  # 11 ms on an idle machine

    # ---- what is seen ----

    def test_run_and_tmp_are_private_empty_and_gone_afterwards(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"run/kept": "1", "tmp/kept": "2"})
        with self.box(tmp_path, tiny, lower) as box:
            assert sh(
                box, "ls -A /run /tmp; stat -c %a /run /tmp; echo x >/tmp/x; echo y >/run/y; ls -A /run /tmp"
            ) == (b"/run:\n\n/tmp:\n755\n1777\n/run:\ny\n\n/tmp:\nx\n")
            assert sh(box, "ls -A /run /tmp", tmpfs=()) == b"/run:\nkept\n\n/tmp:\nkept\n"
            assert not box.changes()

    def test_mount_points_that_the_tree_lacks_leave_no_trace(self, tiny: Path, tmp_path: Path) -> None:
        source = files(tmp_path / "source", {"a": "A"})
        with self.box(tmp_path, tiny) as box:
            binds = (Bind(source, "/src/deep/down"), Bind(source / "a", "/run/secrets/token"), Bind(source, "/etc/x"))
            assert sh(box, "cat /src/deep/down/a /run/secrets/token /etc/x/a", binds=binds, network=True) == b"AAA"
            sh(box, "echo x >/proc/x || true; echo x >/sys/x || true; echo x >/dev/x || true")
            assert not box.changes()
            assert sorted(os.listdir(box.root)) == sorted(os.listdir(tiny))

    def test_what_a_command_puts_beside_a_mount_point_stays(self, tiny: Path, tmp_path: Path) -> None:
        source = files(tmp_path / "source", {"a": "A"})
        with self.box(tmp_path, tiny) as box:
            sh(box, "echo x >/src/own; cat /src/in/a", binds=(Bind(source, "/src/in"),))
            assert names(box.changes()) == (["src", "src/own"], [])

    def test_a_bind_through_a_link_of_the_tree_stays_in_the_tree(self, tiny: Path, tmp_path: Path) -> None:
        source = files(tmp_path / "source", {"a": "A"})
        outside = tmp_path / "outside"
        outside.mkdir()
        lower = tmp_path / "lower"
        lower.mkdir()
        (lower / "link").symlink_to(outside)
        (lower / "up").symlink_to("../../../../../../etc")
        with self.box(tmp_path, tiny, lower) as box:
            binds = (Bind(source, "/link/b"), Bind(source / "a", "/up/c"))
            assert sh(box, f"cat {outside}/b/a /etc/c", binds=binds) == b"AA"
            assert not box.changes()
        assert os.listdir(outside) == []

    def test_a_folder_exchanged_for_a_link_leads_no_cleaning_out_of_the_tree(self, tiny: Path, tmp_path: Path) -> None:
        """What was made for a mount is taken away after the command, which may have moved its folder."""
        victim = files(tmp_path / "victim", {"in/precious": "1", "file": "", "empty/x": "2"})
        (victim / "empty/x").unlink()
        source, cache = files(tmp_path / "source", {"a": "A"}), files(tmp_path / "cache", {"c": "C"})
        with self.box(tmp_path, tiny) as box:
            targets = {"/src/in": source, "/src/file": source / "a", "/src/empty": source}
            binds = [Bind(place, target) for target, place in targets.items()]
            binds.append(Bind(cache, "/src/cache", writable=True))
            sh(box, f"mv /src /moved; ln -s {victim} /src; echo n >/moved/cache/n", binds=tuple(binds))
            assert names(box.changes()) == (["moved", "src"], [])
            assert sorted(os.listdir(box.root / "moved")) == []
        assert sorted(os.listdir(victim)) == ["empty", "file", "in"] and os.listdir(victim / "in") == ["precious"]
        assert sorted(os.listdir(cache)) == ["c", "n"] and os.listdir(source) == ["a"]

    @pytest.mark.parametrize("name", ["proc", "dev", "sys"])
    def test_a_tree_whose_proc_is_a_link_is_refused(self, tiny: Path, tmp_path: Path, name: str) -> None:
        lower = tmp_path / "lower"
        lower.mkdir()
        (lower / name).symlink_to("/etc")
        with (
            self.box(tmp_path, tiny, lower) as box,
            pytest.raises(StepError, match=f"/{name} of the tree is no folder"),
        ):
            box.run(script("true"), lambda data: None)

    def test_a_read_only_source_is_never_written_and_a_writable_one_is(self, tiny: Path, tmp_path: Path) -> None:
        kept = files(tmp_path / "kept", {"a": "A"})
        cache = files(tmp_path / "cache", {"old": "1", "gone": "2", "d/x": "3"})
        with self.box(tmp_path, tiny) as box:
            binds = (Bind(kept, "/kept"), Bind(cache, "/cache", writable=True))
            sh(box, "echo B >/kept/a || true; rm /kept/a || true; echo 2 >/cache/old; rm /cache/gone", binds=binds)
            sh(box, "test ! -e /cache/gone; rm -r /cache/d; mkdir /cache/e; echo n >/cache/e/n", binds=binds)
            assert not box.changes()
        assert (kept / "a").read_text() == "A"
        assert (cache / "old").read_text() == "2\n" and sorted(os.listdir(cache)) == ["e", "old"]

    # ---- changes ----

    def test_added_changed_and_deleted(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"d/a": "a", "d/b": "b", "d/c": "c", "gone/x/y": "y", "etc/k": "k", "m": "m"})
        (lower / "l").symlink_to("old")
        with self.box(tmp_path, tiny, lower) as box:
            assert not box.changes()
            sh(
                box,
                """echo new >/d/new; echo more >>/d/a; chmod 600 /d/b; rm -r /gone; chown 33:33 /etc/k
                ln -sf new /l; mkdir -p /p/q; mv /m /moved; mkfifo /pipe; ln /d/new /d/hard""",
            )
            assert names(box.changes()) == (
                ["d", "d/a", "d/b", "d/hard", "d/new", "etc", "etc/k", "l", "moved", "p", "p/q", "pipe"],
                ["gone", "m"],
            )
            assert (box.changes().root / "d/a").read_text() == "amore\n"
            assert os.lstat(box.root / "d/hard").st_nlink == 2

    def test_what_is_equal_again_is_no_change(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"a": "same\n", "b": "b", "d/x": "x", "e/f/g": "g"})
        with self.box(tmp_path, tiny, lower) as box:
            sh(
                box,
                """echo same >/new; mv /new /a; chmod 600 /b; chmod 644 /b; touch /d /d/x; rm /d/x; printf x >/d/x
                echo t >/d/t; rm /d/t; cp -r /e /e2; rm -r /e; mv /e2 /e""",
            )
            assert not box.changes()

    def test_a_directory_that_was_replaced_is_explicit_deletions(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"d/a": "a", "d/b/c": "c", "d/keep": "k"})
        with self.box(tmp_path, tiny, lower) as box:
            sh(box, "rm -r /d; mkdir /d; printf k >/d/keep; echo n >/d/n")
            assert names(box.changes()) == (["d", "d/n"], ["d/a", "d/b"])

    def test_a_changed_type_is_present_alone(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"d/x/y": "y", "f": "f", "g": "g"})
        with self.box(tmp_path, tiny, lower) as box:
            sh(box, "rm -r /d; echo file >/d; rm /f; mkdir /f; echo in >/f/in; rm /g; ln -s f /g")
            assert names(box.changes()) == (["d", "f", "f/in", "g"], [])

    def test_hard_links_of_the_lowers_are_broken_by_a_change(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"a": "one"})
        os.link(lower / "a", lower / "b")
        with self.box(tmp_path, tiny, lower) as box:
            sh(box, "echo two >>/a")
            assert names(box.changes()) == (["a"], [])
            assert (box.root / "b").read_text() == "one"
        assert (lower / "a").read_text() == "one"

    def test_names_xattrs_capabilities_and_modes(self, tiny: Path, tmp_path: Path) -> None:
        lower = files(tmp_path / "lower", {"prog": "x", "other": "x", "plain": "x"})
        os.setxattr(lower / "prog", "security.capability", CAPABILITY)
        os.setxattr(lower / "other", "user.note", b"1")
        with self.box(tmp_path, tiny, lower) as box:
            assert os.getxattr(box.root / "prog", "security.capability") == CAPABILITY
            assert not box.changes()
            sh(box, "chmod 4755 /plain; printf 'x' >/\"$(printf 'caf\\351')\"; chmod 1777 /var/lib")
            os.setxattr(box.root / "other", "user.note", b"2")
            os.removexattr(box.root / "prog", "security.capability")
            changes = box.changes()
            assert changes.present == (b"caf\xe9", b"other", b"plain", b"prog", b"var", b"var/lib")
            assert stat.S_IMODE(os.lstat(box.root / "plain").st_mode) == 0o4755

    def test_sockets_do_not_count(self, tiny: Path, tmp_path: Path) -> None:
        with self.box(tmp_path, tiny) as box:
            listener = socket.socket(socket.AF_UNIX)
            here = os.getcwd()
            os.chdir(box.root / "var")
            try:
                listener.bind("sock")
            finally:
                os.chdir(here)
                listener.close()
            assert not box.changes()

    def test_whiteouts_in_the_lowers_hide(self, tiny: Path, tmp_path: Path) -> None:
        low = files(tmp_path / "low", {"d/a": "a", "d/b": "b", "e/x": "x"})
        high = files(tmp_path / "high", {"d/c": "c"})
        self.whiteout(high / "d/a")
        self.whiteout(high / "e")
        with self.box(tmp_path, tiny, low, high) as box:
            assert sh(box, "ls /d; test ! -e /e; echo again >/d/a; mkdir /e; ls -A /e") == b"b\nc\n"
            assert names(box.changes()) == (["d", "d/a", "e"], [])
            assert names(box.changes(base=[tiny, low])) == (["d", "d/a", "d/c"], ["e/x"])

    def test_changes_against_another_stack(self, tiny: Path, tmp_path: Path) -> None:
        one = files(tmp_path / "one", {"a": "1", "b": "1", "d/x": "x", "s/same": "s"})
        two = files(tmp_path / "two", {"a": "2", "c": "2", "s/same": "s"})
        with self.box(tmp_path, tiny, one, two) as box:
            sh(box, "rm -r /d; echo n >/n; printf 1 >/a")
            assert names(box.changes(base=[tiny, one])) == (["c", "n"], ["d"])
            assert names(box.changes(base=[tiny])) == (["a", "b", "c", "n", "s", "s/same"], [])
            assert names(box.changes()) == (["a", "n"], ["d"])

    # ---- insert ----

    def test_inserted_folders_are_seen_and_are_no_change(self, tiny: Path, tmp_path: Path) -> None:
        above = files(tmp_path / "above", {"etc/conf": "above"})
        more = [files(tmp_path / f"more{i}", {f"usr/share/p{i}/f": str(i), "etc/conf": "below"}) for i in range(3)]
        with self.box(tmp_path, tiny, above) as box:
            sh(box, "echo pre >/etc/pre; mkdir -p /usr/share/p1; echo own >/usr/share/p1/own")
            box.insert(more, 1)
            assert sh(box, "cat /usr/share/p*/f /etc/conf /etc/pre") == b"012abovepre\n"
            assert names(box.changes()) == (
                ["etc", "etc/pre", "usr", "usr/share", "usr/share/p1", "usr/share/p1/own"],
                [],
            )

    def test_inserted_entries_take_the_place_of_changed_ones(self, tiny: Path, tmp_path: Path) -> None:
        old = files(tmp_path / "old", {"d/a": "old", "gone/x": "old", "kept": "k"})
        more = files(tmp_path / "more", {"d/a": "new", "d/b": "new", "gone/y": "new", "e/f": "new", "kept/in": "no"})
        with self.box(tmp_path, tiny, old) as box:
            sh(
                box,
                "echo mine >/d/a; echo mine >/d/b; rm -r /gone; mkdir /e; chmod 700 /e; echo c >>/kept; rm /etc/issue",
            )
            box.insert([more], 2)
            assert sh(box, "cat /d/a /d/b /e/f /gone/y; ls /gone; cat /kept") == b"newnewnewnewy\nkc\n"
            assert names(box.changes()) == (["e", "kept"], ["etc/issue", "gone/x"])

    def test_a_directory_replaced_before_an_insertion_shows_what_is_inserted(self, tiny: Path, tmp_path: Path) -> None:
        old = files(tmp_path / "old", {"d/a": "old", "d/s/x": "x"})
        more = files(tmp_path / "more", {"d/n": "new", "d/s/y": "new"})
        with self.box(tmp_path, tiny, old) as box:
            sh(box, "rm -r /d; mkdir /d; echo mine >/d/m")
            box.insert([more], 2)
            assert sh(box, "cat /d/n /d/m /d/s/y; ls /d") == b"newmine\nnewm\nn\ns\n"
            assert names(box.changes()) == (["d", "d/m"], ["d/a", "d/s/x"])

    def test_a_new_mode_of_an_inserted_directory_holds_where_nobody_changed_it(
        self, tiny: Path, tmp_path: Path
    ) -> None:
        old = files(tmp_path / "old", {"d/a": "a", "e/a": "a"})
        more = files(tmp_path / "more", {"d/b": "b", "e/b": "b"})
        (more / "d").chmod(0o750)
        (more / "e").chmod(0o750)
        with self.box(tmp_path, tiny, old) as box:
            sh(box, "echo x >/d/x; chmod 711 /e")
            box.insert([more], 2)
            assert sh(box, "stat -c %a /d /e") == b"750\n711\n"
            assert names(box.changes()) == (["d", "d/x", "e"], [])


def seconds_of_our_own() -> str:
    """A long time for `sleep` that no other test run on this machine says: processes are looked for by it."""
    return str(10_000_000 + os.getpid())


def running(word: str) -> bool:
    """Whether any process of this machine has this word among its arguments."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if word.encode() in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0"):
                    return True
            except OSError:
                pass
    return False
