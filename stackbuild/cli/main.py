"""argv -> command -> exit code. Holds the one `except` of the program."""

from __future__ import annotations

import gc
import os
import sys

from stackbuild.cli.words import command_at

TYPE_CHECKING = False  # `typing` takes longer to import than all else here
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from stackbuild.core.errors import StackError
    from stackbuild.run.spawn import Spawned


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code (DESIGN, section 11); no traceback for an expected failure."""
    words = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(50_000)  # a command makes few rings and ends soon: to look for them costs more than they hold
    supervisor: Spawned | None = None
    try:
        supervisor = _supervisor(words)
        return _main(words, supervisor)
    except KeyboardInterrupt:  # before we know how errors are to be shown
        from stackbuild.core.errors import Interrupted

        return fail(Interrupted("interrupted"), None)
    finally:
        if supervisor is not None:
            supervisor.close()


def entry() -> None:
    """The program: `main`, then out, without what Python does to forget its modules: 13 ms of processor time."""
    code = main()
    threads = sys.modules.get("threading")
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        sys.exit(code)  # Python says what it says
    if threads is None or threads.active_count() == 1:
        os._exit(code)
    sys.exit(code)


def _supervisor(words: list[str]) -> Spawned | None:
    """`run` waits for nothing longer than for this: so it is begun before anything else is imported."""
    at = command_at(words)
    if words[at : at + 1] != ["run"] or os.geteuid() != 0:
        return None
    from stackbuild.run.spawn import Spawned

    try:
        return Spawned()
    except OSError:
        return None  # whoever needs one tries again, and says what is wrong


def _main(words: list[str], supervisor: Spawned | None) -> int:
    from stackbuild.core.errors import Interrupted, StackError

    args: Namespace | None = None
    try:
        from stackbuild.cli.options import STAMPED, command_module, enter_directory, parse

        args = parse(words)
        start = os.getcwd()
        enter_directory(args)
        if args.command in STAMPED:
            from stackbuild.cli import fast

            done = fast.run(args, os.environ)
            if done is not None:
                return done
        if os.geteuid() != 0 and _needs_namespace(args.command):
            from stackbuild.host.userns import reenter_if_needed

            os.chdir(start)  # the same command line is read again in there
            reenter_if_needed()
            enter_directory(args)
        from stackbuild.cli.wiring import App

        with App.of(args, dict(os.environ), supervisor) as app:
            code = command_module(args.command).run(app, args)
        return int(code or 0)
    except StackError as error:
        return fail(error, args)
    except KeyboardInterrupt:
        return fail(Interrupted("interrupted"), args)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        from stackbuild.core.files import host_error, is_full
        from stackbuild.core.paths import store_root

        if not is_full(error):
            raise
        return fail(host_error(error, error.filename or store_root(os.environ, args.store if args else None)), args)


def _needs_namespace(command: str) -> bool:
    """Whether an ordinary user's command is to run in a user namespace."""
    from stackbuild.cli.options import FOR_A_BASE, IN_NAMESPACE

    if command not in FOR_A_BASE:
        return command in IN_NAMESPACE
    from stackbuild.host.userns import missing

    return missing() is None


def fail(error: StackError, args: Namespace | None) -> int:
    """Show an error on stderr, for people or (with --progress json) for programs."""
    from stackbuild.cli.output import error_json, render_error, wants_color, write

    verbose = bool(args and args.verbose)
    if args and args.progress == "json":
        import json

        write(sys.stderr, json.dumps(error_json(error)) + "\n")
    else:
        write(sys.stderr, render_error(error, verbose, wants_color(sys.stderr, dict(os.environ))) + "\n")
    return error.exit_code


if __name__ == "__main__":
    entry()
