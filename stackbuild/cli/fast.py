"""The no-op path: `build`, `plan`, `up`, `lock` with nothing changed answer by `stat` alone (DESIGN, section 7).

Imports no TOML, pydantic, networkx or jinja2; what it does is proven equal to the long way by tests.
"""

from __future__ import annotations

import hashlib
import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild import __version__
from stackbuild.core import paths, stamps

if TYPE_CHECKING:
    from stackbuild.cli.sending import Sending
    from stackbuild.run.container import Container
    from stackbuild.run.spawn import Spawned

ONCE = (
    "secret",
    "to",
    "push",
    "cache_to",
    "graph",
    "metadata_file",
    "always_make",
    "dry_run",
    "no_build",
    "shell_on_failure",
    "watch",
)
"""Options with which a command does more, or something else, than bring the image or the lock up to date."""


def words(args: Namespace, environ: Mapping[str, str], more: Sequence[str] = ONCE) -> list[str] | None:
    """All that decides a build and is neither a file nor a named variable; None: the long way must be gone.

    more: options that ask for more than the stamp can tell of.
    """
    files = stack_files(args)
    if files is None or any(getattr(args, name, None) for name in more):
        return None
    if any(getattr(args, name, None) is not None for name in ("update", "vendor")):  # [] and "" say something too
        return None
    overrides = sorted(f"{name}={value}" for name, value in environ.items() if name.startswith("STACKBUILD__"))
    return [
        args.command if args.command in ("lock", "plan") else "build",
        __version__,
        *files,
        *(args.profile or ()),
        "--platform",
        *getattr(args, "platform", ()),
        "--set",
        *(args.sets or ()),
        "--environment",
        *overrides,
        str(paths.user_config(environ)),
        environ.get("STACKBUILD_SANDBOX", ""),
    ]


def stack_files(args: Namespace) -> tuple[str, ...] | None:
    """The stack files of a command line, in its order, absolute; None if a TARGET of it is a step."""
    files = [os.path.abspath(file) for file in getattr(args, "files", ())]
    for target in getattr(args, "target", ()):
        if (file := stack_file(target)) is None:
            return None
        files.append(file)
    return tuple(dict.fromkeys(files or [os.path.abspath(args.file or "stack.toml")]))


def stack_file(word: str) -> str | None:
    """The stack file that a word names, absolute; None if it names none."""
    if word.endswith(".toml"):
        return os.path.abspath(word)
    file = os.path.abspath(os.path.join(word, "stack.toml"))
    return file if word and os.path.isfile(file) else None


def store_of(args: Namespace, environ: Mapping[str, str]) -> paths.StorePaths:
    """The store, as the long way finds it: relative to where the command was started."""
    return paths.StorePaths(paths.store_root(environ, args.store))


def current(args: Namespace, environ: Mapping[str, str]) -> stamps.Stamp | None:
    """The stamp of the last run with these words, if nothing that it read has changed."""
    said = words(args, environ)
    if said is None:
        return None
    stamp = stamps.read(stamps.place(store_of(args, environ).stamps, said))
    return stamp if stamp is not None and stamp.current(environ) else None


def sending(args: Namespace, environ: Mapping[str, str]) -> Sending | None:
    """What a `push` needs of the settings, if nothing that the last build read has changed since."""
    from stackbuild.cli.sending import Sending

    said = words(args, environ, ())
    stamp = None if said is None else stamps.read(stamps.place(store_of(args, environ).stamps, said))
    if stamp is None or "sending" not in stamp.result or not stamp.current(environ):
        return None
    return Sending.from_json(stamp.result["sending"])


def run(args: Namespace, environ: Mapping[str, str]) -> int | None:
    """Do the command from its stamp: its exit code, or None if the long way must be gone."""
    stamp = current(args, environ)
    if stamp is None:
        return None
    from stackbuild.cli.output import show
    from stackbuild.cli.results import Built, Said

    if args.command in ("lock", "plan"):
        show(Said(stamp.result["text"], stamp.result["json"]), args.format)
        return 0
    if args.command == "build":
        result = stamp.result
        for name in result.get("names") or [result["name"]]:
            _note(args, f"{name} is up to date")
        if "names" in result:
            show(Said(result["text"], result["json"]), args.format)
            return 0
        show(Built(result["name"], result["digest"], result["size"], ()), args.format)
        return 0
    container = _container(stamp, store_of(args, environ))
    return None if container is None else _up(args, environ, container)


def _note(args: Namespace, text: str) -> None:
    from stackbuild.cli.progress import make_plain
    from stackbuild.core.events import Note

    make_plain(args.progress, quiet=args.quiet, verbose=args.verbose)(Note(text))


def _container(stamp: stamps.Stamp, store: paths.StorePaths) -> Container | None:
    """The project's container, if it is the one that the stamp's settings describe."""
    from stackbuild.run.container import Container

    if "container" not in stamp.result:
        return None
    container = Container(store.containers / stamp.result["container"])
    if spec_digest(container) != stamp.result["spec"]:
        return None
    return container if all(os.path.isdir(lower) for lower in container.launch.lowers) else None


def spec_digest(container: Container) -> str:
    """Of the spec as it is stored; "" if there is none."""
    try:
        return hashlib.sha256(container.path("spec.json").read_bytes()).hexdigest()
    except OSError:
        return ""


def _up(args: Namespace, environ: Mapping[str, str], container: Container) -> int | None:
    from stackbuild.run.container import ALIVE

    running = container.state().status in ALIVE
    if os.geteuid() != 0 and not (running and args.detach):
        return None  # the caller enters the user namespace first, and asks again in there
    if running:
        return _attach_or_leave(args, environ, container, None)
    from stackbuild.run.spawn import spawned

    with spawned() as supervisor:  # it gets ready meanwhile
        return _attach_or_leave(args, environ, container, supervisor)


def _attach_or_leave(
    args: Namespace, environ: Mapping[str, str], container: Container, supervisor: Spawned | None
) -> int | None:
    """Start it if there is a supervisor for it; then as --detach and --wait say."""
    from stackbuild.cli.progress import make_plain

    listener = make_plain(args.progress, quiet=args.quiet, verbose=args.verbose)
    from stackbuild.cli.reaching import attach_to, tell_where
    from stackbuild.run.asked import Asked
    from stackbuild.run.watch import wait_healthy

    how = "started" if supervisor else "unchanged"
    with nullcontext() if args.detach else Asked() as asked:
        if supervisor:
            from stackbuild.run.lifecycle import start_again

            if not start_again(container, store_of(args, environ), listener, supervisor):
                return None  # `down` was quicker
        if not args.detach:
            return attach_to(container, how, listener, asked)
    if args.wait:
        wait_healthy(container, args.wait_timeout, listener)
    tell_where(container, how, listener)
    return 0


def remember(
    args: Namespace,
    environ: Mapping[str, str],
    *,
    started: int,
    read: Iterable[Path],
    written: Iterable[Path],
    variables: Iterable[str],
    result: Mapping[str, Any],
) -> None:
    """Keep the stamp of a finished build. started: time.time_ns() before anything was read.

    read: files that decide the build; one that changed since `started` may have been read before it changed, so
    there is no stamp then. written: what the build itself made or checked (the lock, blobs).
    """
    said = words(args, environ, ())  # whatever else was asked for, it is up to date now
    if said is None:
        return
    before = stamps.take(read, environ, list(variables), dict(result))
    if not before.older_than(started):
        return
    made = stamps.take(written, environ, (), {})
    stamps.write(
        stamps.place(store_of(args, environ).stamps, said), before._replace(files={**before.files, **made.files})
    )


def forget(args: Namespace, environ: Mapping[str, str]) -> None:
    """Take away what `remember` kept."""
    if (said := words(args, environ, ())) is not None:
        stamps.place(store_of(args, environ).stamps, said).unlink(missing_ok=True)


def remember_container(args: Namespace, environ: Mapping[str, str], container: Container) -> None:
    """Add to the stamp which container, with which spec, the settings describe."""
    said = words(args, environ)
    if said is None:
        return
    place = stamps.place(store_of(args, environ).stamps, said)
    stamp = stamps.read(place)
    if stamp is not None:
        result = {**stamp.result, "container": container.name, "spec": spec_digest(container)}
        stamps.write(place, stamp._replace(result=result))
