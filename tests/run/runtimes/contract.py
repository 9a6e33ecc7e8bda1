"""What every runtime promises. A subclass says which, in `name`."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from stackbuild.core.errors import StackError, StepError
from stackbuild.core.paths import StorePaths
from stackbuild.host.syscalls import capability_mask
from stackbuild.run import lifecycle, requests
from stackbuild.run.spec import DEFAULT_CAPABILITIES, Limits, Mount, Port
from tests.machine import free_port, wait_until
from tests.run.boxes import Boxes


class RuntimeContract:
    name: ClassVar[str]

    @pytest.fixture
    def boxes(self, tmp_path: Path, tree: tuple[Path, ...]) -> Iterator[Boxes]:
        made = Boxes(StorePaths(tmp_path / "store"), tree, self.name)
        yield made
        made.close()

    # -- the process ---------------------------------------------------------------------------------------------

    def test_the_exit_code_is_the_commands_own(self, boxes: Boxes) -> None:
        assert boxes.run("echo out; echo err >&2; exit 7") == (7, "out\nerr\n")

    def test_a_signal_is_128_more(self, boxes: Boxes) -> None:
        assert boxes.run("kill -9 $$")[0] == 137

    def test_a_command_that_is_not_there_is_said(self, boxes: Boxes) -> None:
        with pytest.raises(StepError, match="cannot execute `/bin/nothing` in the container"):
            boxes.start(["/bin/nothing"])

    def test_stop_ends_what_ignores_sigterm(self, boxes: Boxes) -> None:
        container = boxes.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"])
        boxes.said(container, "up")
        began = time.monotonic()
        assert lifecycle.stop(container, boxes.paths, grace=0.2) == 137
        assert time.monotonic() - began < 5
        assert container.state().stopped

    def test_the_stop_signal_is_the_images(self, boxes: Boxes) -> None:
        script = "trap 'echo quit; exit 3' QUIT; echo up; while :; do sleep 0.1; done"
        container = boxes.start(["sh", "-c", script], stop_signal=signal.SIGQUIT)
        boxes.said(container, "up")
        assert lifecycle.stop(container, boxes.paths) == 3
        assert boxes.log(container) == "up\nquit\n"

    def test_nothing_is_left_running(self, boxes: Boxes) -> None:
        marker = f"86{os.getpid()}"
        boxes.run(f"sleep {marker} & exec sleep 0.1")
        assert not _processes(f"sleep\0{marker}\0")

    def test_orphans_are_reaped(self, boxes: Boxes) -> None:
        code, said = boxes.run("(sh -c 'sleep 0.05 & sleep 0.01' &); sleep 0.5; ps -o stat | grep -c Z")
        assert said.strip() == "0", (code, said)

    def test_environment_and_folder(self, boxes: Boxes) -> None:
        _, said = boxes.run("env | sort; pwd; umask", env={"A": "b c"}, cwd="/new/place")
        names = [line.partition("=")[0] for line in said.splitlines()]
        assert "A=b c" in said and "HOME=/root" in said
        assert said.endswith("/new/place\n0022\n")
        assert set(names[:-2]) <= {"A", "HOME", "HOSTNAME", "PATH", "PWD", "SHLVL", "OLDPWD"}, said

    @pytest.mark.parametrize(
        ("user", "expected"),
        [
            ("", "0 0 /root 0"),
            ("app", "10001 10002 /home/app 10002 10003"),
            ("10001", "10001 10002 /home/app 10002 10003"),
            ("app:extra", "10001 10003 /home/app 10003"),
            ("4711:4712", "4711 4712 / 4712"),
        ],
    )
    def test_the_user(self, boxes: Boxes, user: str, expected: str) -> None:
        uid, gid, home, *groups = boxes.run("echo $(id -u) $(id -g) $HOME $(id -G)", user=user)[1].split()
        assert " ".join((uid, gid, home, *sorted(set(groups)))) == expected

    def test_an_unknown_user_is_said(self, boxes: Boxes) -> None:
        with pytest.raises(StackError, match="nobody-here"):
            boxes.start(["true"], user="nobody-here")

    # -- rights --------------------------------------------------------------------------------------------------

    def test_capabilities_are_the_default_list(self, boxes: Boxes) -> None:
        status = _status(boxes.run("cat /proc/self/status")[1])
        expected = f"{capability_mask(DEFAULT_CAPABILITIES):016x}"
        assert [status[key] for key in ("CapPrm", "CapEff", "CapBnd")] == [expected] * 3
        assert [int(status[key], 16) for key in ("CapInh", "CapAmb")] == [0, 0]
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"

    def test_another_user_has_no_capabilities_but_those_asked_for(self, boxes: Boxes) -> None:
        status = _status(boxes.run("cat /proc/self/status", user="app")[1])
        assert int(status["CapEff"], 16) == int(status["CapAmb"], 16) == 0
        with_raw = (*DEFAULT_CAPABILITIES, "NET_RAW")
        more = {"capabilities": with_raw, "added": ("NET_RAW",)}
        status = _status(boxes.run("cat /proc/self/status", user="app", **more)[1])
        assert int(status["CapEff"], 16) == capability_mask(["NET_RAW"])

    def test_no_new_privs_can_be_left_out(self, boxes: Boxes) -> None:
        status = _status(boxes.run("cat /proc/self/status", no_new_privs=False)[1])
        assert status["NoNewPrivs"] == "0" and status["Seccomp"] == "2"
        assert status["CapEff"] == f"{capability_mask(DEFAULT_CAPABILITIES):016x}"

    def test_what_could_harm_the_host_cannot_be_written_or_read(self, boxes: Boxes) -> None:
        script = """
            for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity; do
                (echo x > $file) 2>/dev/null && echo "wrote $file"
            done
            for file in /proc/kcore /proc/keys /proc/timer_list; do
                test -e $file && test -n "$(head -c 1 $file 2>/dev/null)" && echo "read $file"
            done
            test -z "$(ls -A /sys/firmware 2>/dev/null)" || echo "saw /sys/firmware"
            (echo x > /sys/kernel/mm/ksm/run) 2>/dev/null && echo "wrote /sys"
            mount -t tmpfs none /tmp 2>/dev/null && echo mounted
            mknod /tmp/sda b 8 0 2>/dev/null && echo "made a device"
            unshare -m true 2>/dev/null && echo unshared
            for fd in /proc/[0-9]*/fd/*; do
                case "$(readlink $fd)" in /|/proc) echo "descriptor $fd";; esac
            done
            ls /proc/1/root/ >/dev/null 2>&1 && test -e /proc/1/root/usr/bin && echo "saw the host"
            echo done
        """
        assert boxes.run(script)[1] == "done\n"

    def test_process_one_gives_nothing_away(self, boxes: Boxes) -> None:
        """Neither the store's paths, nor rights to whoever takes it over."""
        _, said = boxes.run("tr '\\0' ' ' < /proc/1/cmdline; echo; grep CapEff /proc/1/status")
        assert str(boxes.paths.root) not in said
        assert int(said.split()[-1], 16) in (0, capability_mask(DEFAULT_CAPABILITIES))

    # -- files ---------------------------------------------------------------------------------------------------

    def test_the_tree_is_the_layers(self, boxes: Boxes, tree: tuple[Path, ...]) -> None:
        _, said = boxes.run("cat /srv/data/first /srv/www/index.html; ls /etc/gone 2>&1; echo new > /srv/new")
        assert said.startswith("from the image\n<h1>hello</h1>\n") and "No such file" in said
        assert not any((layer / "srv/new").exists() for layer in tree)

    def test_a_read_only_root_cannot_be_written(self, boxes: Boxes) -> None:
        mounts = (Mount("tmpfs", "/scratch", mode=0o755),)
        script = (
            "(echo x > /etc/x) 2>/dev/null || echo refused; echo y > /scratch/y; cat /scratch/y; stat -c%a /scratch"
        )
        assert boxes.run(script, read_only=True, mounts=mounts) == (0, "refused\ny\n755\n")

    def test_a_tmpfs_has_its_size(self, boxes: Boxes) -> None:
        mounts = (Mount("tmpfs", "/small", size=1 << 20),)
        assert boxes.run("head -c 3000000 /dev/zero > /small/x 2>/dev/null || wc -c < /small/x", mounts=mounts)[
            1
        ].split() == [str(1 << 20)]

    def test_a_tmpfs_has_its_mode_whatever_it_covers(self, boxes: Boxes) -> None:
        mounts = (Mount("tmpfs", "/srv"), Mount("tmpfs", "/new"), Mount("tmpfs", "/own", mode=0o700))
        assert boxes.run("stat -c%a /srv /new /own", mounts=mounts) == (0, "1777\n1777\n700\n")

    def test_a_bound_folder(self, boxes: Boxes, tmp_path: Path) -> None:
        (tmp_path / "host").mkdir()
        (tmp_path / "host/file").write_text("from the host\n")
        read_only = (Mount("bind", "/mnt/host", str(tmp_path / "host"), read_only=True),)
        script = "cat /mnt/host/file; echo x > /mnt/host/new || echo refused"
        assert "from the host" in boxes.run(script, mounts=read_only)[1]
        assert not (tmp_path / "host/new").exists()
        boxes.run(script, mounts=(Mount("bind", "/mnt/host", str(tmp_path / "host")),))
        assert (tmp_path / "host/new").read_text() == "x\n"

    def test_a_named_volume_starts_as_the_images_folder_and_stays(self, boxes: Boxes) -> None:
        mounts = (Mount("volume", "/srv/data", "data"),)
        assert boxes.run("cat /srv/data/first; echo second > /srv/data/second", mounts=mounts)[1] == "from the image\n"
        assert boxes.run("cat /srv/data/second", mounts=mounts)[1] == "second\n"
        assert (boxes.paths.volumes / "data/second").read_text() == "second\n"

    def test_a_link_in_the_tree_leads_no_mount_out_of_it(self, boxes: Boxes, tmp_path: Path) -> None:
        evil, outside = tmp_path / "evil", tmp_path / "outside"
        evil.mkdir()
        (evil / "link").symlink_to(outside)
        boxes.lowers = (*boxes.lowers, evil)
        code, said = boxes.run("ls -d /link/in", mounts=(Mount("tmpfs", "/link/in"),))
        assert not outside.exists()
        assert code == 0, said

    # -- limits --------------------------------------------------------------------------------------------------

    def test_a_limit_of_processes(self, boxes: Boxes) -> None:
        _, said = boxes.run("for i in $(seq 60); do sleep 5 & echo $i; done", limits=Limits(pids=30))
        assert "an't fork" in said and len(said.splitlines()) < 31, said

    def test_a_limit_of_memory(self, boxes: Boxes) -> None:
        hungry = "x=xxxxxxxxxxxxxxxx; for i in $(seq 24); do x=$x$x; done; echo ${#x}"  # 256 MiB
        assert boxes.run(f"sh -c '{hungry}' 2>/dev/null; echo $?", limits=Limits(memory=32 << 20))[1] == "137\n"

    def test_a_limit_of_processor_time(self, boxes: Boxes) -> None:
        container = boxes.start(["sh", "-c", "while :; do :; done"], limits=Limits(cpus=0.1))
        pid = container.state().pid
        wait_until(lambda: _held_back(pid) > 0, what="the kernel holding the container back")

    def test_limits_of_each_process(self, boxes: Boxes) -> None:
        assert boxes.run("ulimit -n; ulimit -Hn", rlimits={"nofile": (64, 128)})[1] == "64\n128\n"
        container = boxes.start(["sh", "-c", "ulimit -n"], rlimits={"nofile": (1 << 30, 1 << 30)}, name="much")
        boxes.becomes(container, "exited")
        assert any("ulimits.nofile" in note for note in container.state().notes)

    # -- network -------------------------------------------------------------------------------------------------

    def test_none_is_loopback_alone(self, boxes: Boxes) -> None:
        _, said = boxes.run(
            "ls /sys/class/net; cat /proc/net/route | wc -l; ping -c1 -W1 127.0.0.1 >/dev/null; ifconfig lo"
        )
        assert said.split()[:2] == ["lo", "1"] and "UP LOOPBACK" in said

    def test_host_is_the_hosts_network(self, boxes: Boxes) -> None:
        _, said = boxes.run("readlink /proc/self/ns/net", network="host")
        assert said.strip() == os.readlink("/proc/self/ns/net")

    def test_a_published_port_serves(self, boxes: Boxes) -> None:
        argv = ["httpd", "-f", "-p", "127.0.0.1:80", "-h", "/srv/www"]
        ports = (Port(80, free_port(), "127.0.0.1"), Port(80, 0, "127.0.0.1"))
        container = boxes.start(argv, network="private", ports=ports, user="app")
        published = container.state().ports
        assert published[1].host_port != 0
        for port in published:
            assert _get(port.host_port) == "<h1>hello</h1>\n"

    def test_a_taken_port_is_said(self, boxes: Boxes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            with pytest.raises(StackError, match=f"cannot listen on port {number}"):
                boxes.start(["true"], network="private", ports=(Port(80, number, "127.0.0.1"),))

    def test_host_name_and_hosts(self, boxes: Boxes) -> None:
        _, said = boxes.run("hostname; cat /etc/hostname; grep -c localhost /etc/hosts; touch /etc/resolv.conf")
        assert said.split()[:2] == ["box", "box"]

    # -- exec ----------------------------------------------------------------------------------------------------

    def test_exec_is_in_the_container_with_its_rights(self, boxes: Boxes) -> None:
        container = boxes.start(["sleep", "60"], limits=Limits(pids=50))
        code, said = boxes.exec(container, "hostname; cat /proc/self/status; ls -l /proc/self/ns; exit 5")
        assert code == 5 and said.startswith("box\n")
        status = _status(said)
        assert status["CapEff"] == f"{capability_mask(DEFAULT_CAPABILITIES):016x}" and status["Seccomp"] == "2"
        _, other = boxes.exec(container, "ls -l /proc/$(pidof sleep)/ns")
        spaces = re.findall(r"\w+:\[\d+\]", said)
        assert spaces and set(re.findall(r"\w+:\[\d+\]", other)) == set(spaces)

    def test_exec_as_another_user_in_another_folder(self, boxes: Boxes) -> None:
        container = boxes.start(["sleep", "60"])
        script = "echo $(id -u) $PWD $X $HOME"
        assert boxes.exec(container, script, user="app", cwd="/srv", env={"X": "y"}) == (0, "10001 /srv y /home/app\n")

    def test_exec_with_a_terminal(self, boxes: Boxes) -> None:
        container = boxes.start(["sleep", "60"])
        null = os.open("/dev/null", os.O_RDWR)
        script = "tty; stty size; read x; echo got $x; exit 4"
        process = requests.exec_(container, ("sh", "-c", script), (null,) * 3, terminal=True)
        os.close(null)
        os.write(process.terminal, b"word\n")
        said = _drain(process.terminal)
        assert b"/dev/pts/" in said and b"got word" in said
        assert process.wait() == 4

    def test_exec_of_nothing_is_said(self, boxes: Boxes) -> None:
        container = boxes.start(["sleep", "60"])
        with pytest.raises(StepError, match="cannot execute `nothing`"):
            requests.exec_(container, ("nothing",), (0, 1, 2))

    def test_a_terminal_for_the_command_itself(self, boxes: Boxes) -> None:
        container = boxes.start(["sh", "-c", "read x; tty; echo got $x; exit 6"], terminal=True)
        master, line = requests.borrow_terminal(container)
        os.write(master, b"word\n")
        said = _drain(master)
        line.close()
        assert b"got word" in said and requests.wait(container) == 6

    # -- after a kill --------------------------------------------------------------------------------------------

    def test_kill_9_of_the_supervisor_is_understood(self, boxes: Boxes) -> None:
        marker = f"87{os.getpid()}"
        argv = ["sleep", marker]
        container = boxes.start(argv, network="private")
        os.kill(container.state().supervisor, signal.SIGKILL)
        wait_until(lambda: not container.supervised())
        state = container.state()
        assert (state.status, state.exit_code, state.detail) == ("exited", 137, "its supervisor was killed")
        assert boxes.up(argv, network="private").how == "started"
        assert len(_processes(f"sleep\0{marker}\0")) == 1
        lifecycle.down(container, boxes.paths)
        assert not _processes(f"sleep\0{marker}\0") and not container.folder.exists()

    def test_nothing_stays_mounted(self, boxes: Boxes) -> None:
        boxes.run("true")
        assert str(boxes.paths.root) not in Path("/proc/self/mountinfo").read_text()


def _status(text: str) -> dict[str, str]:
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines() if ":" in line}


def _processes(command: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if command in place.read_text(errors="replace"):
                found.append(place.parent.name)
        except OSError:
            pass
    return found


def _held_back(pid: int) -> int:
    """How often the kernel made a process's control group wait for its share of a processor; either version."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            for place in (".", *controllers.split(","), controllers):
                file = Path("/sys/fs/cgroup", place, path.lstrip("/"), "cpu.stat")
                found = re.search(r"nr_throttled (\d+)", file.read_text()) if file.exists() else None
                if found and int(found[1]):
                    return int(found[1])
    return 0


def _get(port: int) -> str:
    found: list[str] = []

    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=2) as answer:
                found.append(answer.read().decode())
        except OSError:
            return False
        return True

    wait_until(ask, what=f"an answer on port {port}")
    return found[0]


def _drain(master: int) -> bytes:
    said = b""
    try:
        while data := os.read(master, 4096):
            said += data
    except OSError:
        pass
    os.close(master)
    return said
