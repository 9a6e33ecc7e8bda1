"""`--watch`: build (and start) again whenever a file that was read has changed; looks by `stat`, as stamps do."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core.errors import Interrupted, StackError
from stackbuild.core.events import Note
from stackbuild.core.stamps import signature

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.run.container import Container
    from stackbuild.stack.stack import Stack

PAUSE = 0.3  # seconds between two looks
SHARE = 20  # a look may take one twentieth of the time


class Changes:
    """Whether something that a round read has changed since it was read. Cost of a look: one lstat for each file."""

    def __init__(self, app: App, before: Changes | None = None, *, failed: bool = False) -> None:
        """failed: the round did not come to its end, so what an earlier one read and the folder itself count, too."""
        files, self._written = _files_of(app)
        if failed:
            files |= {*map(os.path.dirname, files), *(before.files if before else ())}
        self.files: tuple[str, ...] = tuple(sorted(files))
        self._before = {file: signature(file) for file in self.files}
        # What was saved while the round ran may have been read before it was.
        read = [(file, mark) for file, mark in self._before.items() if file not in self._written and mark is not None]
        self._late = next((file for file, mark in read if max(mark[3:]) >= app.started), "")
        self._next, self.found = 0.0, ""

    def __call__(self) -> bool:
        """Looks at most every PAUSE seconds; False in between."""
        now = time.monotonic()
        if now < self._next:
            return False
        self.found = self._late or next((file for file, mark in self._before.items() if signature(file) != mark), "")
        self._next = time.monotonic() + max(PAUSE, SHARE * (time.monotonic() - now))
        return bool(self.found)

    def tell(self, app: App) -> None:
        """Which file it was."""
        from stackbuild.cli.wiring import NotesOnce

        listener = app.listener.all if isinstance(app.listener, NotesOnce) else app.listener
        listener(Note(f"{os.path.relpath(self.found)} has changed"))  # worth reading each time

    def wait(self, asked: Callable[[], bool] = lambda: False) -> None:
        """Until something changes, or `asked` says to stop."""
        while not self() and not asked():
            time.sleep(PAUSE / 3)


def _files_of(app: App) -> tuple[set[str], set[str]]:
    """What a round read of all its stacks, as far as it came, and what of it the round writes itself."""
    from stackbuild.cli.wiring import DEFAULT_FILE

    read: set[Path] = set()
    written: set[Path] = set()
    for one in (*app.family.apps.values(), *(() if app.family.several else (app,))):
        known, file = one.__dict__, Path(os.path.abspath(one.args.file or DEFAULT_FILE))
        read.add(file)
        if "_stack" in known:
            read.update(_read_by(one.stack()))
            written.add(one.stack().lock_file)
        else:  # it could not be settled: a recipe or profile beside the stack file may mend it
            read.update(_beside(file.parent))
        if "project_files" in known:
            read.update(one.project_files.looked_at)
    return set(map(str, read | written)), set(map(str, written))


def _read_by(stack: Stack) -> Iterable[Path]:
    from stackbuild.lock.local import read_by

    try:
        return read_by(stack)
    except StackError:  # a package file is missing: its name may come back
        return [*stack.read, *(stack.project / r.path for r in stack.packages.install if r.path)]


def _beside(folder: Path) -> Iterable[Path]:
    try:
        return [one for one in folder.iterdir() if one.suffix in (".toml", ".j2", ".env") or one.name == "recipes"]
    except OSError:
        return ()


def again_and_again(app: App, args: Namespace, once: Callable[[App], Any]) -> None:
    """Do it now and after every change, until Ctrl-C. What fails is shown, and tried again when something changes."""
    changes: Changes | None = None
    while True:
        now = _fresh(app)
        done = _try(now, args, lambda one: once(one) or True)
        changes = Changes(now, changes, failed=not done)
        app.listener(Note(f"watching {len(changes.files)} files and folders; Ctrl-C ends"))
        changes.wait()
        changes.tell(app)


def _fresh(app: App) -> App:
    """A new run of the same command line: nothing of the last one is believed."""
    from stackbuild.cli.wiring import App

    return App(app.args, app.environ, app.listener)


def _try(app: App, args: Namespace, once: Callable[[App], Any]) -> Any:
    """What `once` gives; None if it failed, which is shown."""
    from stackbuild.cli.main import fail

    try:
        with app.ending:
            return once(app)
    except Interrupted:
        raise
    except StackError as error:
        fail(error, args)
        return None


def up_again_and_again(app: App, args: Namespace) -> int:
    """In the foreground: its log; each change builds again and replaces the container. Ctrl-C stops it.

    Returns the container's exit code after Ctrl-C. A build that fails leaves the container running."""
    from stackbuild.run.lifecycle import stop

    container: Container | None = None
    changes: Changes | None = None
    while True:
        try:
            container, changes, code, over = _up_once(_fresh(app), args, container, changes)
        except KeyboardInterrupt:  # while it was built
            if container is not None:
                stop(container, app.paths)
            raise
        if over:
            return 130 if code is None else code


def _up_once(
    app: App, args: Namespace, before: Container | None, last: Changes | None
) -> tuple[Container | None, Changes, int | None, bool]:
    """Build, start, follow until something changes: the container that runs now, its exit code, whether to end."""
    from stackbuild.cli.reaching import attach_to
    from stackbuild.cli.starting import get_ready, start
    from stackbuild.run.asked import Asked

    since = time.time() if before is not None else None  # a log that was shown up to now goes on from here
    ready = _try(app, args, lambda now: get_ready(now, args))
    changes = Changes(app, last, failed=not ready)
    with Asked() as asked:
        started = _try(app, args, lambda now: start(now, args, ready)) if ready else None
        container = started.container if started else before
        code = None
        if container is not None:
            how = started.how if started else "kept"
            shown = since if how in ("unchanged", "kept") else None
            code = attach_to(container, how, app.listener, asked, until=changes, since=shown)
            if code is None:
                changes.tell(app)
        if not asked.times and (code is not None or container is None):
            app.listener(Note("waiting for a change; Ctrl-C ends"))
            changes.wait(lambda: asked.times > 0)
            if changes.found:
                changes.tell(app)
        return container, changes, code, asked.times > 0
