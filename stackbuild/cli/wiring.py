"""Makes every object of a command, each when first asked; holds no logic of its own."""

from __future__ import annotations

import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.cli.base_stack import Family
from stackbuild.cli.output import Shown, show
from stackbuild.core import paths as places
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.events import Event, Listener, Note
from stackbuild.core.origin import Origin

if TYPE_CHECKING:
    from stackbuild.build.cache_folders import CacheFolders
    from stackbuild.build.executors.workers import Workers
    from stackbuild.build.project_files import ProjectFiles
    from stackbuild.build.remote_cache import RemoteCache
    from stackbuild.build.scheduler import Tools
    from stackbuild.cli.package_files import PackageFiles
    from stackbuild.cli.sending import Host, Sending
    from stackbuild.lock.lock import Lock, LockFile
    from stackbuild.net.client import Client
    from stackbuild.oci.descriptor import Descriptor
    from stackbuild.oci.layout import Layout
    from stackbuild.packages.fetch import Fetcher
    from stackbuild.plan.graph import Plan
    from stackbuild.run.spawn import Spawned
    from stackbuild.stack.image_tables import Registry
    from stackbuild.stack.stack import Stack
    from stackbuild.store.objects import ObjectStore
    from stackbuild.store.trees import TreeStore
    from stackbuild.store.uses import Uses

DEFAULT_FILE = "stack.toml"


class App:
    """One run of the command line. args: the global options; environ: the caller's environment."""

    def __init__(
        self, args: Namespace, environ: Mapping[str, str], listener: Listener, supervisor: Spawned | None = None
    ) -> None:
        self.args, self.environ, self.listener = args, environ, listener
        self.started = time.time_ns()
        self.ending = ExitStack()  # what is to be given back when the command ends
        self._supervisor = supervisor
        self.settling = False  # while recipes are fetched, registries are known from the machine's own config alone
        self.before_base: Stack | None = None  # the stack as settled without its image level
        self.family = Family()
        self.fetchers: dict[float, Fetcher] = {}  # filled by cli/network.py
        self.statuses: dict[str, bytes] = {}  # by platform; filled by cli/base_stack.py
        self.top: App = self  # whose remote cache is asked: that of the stack that is built

    @classmethod
    @contextmanager
    def of(cls, args: Namespace, environ: Mapping[str, str], supervisor: Spawned | None = None) -> Iterator[App]:
        """An app whose progress view lives as long as the command."""
        from stackbuild.cli.progress import make

        with make(args.progress, quiet=args.quiet, verbose=args.verbose) as listener:
            app = cls(args, environ, NotesOnce(listener), supervisor)
            with app.ending:
                yield app

    def child(self, args: Namespace, environ: Mapping[str, str] | None = None) -> App:
        """An app for another stack of the same command: the same store, workers and listener.

        environ: what is left of the environment for a stack that is only the base of others."""
        other = App(args, self.environ if environ is None else environ, self.listener)
        other.ending, other.workers, other.family = self.ending, self.workers, self.family
        for name in ("uses", "blobs", "downloads", "trees", "layout"):
            other.__dict__[name] = getattr(self, name)  # one store: what one has read or checked, all know
        if environ is not None:
            other.top = self.top
        self.family.apps[args.file] = other
        return other

    def show(self, value: Shown) -> None:
        """Data, on stdout."""
        show(value, getattr(self.args, "format", "text"), sys.stdout)

    # ---- where things are ----

    @cached_property
    def paths(self) -> places.StorePaths:
        return places.StorePaths(places.store_root(self.environ, self.args.store))

    @cached_property
    def project_file(self) -> Path:
        """The stack file, absolute. Raises UsageError if there is none."""
        if len(getattr(self.args, "files", ())) > 1:
            raise UsageError(
                f"`{self.args.command}` is for one stack, and -f names {len(self.args.files)}",
                hints=[Hint("several stacks at once: build, plan, lock")],
            )
        file = Path(os.path.abspath(self.args.file or DEFAULT_FILE))
        if not file.is_file():
            raise UsageError(
                f"there is no {self.args.file or DEFAULT_FILE} in {Path.cwd()}",
                where=Origin("project", str(file)),
                hints=[Hint("name the stack file with -f FILE, or its folder with -C DIR")],
            )
        return file

    @property
    def has_project(self) -> bool:
        """Whether there is a stack file: some commands work without one."""
        return bool(self.args.file) or Path(DEFAULT_FILE).is_file()

    @cached_property
    def blobs(self) -> ObjectStore:
        """The blobs of images and of all results."""
        from stackbuild.store.objects import ObjectStore

        return ObjectStore(self.paths.images / "blobs", self.uses)

    @cached_property
    def downloads(self) -> ObjectStore:
        from stackbuild.store.objects import ObjectStore

        return ObjectStore(self.paths.packages, self.uses)

    @cached_property
    def trees(self) -> TreeStore:
        from stackbuild.store.trees import TreeStore

        return TreeStore(self.paths.rootfs, self.paths.locks, self.uses)

    @cached_property
    def uses(self) -> Uses:
        from stackbuild.store.uses import Uses

        return Uses(self.paths.uses)

    def protect(self) -> None:
        """From now to the end of the command, nothing that it uses may be pruned by another."""
        if not self.family.protected:
            self.family.protected = True
            self.ending.enter_context(self.uses.working())

    @cached_property
    def layout(self) -> Layout:
        from stackbuild.oci.layout import Layout

        return Layout(self.paths.images)

    def images(self) -> Sequence[tuple[str, Descriptor]]:
        """Tag and descriptor of each image of the store; none of a store that is new. Raises NetworkError."""
        return self.layout.images() if (self.layout.path / "index.json").exists() else ()

    @cached_property
    def project_files(self) -> ProjectFiles:
        """The project's files, as steps read them."""
        from stackbuild.build.project_files import ProjectFiles

        return ProjectFiles(self.stack().project, self.paths.stamps)

    @cached_property
    def client(self) -> Client:
        from stackbuild.cli.network import make_client

        return make_client(self)

    # ---- the stack ----

    lock: Lock
    """Set by cli/locking.py before anything is planned."""

    @cached_property
    def _stack(self) -> Stack:
        from stackbuild.cli.settling import settle_project

        return settle_project(self)

    def stack(self) -> Stack:
        """The settled stack of this command."""
        return self._stack

    sending: Sending | None = None
    """What is known of the settings without settling: a stamp kept it."""

    def stacks(self) -> Mapping[str, Stack]:
        """This stack, by "" and its name, and those below it, by name: as the ids of steps name them."""
        from stackbuild.cli.base_stack import by_name

        return {"": self.stack(), **{name: one.stack() for name, one in by_name([self]).items()}}

    def registries(self) -> Mapping[str, Registry | Host]:
        """The `[registries]` tables that count: the stack's with those of the user and the site; else these alone."""
        from stackbuild.cli.settling import registries

        return registries(self)

    def base_folder(self, stack: Stack) -> Path | None:
        """The unpacked base image of the first platform of the stack or a stage of it; None if its base is no image."""
        if not stack.base.image:
            return None
        from stackbuild.cli.base_image import base_tree

        return base_tree(self, stack, stack.image.platforms[0]).folder

    def lowers_of(self, reference: str) -> tuple[Mapping[str, Any], list[Path]]:
        """Inner config object and unpacked layers, lowest first, of an image of the store or of any place."""
        from stackbuild.cli.known_image import config_and_folders

        self.protect()
        return config_and_folders(self, reference)

    def supervisor(self) -> Spawned:
        """The one that this command has begun with, else a new one; it gets ready while a container is made."""
        from stackbuild.run.spawn import spawned

        return self._supervisor or self.ending.enter_context(spawned())

    @cached_property
    def lock_file(self) -> LockFile:
        from stackbuild.lock.lock import LockFile

        return LockFile(self.stack().lock_file)

    @cached_property
    def package_files(self) -> PackageFiles:
        """The package files of the stack's lock, which is known by now."""
        from stackbuild.cli.package_files import PackageFiles

        return PackageFiles(self, self.lock)

    def container_name(self) -> str:
        """The name of this project's container."""
        from stackbuild.run.container import container_name

        return container_name(self.stack().name, self.stack().project)

    # ---- building ----

    @cached_property
    def sandbox(self) -> str:
        """ "overlay" or "chroot": what build steps run in. STACKBUILD_SANDBOX chooses; else the host is probed."""
        wanted = self.environ.get("STACKBUILD_SANDBOX", "")
        if wanted:
            if wanted not in ("overlay", "chroot"):
                raise UsageError(f"STACKBUILD_SANDBOX={wanted} is not a sandbox", why="there are overlay and chroot")
            return wanted
        from stackbuild.host.sandbox import choose
        from stackbuild.store.records import Records

        # To try costs a tenth of a second; only another boot, other rights or another bwrap can change the answer.
        known = Records(self.paths.stamps / "sandbox")
        texts = [Path(f"/proc/{name}").read_text() for name in ("sys/kernel/random/boot_id", "self/uid_map")]
        rights = re.findall(r"^(?:CapEff|Seccomp):\s*(\w+)$", Path("/proc/self/status").read_text(), re.M)
        key = "\0".join((*texts, *rights, str(self.paths.root), self.environ.get("PATH", "")))
        if known.get(key) == b"overlay":
            return "overlay"
        chosen = choose(places.ensure(self.paths.scratch))
        known.put(key, chosen.encode())
        return chosen

    @cached_property
    def plan(self) -> Plan:
        """All steps of the stack and of those below it; its lock is known by now."""
        from stackbuild.cli.base_stack import plans_below
        from stackbuild.plan.planner import make_plan

        return make_plan(self.stack(), self.lock, plans_below(self))

    @cached_property
    def remote_cache(self) -> RemoteCache | None:
        if self.top is not self:
            return self.top.remote_cache
        from stackbuild.cli.remote_cache import make_remote_cache

        return make_remote_cache(self)

    @cached_property
    def cache_folders(self) -> CacheFolders:
        """The `caches` folders of run steps."""
        from stackbuild.build.cache_folders import CacheFolders

        paths = self.paths
        return CacheFolders(paths.caches, self.blobs, self.listener, self.remote_cache, self.uses, paths.locks)

    @cached_property
    def workers(self) -> Workers:
        """The processes that do actions; `warm()` them as soon as a build is likely."""
        from stackbuild.build.executors.workers import Workers

        return Workers()

    @cached_property
    def base_tools(self) -> Tools:
        """The tools of this stack's steps where they are below those of another."""
        return self.tools({})

    def tools(self, secrets: Mapping[str, Path], *, shell: bool = False) -> Tools:
        """What a build of this stack works with. shell: offer a shell in the tree of a failed step."""
        from stackbuild.cli.kinds import make_tools

        return make_tools(self, secrets, shell=shell)


class NotesOnce:
    """A listener: the same note (a relaxation of the host's, say) is worth reading once in a command."""

    def __init__(self, listener: Listener) -> None:
        self.all = listener
        self._said: set[Event] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            if event in self._said:
                return
            self._said.add(event)
        self.all(event)
