"""`up`, `stop`, `down`, restarts, health and the log, as DESIGN section 11 promises them."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from stackbuild.core.errors import StackError, StepError
from stackbuild.core.events import ContainerStateChanged, Note
from stackbuild.core.paths import StorePaths
from stackbuild.host import syscalls
from stackbuild.run import lifecycle, requests, watch
from stackbuild.run.asked import Asked
from stackbuild.run.container import Container, State, find
from stackbuild.run.runtimes import table
from stackbuild.run.spec import Health, Mount, Port
from tests.machine import free_port, need, run, wait_until
from tests.run.boxes import Boxes

FOREVER = ("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")


def test_up_leaves_starts_and_replaces(boxes: Boxes) -> None:
    first = boxes.up(FOREVER)
    assert first.how == "created"
    assert boxes.up(FOREVER).how == "unchanged"
    boxes.exec(first.container, "echo kept > /kept")
    boxes.said(first.container, "up")  # from here on it hears the signal
    assert lifecycle.stop(first.container, boxes.paths) == 0
    assert boxes.up(FOREVER).how == "started"
    assert boxes.exec(first.container, "cat /kept") == (0, "kept\n")
    assert boxes.up(FOREVER, env={"CHANGED": "1"}).how == "replaced"
    assert boxes.exec(first.container, "test -e /kept; echo $? $CHANGED") == (0, "1 1\n")


def test_two_at_once_make_one_container(boxes: Boxes) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(boxes.up(FOREVER).how)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == ["created", "unchanged"]
    assert len(lifecycle.ps(boxes.paths)) == 1


def test_down_keeps_volumes_and_nothing_else(boxes: Boxes) -> None:
    container = boxes.start(FOREVER, mounts=(Mount("volume", "/srv/data", "kept"),))
    lifecycle.down(container, boxes.paths)
    assert not container.folder.exists() and lifecycle.ps(boxes.paths) == ()
    assert not lifecycle.start_again(container, boxes.paths)  # another process saw it before it was removed
    assert not container.folder.exists()
    assert (boxes.paths.volumes / "kept/first").exists()
    with pytest.raises(StackError, match="there is no container `box-bwrap`"):
        find(boxes.paths.containers, "box-bwrap")


def test_ps_tells_what_is_there(boxes: Boxes) -> None:
    running = boxes.start(FOREVER, name="one")
    boxes.becomes(boxes.start(("sh", "-c", "exit 3"), name="two"), "exited")
    one, two = lifecycle.ps(boxes.paths)
    assert (one.name, one.state.status, one.state.runtime) == (running.name, "running", "bwrap")
    assert (two.state.status, two.state.exit_code, two.command) == ("exited", 3, ("sh", "-c", "exit 3"))


def test_a_container_that_ends_while_its_state_is_asked_has_its_own_exit_code(tmp_path: Path) -> None:
    class Ending(Container):
        def supervised(self) -> bool:
            self.write_state(State("exited", exit_code=3))  # the supervisor's last deed, after our first look
            return False

    container = Ending(tmp_path)
    container.write_state(State("running"))
    assert (container.state().exit_code, container.state().detail) == (3, "")


# -- restarts ------------------------------------------------------------------------------------------------------


def test_on_failure_starts_again_as_often_as_said(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "echo run; exit 9"), restart="on-failure:2")
    state = boxes.becomes(container, "exited")
    assert (state.restarts, state.exit_code) == (2, 9)
    assert boxes.log(container) == "run\n" * 3


def test_on_failure_leaves_a_success_alone(boxes: Boxes) -> None:
    assert boxes.becomes(boxes.start(("true",), restart="on-failure"), "exited").restarts == 0


def test_always_starts_again_until_it_is_stopped(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "echo run"), restart="always")
    wait_until(lambda: container.state().restarts >= 2)
    lifecycle.stop(container, boxes.paths)
    state = container.state()
    assert state.status == "exited" and state.stopped


# -- health --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "health",
    [
        Health("http", ("http://127.0.0.1:80/index.html",), interval=5, timeout=5),
        Health("tcp", ("127.0.0.1:80",), interval=5, timeout=5),
        Health("test", ("CMD-SHELL", "wget -q -O - 127.0.0.1:80/index.html | grep -q hello"), interval=5, timeout=5),
    ],
    ids=lambda health: health.kind,
)
def test_a_health_check_waits_for_the_service(boxes: Boxes, health: Health) -> None:
    script = "sleep 0.3; exec httpd -f -p 127.0.0.1:80 -h /srv/www"
    container = boxes.start(("sh", "-c", script), health=health)
    assert container.state().health == "starting"
    watch.wait_healthy(container, 30, boxes.events.append)
    assert container.state().health == "healthy"
    assert any(isinstance(event, ContainerStateChanged) and event.state == "healthy" for event in boxes.events)


def test_an_unhealthy_container_says_why(boxes: Boxes) -> None:
    check = Health("test", ("CMD", "sh", "-c", "echo no database; exit 1"), interval=0.05, retries=2)
    container = boxes.start(FOREVER, health=check)
    with pytest.raises(StepError, match="is unhealthy: no database") as failed:
        watch.wait_healthy(container, 30)
    assert failed.value.output == "up" and container.state().status == "running"


def test_a_check_that_hangs_is_ended(boxes: Boxes) -> None:
    check = Health("test", ("CMD", "sleep", "50"), interval=0.2, timeout=0.1, retries=1)
    container = boxes.start(FOREVER, health=check)
    with pytest.raises(StepError, match="no answer in time"):
        watch.wait_healthy(container, 30)
    # The next one has begun by now, or has not: there are moments without any if each is ended.
    wait_until(lambda: "sleep 50" not in boxes.exec(container, "ps -o args")[1], 30, "the end of a check")


def test_waiting_for_what_has_ended_says_its_last_words(boxes: Boxes) -> None:
    check = Health("tcp", ("127.0.0.1:1",), interval=0.5)
    container = boxes.start(("sh", "-c", "echo broken config; exit 2"), health=check)
    with pytest.raises(StepError, match="has ended: exit code 2") as failed:
        watch.wait_healthy(container, 30)
    assert failed.value.output == "broken config"


def test_nobody_waits_for_a_container_that_is_restarted_over_and_over(boxes: Boxes) -> None:
    check = Health("tcp", ("127.0.0.1:1",), interval=60.0)
    container = boxes.start(("sh", "-c", "echo no database >&2; exit 9"), restart="always", health=check)
    with pytest.raises(StepError, match="keeps ending") as found:
        watch.wait_healthy(container, 600)
    assert found.value.why == "exit code 9, and 5 restarts did not help"
    assert found.value.output.splitlines()[-1] == "no database"


def test_without_a_check_one_that_is_restarted_over_and_over_does_not_pass_for_running(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "sleep 0.2; exit 9"), restart="on-failure")
    with pytest.raises(StepError, match="keeps ending"):
        watch.wait_healthy(container, 600)
    steady = boxes.start(("sleep", "60"), name="steady", restart="always")
    watch.wait_healthy(steady, 60)
    assert steady.state().restarts == 0


# -- the log -------------------------------------------------------------------------------------------------------


def test_logs_follow_until_the_end(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "echo one; sleep 0.3; echo two >&2; printf three"))
    pieces: list[tuple[str, bytes]] = []
    watch.logs(container, lambda stream, data: pieces.append((stream, data)), follow=True)
    assert b"".join(data for stream, data in pieces if stream == "stdout") == b"one\nthree"
    assert (b"two\n") in [data for stream, data in pieces if stream == "stderr"]


def test_the_last_lines_of_the_log(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "for i in 1 2 3 4 5; do echo $i; done"))
    boxes.becomes(container, "exited")
    pieces: list[bytes] = []
    watch.logs(container, lambda stream, data: pieces.append(data), last=2)
    assert b"".join(pieces) == b"4\n5\n"
    assert watch.tail(container, 1) == "5"


def test_in_the_foreground_ctrl_c_stops_it_and_its_exit_code_is_ours(boxes: Boxes) -> None:
    script = "trap 'echo bye; exit 42' TERM; echo up; while :; do sleep 0.05; done"
    container = boxes.start(("sh", "-c", script))
    said: list[bytes] = []

    def output(stream: str, data: bytes) -> None:
        said.append(data)
        if data == b"up\n":
            os.kill(os.getpid(), signal.SIGINT)

    assert watch.attach(container, output, boxes.events.append) == 42
    assert b"".join(said) == b"up\nbye\n"
    with pytest.raises(KeyboardInterrupt):  # the handler is as it was
        signal.raise_signal(signal.SIGINT)


def test_in_the_foreground_again_only_what_it_writes_now_is_shown(boxes: Boxes) -> None:
    container = boxes.start(FOREVER)
    boxes.said(container, "up")
    lifecycle.stop(container, boxes.paths)
    said: list[bytes] = []

    def output(stream: str, data: bytes) -> None:
        said.append(data)
        if data == b"up\n":
            os.kill(os.getpid(), signal.SIGINT)

    with Asked() as asked:
        assert boxes.up(FOREVER).how == "started"
        assert watch.attach(container, output, asked=asked) == 0
    assert b"".join(said) == b"up\nbye\n" and boxes.log(container) == "up\nbye\n" * 2


def test_a_second_ctrl_c_does_not_wait(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "trap 'echo no' TERM; echo up; while :; do sleep 0.05; done"), stop_grace=60.0)

    def output(stream: str, data: bytes) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    assert watch.attach(container, output) == 137
    assert time.monotonic() - began < 20


# -- network -------------------------------------------------------------------------------------------------------


def server_inside(container: Container, kind: socket.SocketKind, port: int) -> socket.socket:
    """A socket that is bound in the container's network; only the thread that makes it goes there."""
    made: list[socket.socket] = []

    def make() -> None:
        with open(f"/proc/{container.state().supervisor}/ns/net") as namespace:
            syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
        made.append(socket.socket(socket.AF_INET, kind))
        made[0].bind(("127.0.0.1", port))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(10)
    made[0].settimeout(30)
    return made[0]


def test_in_the_hosts_network_the_service_itself_listens(boxes: Boxes) -> None:
    number = free_port()
    argv = ("httpd", "-f", "-p", f"127.0.0.1:{number}", "-h", "/srv/www")
    check = Health("http", (f"http://127.0.0.1:{number}/index.html",), interval=5)
    container = boxes.start(argv, network="host", ports=(Port(number, number, "127.0.0.1"),), health=check)
    watch.wait_healthy(container, 30)
    assert container.state().ports[0].host_port == number


def test_udp_is_published_too(boxes: Boxes) -> None:
    container = boxes.start(FOREVER, network="private", ports=(Port(5300, 0, "127.0.0.1", "udp"),))
    number = container.state().ports[0].host_port
    with server_inside(container, socket.SOCK_DGRAM, 5300) as server:
        for _ in range(2):  # two clients, each gets its own answer
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(30)
                client.sendto(b"ping", ("127.0.0.1", number))
                data, sender = server.recvfrom(100)
                server.sendto(data + b" pong", sender)
                assert client.recv(100) == b"ping pong"


def test_much_data_goes_both_ways_through_a_port(boxes: Boxes) -> None:
    container = boxes.start(FOREVER, network="private", ports=(Port(9000, free_port(), "127.0.0.1"),))
    data = os.urandom(5 << 20)
    with server_inside(container, socket.SOCK_STREAM, 9000) as server:
        server.listen()
        with socket.create_connection(("127.0.0.1", container.state().ports[0].host_port), timeout=30) as client:
            line, _ = server.accept()
            with line:
                for sender, receiver in ((client, line), (line, client)):
                    thread = threading.Thread(target=lambda s=sender: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
                    thread.start()
                    with receiver.makefile("rb") as stream:
                        assert stream.read() == data
                    thread.join(30)


def test_a_private_network_has_a_way_out(boxes: Boxes) -> None:
    need("ip"), need("iptables-restore")
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(10)
        number = server.getsockname()[1]
        script = f"ip route | grep default; echo hello | nc -w 5 $(ip route | awk '/default/ {{print $3}}') {number}"
        container = boxes.start(("sh", "-c", script + "; exec sleep 60"), network="private")
        with server.accept()[0] as line:
            assert line.recv(100) == b"hello\n"
            assert line.getpeername()[0].startswith("10.213.")
    made = json.loads(container.path("network.json").read_text())
    assert made["link"] in rules() and made["subnet"] in rules()
    lifecycle.stop(container, boxes.paths, grace=0.0)
    assert made["link"] not in rules() and made["subnet"] not in rules()
    assert not Path("/sys/class/net", made["link"]).exists()


def test_after_kill_9_the_next_command_takes_the_way_out_away(boxes: Boxes) -> None:
    need("ip"), need("iptables-restore")
    container = boxes.start(FOREVER, network="private")
    link = json.loads(container.path("network.json").read_text())["link"]
    os.kill(container.state().supervisor, signal.SIGKILL)
    wait_until(lambda: not container.supervised())
    assert link in rules()
    lifecycle.down(container, boxes.paths)
    assert link not in rules()


def rules() -> str:
    """What the host's packet filter holds."""
    return "".join(run([need("iptables"), "-w", "-t", table, "-S"]).out for table in ("nat", "filter"))


def test_without_the_tools_for_a_way_out_it_is_said(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "HELPERS", ())
    container = boxes.start(("sh", "-c", "cat /proc/net/route | wc -l"), network="private")
    notes = [event.text for event in boxes.events if isinstance(event, Note)]
    assert len(notes) == 1 and "no way out of its network: ip and iptables-restore not found" in notes[0]
    boxes.becomes(container, "exited")
    assert boxes.log(container) == "1\n"


# -- what is broken ------------------------------------------------------------------------------------------------


def test_a_folder_to_bind_that_is_not_there(boxes: Boxes, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"volume /data: .*nowhere does not exist"):
        boxes.start(("true",), mounts=(Mount("bind", "/data", str(tmp_path / "nowhere")),))


def test_an_image_whose_tree_is_gone(boxes: Boxes, tmp_path: Path) -> None:
    boxes.lowers = (tmp_path / "gone",)
    with pytest.raises(StackError, match="the unpacked image of the container is gone"):
        boxes.start(("true",))


def test_a_damaged_container_is_shown_and_can_be_removed(boxes: Boxes) -> None:
    container = boxes.start(("true",))
    boxes.becomes(container, "exited")
    wait_until(lambda: not container.supervised())
    container.path("spec.json").write_text("{")
    assert "cannot be read" in lifecycle.ps(boxes.paths)[0].state.detail
    lifecycle.down(container, boxes.paths)
    assert not container.folder.exists()


def test_exec_in_what_is_not_running(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "exit 3"))
    boxes.becomes(container, "exited")
    wait_until(lambda: not container.supervised())
    with pytest.raises(StepError, match="is not running: it ended with exit code 3"):
        requests.exec_(container, ("true",), (0, 1, 2))


def test_a_long_path_of_the_store(boxes: Boxes, tmp_path: Path) -> None:
    """A socket's name has at most 107 bytes; a folder's may have many more."""
    boxes.paths = StorePaths(tmp_path / ("long-" * 30) / "store")
    container = boxes.start(FOREVER)
    assert boxes.exec(container, "echo here") == (0, "here\n")
    boxes.close()
