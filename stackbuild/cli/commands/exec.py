"""`stackbuild exec`: one more command in a running container."""

from __future__ import annotations

import os
from argparse import REMAINDER, ArgumentParser, Namespace
from typing import TYPE_CHECKING

from stackbuild.cli.containers import chosen, environment

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("-i", "--interactive", action="store_true", help="let it read our stdin")
    parser.add_argument("-t", "--tty", action="store_true", help="give it a terminal")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("-u", "--user", metavar="USER[:GROUP]")
    parser.add_argument("-w", "--workdir", metavar="DIR")
    parser.add_argument("-c", "--container", metavar="NAME", help="the container (default: this project's)")
    parser.add_argument("argv", nargs=REMAINDER, metavar="COMMAND")


def run(app: App, args: Namespace) -> int:
    from stackbuild.cli.terminal import join, need_terminal
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.run.requests import exec_

    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise UsageError("no command is given", hints=[Hint("for a shell", "stackbuild exec -it sh")])
    if args.tty and args.interactive:
        need_terminal()
    env = environment(args.env, dict(app.environ))
    if args.tty:
        env.setdefault("TERM", app.environ.get("TERM", "xterm"))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    stdio = (null, null, null) if args.tty else (0 if args.interactive else null, 1, 2)
    process = exec_(
        chosen(app, args.container), argv, stdio, terminal=args.tty, env=env, user=args.user, cwd=args.workdir
    )
    if process.terminal >= 0:
        join(process.terminal, stdin=args.interactive)
    return process.wait()
