"""When a container counts as healthy: the rule alone, without containers."""

from __future__ import annotations

import http.server
import threading

import pytest

from stackbuild.run.health import Progress, after, check, pause
from stackbuild.run.spec import Health

CHECK = Health("tcp", ("127.0.0.1:1",), interval=2.0, retries=3, start_period=0.0)


def states(health: Health, results: list[tuple[float, bool]]) -> list[str]:
    progress, found = Progress(), []
    for age, passed in results:
        progress = after(health, progress, passed, age)
        found.append(progress.state)
    return found


def test_the_first_success_is_healthy() -> None:
    assert states(CHECK, [(0.1, False), (0.2, True)]) == ["starting", "healthy"]


def test_early_failures_do_not_count_faster_than_the_interval() -> None:
    early = [(0.1 * n, False) for n in range(1, 20)]
    assert set(states(CHECK, early)) == {"starting"}
    assert states(CHECK, [*early, (2.1, False), (4.2, False), (6.3, False)])[-3:] == [
        "starting",
        "starting",
        "unhealthy",
    ]


def test_failures_in_the_start_period_do_not_count() -> None:
    patient = Health("tcp", ("127.0.0.1:1",), interval=1.0, retries=1, start_period=10.0)
    assert states(patient, [(9.0, False), (11.0, False)]) == ["starting", "unhealthy"]


def test_what_was_healthy_needs_all_retries_to_be_unhealthy_and_one_success_to_come_back() -> None:
    found = states(CHECK, [(1, True), (3, False), (5, False), (7, False), (9, True)])
    assert found == ["healthy", "healthy", "healthy", "unhealthy", "healthy"]


def test_checks_come_often_at_first_and_then_each_interval() -> None:
    assert pause(CHECK, Progress()) < 0.1
    assert pause(CHECK, Progress(checks=30)) == 2.0 == pause(CHECK, Progress("healthy"))


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (302, True), (404, False), (500, False)])
def test_http_by_its_status(status: int, healthy: bool) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/path?query"
        health = Health("http", (url,), timeout=5)
        if healthy:
            assert check(health) == f"{url} answers {status}"
        else:
            with pytest.raises(ValueError, match=f"answers {status}"):
                check(health)
