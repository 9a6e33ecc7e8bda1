"""`stackbuild run`: a container from any image, with the settings of engine, user and command line."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import REMAINDER, ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.cli.containers import environment

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.run.asked import Asked
    from stackbuild.run.container import Container
    from stackbuild.run.settings import Wanted
    from stackbuild.run.spec import RuntimeSpec
    from stackbuild.stack.stack import Stack

_LISTS = (("ports", "-p", "--publish"), ("volumes", "-v", "--volume"), ("tmpfs", "", "--tmpfs"))
_MORE = (("cap-add", "", "--cap-add"), ("cap-drop", "", "--cap-drop"))
_WORDS = ("network", "user", "runtime", "restart")


def options(parser: ArgumentParser) -> None:
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running and return")
    parser.add_argument("-i", "--interactive", action="store_true", help="let it read our stdin")
    parser.add_argument("-t", "--tty", action="store_true", help="give it a terminal")
    parser.add_argument("--rm", action="store_true", help="remove it when it has ended")
    parser.add_argument("--name", metavar="NAME", help="what the container is called (default: after the image)")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE")
    for key, short, long in _LISTS + _MORE:
        names = (short, long) if short else (long,)
        parser.add_argument(*names, dest=key, action="append", default=[], help=f"as container.{key}")
    for key in _WORDS:
        parser.add_argument(f"--{key}", help=f"as container.{key}")
    parser.add_argument("reference", metavar="REF", help="an image of the store, or docker://REF, oci:DIR…")
    parser.add_argument("argv", nargs=REMAINDER, metavar="COMMAND")


def run(app: App, args: Namespace) -> int:
    supervisor = app.supervisor()
    if args.tty and args.interactive:
        from stackbuild.cli.terminal import need_terminal

        need_terminal()
    from stackbuild.run.lifecycle import down, start

    spec, lowers = _what(app, args)
    stdin = args.interactive and not args.tty
    if args.detach:
        start(spec, lowers, app.paths, supervisor, app.listener, stdin=stdin)
        sys.stdout.write(f"{spec.name}\n")
        return 0
    from stackbuild.run.asked import Asked

    with nullcontext() if args.tty else Asked() as asked:  # from here on Ctrl-C means the container
        made = start(spec, lowers, app.paths, supervisor, app.listener, stdin=stdin)
        try:
            return _follow(app, args, made, asked)
        finally:
            if args.rm:
                down(made, app.paths)


def _follow(app: App, args: Namespace, made: Container, asked: Asked | None) -> int:
    """Join it with our terminal, or show what it writes; its exit code."""
    from stackbuild.cli.terminal import join, output
    from stackbuild.run.requests import borrow_terminal, wait
    from stackbuild.run.watch import attach

    if args.tty:
        terminal, line = borrow_terminal(made)
        join(terminal, stdin=args.interactive)
        line.close()
        return wait(made)
    return attach(made, output, app.listener, asked=asked) or 0


def _what(app: App, args: Namespace) -> tuple[RuntimeSpec, list[Path]]:
    """What to start, and the unpacked layers of its image, lowest first."""
    from stackbuild.run.settings import runtime_spec

    config, lowers = app.lowers_of(args.reference)
    name = args.name or f"{_stem(args.reference)}-{os.urandom(4).hex()}"
    spec = runtime_spec(config, settings(app, args), name, command=args.argv, terminal=args.tty)
    return spec, lowers


def settings(app: App, args: Namespace) -> Wanted:
    """What engine, site, user and this command line say of the container, with no stack beside them."""
    from stackbuild.cli.settling import made_of_nothing
    from stackbuild.run import settings as ours

    said: dict[str, Any] = {key: getattr(args, key) for key, _, _ in _LISTS + _MORE if getattr(args, key)}
    said |= {key: getattr(args, key) for key in _WORDS if getattr(args, key) is not None}
    env = environment(args.env, dict(app.environ))
    sets = [f"container.{key}={json.dumps(value)}" for key, value in said.items()]
    sets += [f"container.env.{json.dumps(key)}={json.dumps(value)}" for key, value in env.items()]

    def make(stack: Stack) -> dict[str, Any]:
        return ours.wanted(stack.container, Path.cwd(), ours.soft_settings(stack)).to_tree()

    return ours.Wanted.from_tree(made_of_nothing(app, sets, make, ours.__file__))


def _stem(reference: str) -> str:
    """A name after the image: "nginx" of "docker://registry.example.com/team/nginx:1.2"."""
    last = os.path.basename(re.split(r"[@:]", reference.rstrip("/").rpartition("/")[2] or reference)[0])
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", last).strip("-.") or "container"
