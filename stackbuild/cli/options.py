"""The command line as a value: which command, and the options that all commands share. Imports nothing heavy."""

from __future__ import annotations

import os
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from stackbuild import __version__
from stackbuild.cli.words import command_at
from stackbuild.core.errors import Hint, UsageError

if TYPE_CHECKING:
    from argparse import _ActionsContainer

COMMANDS = {
    "up": "build if needed, start the container, wait until it is healthy",
    "build": "build the image",
    "plan": "what would run, and why",
    "explain": "what a step is made of, and what differs from an earlier build",
    "lock": "resolve packages and write stack.lock",
    "why": "the chain of requests that pulls a package in",
    "tree": "the locked packages and what each needs",
    "outdated": "the locked packages of which the sources have another version",
    "diff": "what differs between two locks",
    "config": "the settled settings and where each came from",
    "images": "the images in the store",
    "tag": "one more name for an image of the store",
    "rmi": "take names of images away",
    "cache": "what the store holds: ls, du, prune, verify",
    "push": "push the image to a registry",
    "run": "start a container from any image",
    "ps": "the containers",
    "logs": "what a container wrote",
    "exec": "run a command in a running container",
    "stop": "stop a container",
    "restart": "stop a container and start it again",
    "wait": "wait for a container's end and give its exit code",
    "down": "stop and remove a container",
    "doctor": "what this machine can do, and what would mend the rest",
    "recipe": "list, show, test and push recipes",
    "init": "write a stack.toml that works",
    "schema": "the JSON Schema of stack.toml or recipe.toml, for editors",
}
IN_NAMESPACE = frozenset(("up", "build", "plan", "explain", "run", "exec", "push", "stop", "restart", "down", "cache"))
"""Commands that own or enter other users' files: an ordinary user runs them in a user namespace."""
FOR_A_BASE = frozenset(("lock", "why", "outdated"))
"""Commands that do so on a base image only: where there can be no user namespace, they do without for other stacks."""

STAMPED = frozenset(("build", "plan", "up", "lock"))
"""Commands that have nothing to do if nothing that the last run read has changed (cli/fast.py)."""


class Parser(ArgumentParser):
    """argparse, whose complaints are errors of our one shape."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message[:1].upper() + message[1:], hints=[Hint("see the options", f"{self.prog} --help")])


class Files(Action):
    """-f: the first is `file`, all of them are `files`."""

    def __call__(self, parser: Any, namespace: Namespace, values: Any, option_string: str | None = None) -> None:
        namespace.files = [*getattr(namespace, "files", ()), values]
        namespace.file = namespace.files[0]


def global_options(parser: _ActionsContainer, *, top: bool) -> None:
    """The options of every command; they may stand before the command or after it."""

    def add(*names: str, default: object = None, **more: Any) -> None:
        parser.add_argument(*names, default=default if top else SUPPRESS, **more)

    add("-C", dest="directory", metavar="DIR", default=".", help="as if started in DIR")
    add("-f", "--file", action=Files, dest="file", metavar="FILE", default="",
        help="the stack file (default: stack.toml); given twice: two stacks")  # fmt: skip
    add("--profile", action="append", metavar="NAME", help="lay stack.NAME.toml over the stack file")
    add("--set", dest="sets", action="append", metavar="KEY=VALUE", help="set one setting, above all others")
    add("--store", metavar="DIR", help="where images, packages and containers are kept")
    add("--offline", action="store_true", default=False, help="touch no network")
    add("--progress", choices=("auto", "tty", "plain", "json"), default="auto", help="how progress is shown on stderr")
    add("-q", "--quiet", action="store_true", default=False, help="warnings and errors only")
    add("-v", "--verbose", action="store_true", default=False, help="all output of steps; tracebacks of bugs")


def parse(argv: Sequence[str]) -> Namespace:
    """The command and all its options. Imports the one command's module. Raises UsageError, SystemExit (help)."""
    top = Parser(prog="stackbuild", description="From a stack file to a running, healthy container.", add_help=False)
    global_options(top, top=True)
    top.add_argument("-h", "--help", action="store_true")
    top.add_argument("--version", action="version", version=f"stackbuild {__version__}")
    top.add_argument("command", nargs="?")
    before, after = split(argv)
    args = top.parse_args(before)
    if args.command is None:
        top.usage = "stackbuild [OPTION]... COMMAND [ARG]..."
        top.epilog = "commands:\n" + "\n".join(f"  {name:9} {text}" for name, text in COMMANDS.items())
        from argparse import RawDescriptionHelpFormatter

        top.formatter_class = RawDescriptionHelpFormatter
        if args.help:
            top.print_help()
            raise SystemExit(0)
        raise UsageError("no command given", hints=[Hint("see the commands", "stackbuild --help")])
    if args.help:
        after = ["--help", *after]
    parser = Parser(prog=f"stackbuild {args.command}", description=COMMANDS[args.command], conflict_handler="resolve")
    global_options(parser.add_argument_group("options of every command"), top=False)
    module = command_module(args.command)
    module.options(parser)
    return parser.parse_args(after, args)


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words up to the command, and those after it. Raises UsageError for an unknown command."""
    at = command_at(list(argv))
    for word in argv[at : at + 1]:
        if word not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(word, COMMANDS, 2)
            hints = [Hint(f"did you mean `{name}`?", f"stackbuild {name}") for name in near]
            raise UsageError(
                f"there is no command `{word}`", hints=hints or [Hint("see the commands", "stackbuild --help")]
            )
    return list(argv[: at + 1]), list(argv[at + 1 :])


def command_module(name: str) -> Any:
    """The module of a command: it has `options(parser)` and `run(app, args)`."""
    from importlib import import_module

    return import_module(f"stackbuild.cli.commands.{name}")


def enter_directory(args: Namespace) -> None:
    """Go to the folder of -C; all paths of the command line and the environment count from there."""
    try:
        os.chdir(args.directory)
    except OSError as error:
        raise UsageError(f"-C {args.directory}: cannot go there", why=error.strerror or "") from None
