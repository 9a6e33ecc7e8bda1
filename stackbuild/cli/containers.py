"""Which container a command means, and containers as data for people and programs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, NamedTuple

from stackbuild.core.errors import UsageError
from stackbuild.core.values import plain
from stackbuild.core.words import age

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.run.container import Container
    from stackbuild.run.lifecycle import ContainerInfo


def name_option(parser: ArgumentParser) -> None:
    """NAME: by default the container of the project that we are in."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the container (default: this project's)")


def time_option(parser: ArgumentParser) -> None:
    """-t TIME, of commands that stop a container."""
    parser.add_argument("-t", "--time", type=span, metavar="TIME", help="until SIGKILL (default: its own setting)")


def chosen(app: App, name: str | None) -> Container:
    """The named container, else this project's. Raises UsageError."""
    from stackbuild.run.container import find

    return find(app.paths.containers, name if name is not None else app.container_name())


def span(text: str) -> float:
    """Seconds of "10s", as argparse's type."""
    from argparse import ArgumentTypeError

    from stackbuild.stack.quantities import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError:
        try:
            return parse_seconds(float(text))
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error


def environment(pairs: list[str], environ: dict[str, str]) -> dict[str, str]:
    """Of -e NAME=VALUE and -e NAME (our own value, if we have one). Raises UsageError."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name:
            raise UsageError(f"-e {pair}: write NAME=VALUE, or NAME to pass our own value on")
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


class Containers(NamedTuple):
    """What `ps` prints."""

    found: tuple[ContainerInfo, ...]
    now: float

    def to_text(self) -> str:
        head = ("NAME", "STATE", "SINCE", "RUNTIME", "PORTS", "COMMAND")
        rows = [head, *(self._row(info) for info in self.found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
        return "\n".join("  ".join(f"{text:{w}}" for text, w in zip(row, [*widths, 0], strict=True)) for row in rows)

    def _row(self, info: ContainerInfo) -> tuple[str, ...]:
        state = info.state
        what = state.status
        if state.status == "running" and state.health != "none":
            what = state.health if state.health != "starting" else "running (health: starting)"
        elif state.status == "exited":
            what = f"exited ({'?' if state.exit_code is None else state.exit_code})"
        when = state.started if state.status == "running" else state.finished
        ports = ", ".join(map(str, state.ports)) if state.status != "exited" else ""
        return info.name, what, age(self.now - when) if when else "", state.runtime, ports, " ".join(info.command)[:60]

    def to_json(self) -> Any:
        return [
            {"name": one.name, "image": one.image, "command": list(one.command), **plain(one.state)}
            for one in self.found
        ]
