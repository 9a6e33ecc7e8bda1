"""Where a running container can be reached, and following it in the foreground. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stackbuild.cli.output import show
from stackbuild.core.events import ContainerStateChanged, Event, Listener, Note

if TYPE_CHECKING:
    from collections.abc import Callable

    from stackbuild.run.asked import Asked
    from stackbuild.run.container import Container


class Reachable(NamedTuple):
    """What `up -d` prints."""

    name: str
    how: str
    addresses: tuple[str, ...]

    def to_text(self) -> str:
        where = f" at {', '.join(self.addresses)}" if self.addresses else ""
        return f"{self.name} is running{where}"

    def to_json(self) -> Any:
        return {"v": 1, "name": self.name, "how": self.how, "addresses": list(self.addresses)}


def tell_where(container: Container, how: str, listener: Listener) -> None:
    """The container's name and where its published ports are, on stdout. how: as run/lifecycle.py's Started says."""
    if how == "unchanged":
        listener(Note(f"{container.name} is already running, and nothing has changed"))
    elif how == "started":
        listener(Note(f"nothing has changed: {container.name} was started as it was"))
    show(Reachable(container.name, how, addresses(container)))


def addresses(container: Container) -> tuple[str, ...]:
    """A URL for each published TCP port, as somebody on this machine would type it."""
    found = []
    for port in container.state().ports:
        host = "localhost" if port.host_ip in ("", "0.0.0.0", "::") else port.host_ip
        place = f"{host}:{port.host_port}"
        found.append(f"http://{place}/" if port.protocol == "tcp" else f"{place}/{port.protocol}")
    return tuple(found)


def attach_to(
    container: Container,
    how: str,
    listener: Listener,
    asked: Asked | None = None,
    *,
    until: Callable[[], bool] | None = None,
    since: float | None = None,
) -> int | None:
    """Stream its log until it ends; Ctrl-C stops it. Returns the container's own exit code; None: `until` said so.

    how: as run/lifecycle.py's Started says, or "kept": what it was to become could not be made.
    asked: the signals that were counted since before it was started. since: as run/watch.py's attach."""
    from stackbuild.cli.terminal import output
    from stackbuild.run.watch import attach

    def listen(event: Event) -> None:
        listener(event)
        if isinstance(event, ContainerStateChanged) and event.state == "healthy":
            where = addresses(container)
            listener(Note(f"{container.name} is healthy" + (f", at {', '.join(where)}" if where else "")))

    if how == "unchanged":
        listener(Note(f"{container.name} is already running, and nothing has changed"))
    elif how == "kept":
        listener(Note(f"{container.name} goes on as it was"))
    if how in ("unchanged", "kept") and since is None:
        since = 0.0
    return attach(container, output, listen, since=since, asked=asked, until=until)
