"""Work shared with a forked child: a call in, its result out. For what takes tenths of a second, not for more."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Forked:
    """A call in a process of its own, which ends with its result, or when nobody is left to read it.

    work: takes no lock, prints nothing: threads of this process do not exist in the child. As a context manager the
    child has ended at the end.
    """

    def __init__(self, work: Callable[[], bytes]) -> None:
        self._out, into = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = os.fork()
        except OSError:  # too many processes: a call that failed
            self._pid = -1
        if self._pid == 0:
            try:
                os.close(self._out)
                with open(into, "wb") as pipe:
                    pipe.write(work())
            finally:
                os._exit(0)  # what went wrong shows in a result that is not whole
        os.close(into)

    def result(self) -> bytes:
        """What the call returned; less of it, or b"", if it failed."""
        with open(self._out, "rb", closefd=False) as pipe:
            return pipe.read()

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)
        if self._pid > 0:
            os.waitpid(self._pid, 0)


def each(work: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
    """[work(item) for item in items]: the first in this process, each other one in a child at the same time.

    work: pure; see Forked. A child that comes to nothing costs time only: its item is done here. What `work` raises
    here is raised.
    """
    if not items:
        return []
    with ExitStack() as ending:
        children = [ending.enter_context(Forked(partial(_pickled, work, item))) for item in items[1:]]
        first = work(items[0])
        return [first, *(_result(child, work, item) for child, item in zip(children, items[1:], strict=True))]


def _pickled(work: Callable[[In], Out], item: In) -> bytes:
    return pickle.dumps(work(item), pickle.HIGHEST_PROTOCOL)


def _result(child: Forked, work: Callable[[In], Out], item: In) -> Out:
    try:
        found: Out = pickle.loads(child.result())
    except (EOFError, pickle.UnpicklingError):
        return work(item)
    return found
