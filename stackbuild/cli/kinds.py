"""The table of step kinds and the tools of a build, wired to this command's store and network."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.build.cache import StepCache
from stackbuild.build.executors.local import LocalExecutor
from stackbuild.build.images import LayerFolders
from stackbuild.build.scheduler import Tools
from stackbuild.build.steps.assemble import Assemble
from stackbuild.build.steps.base import Base
from stackbuild.build.steps.configure import Configure
from stackbuild.build.steps.fetch import Fetch
from stackbuild.build.steps.unpack import Unpack
from stackbuild.core.paths import ensure
from stackbuild.report.explain import why
from stackbuild.store.records import Records, StoredResults

if TYPE_CHECKING:
    from stackbuild.build.history import History
    from stackbuild.cli.wiring import App
    from stackbuild.plan.step import StepKind


def make_tools(app: App, secrets: Mapping[str, Path], *, shell: bool = False) -> Tools:
    """All that a build of this stack works with. shell: offer a shell in the tree of a failed step."""
    kinds = step_kinds(app)
    folders = LayerFolders(app.blobs, app.trees, app.sandbox)
    identity = _identity(app)
    cache = StepCache(
        StoredResults(app.paths.steps / "results"),
        Records(app.paths.steps / "last"),
        (app.blobs, app.downloads),
        kinds,
        identity,
        app.remote_cache,
    )
    cleaner = app.ending.enter_context(ThreadPoolExecutor(1, thread_name_prefix="clean"))
    failed = None
    if shell:
        from stackbuild.cli.shell_on_failure import offer_shell

        failed = partial(offer_shell, app.listener)
    return Tools(
        kinds=kinds,
        cache=cache,
        executor=LocalExecutor(app.blobs, app.downloads, folders, ensure(app.paths.scratch), app.workers, cleaner),
        folders=folders,
        listener=app.listener,
        secrets=secrets,
        cache_folder=app.cache_folders,
        why=lambda outlook: why(outlook, app.stack()),
        failed=failed,
    )


def history(app: App) -> History:
    """What earlier builds of this stack were made of."""
    from stackbuild.build.history import History

    return History(app.paths.steps, _identity(app))


def _identity(app: App) -> str:
    return f"{app.stack().project}\0{app.stack().file.name}"


def step_kinds(app: App) -> Mapping[str, StepKind]:
    """Kind -> its describing half."""
    from stackbuild.build.steps.copy import Copy
    from stackbuild.build.steps.effects import Effects
    from stackbuild.build.steps.facet import Facet
    from stackbuild.build.steps.files import Files
    from stackbuild.build.steps.pick import Pick
    from stackbuild.build.steps.remove import Remove
    from stackbuild.build.steps.run import Run
    from stackbuild.build.steps.users import Users
    from stackbuild.cli.base_image import pull_base
    from stackbuild.cli.network import download

    project = app.project_files
    kinds: tuple[StepKind, ...] = (
        Fetch(app.downloads, lambda step: download(app, step)),
        Base(lambda step: pull_base(app, step)),
        Unpack(app.blobs),
        Configure(),
        Effects(),
        Users(),
        Facet(project),
        Copy(project),
        Files(),
        Pick(),
        Remove(),
        Run(project),
        Assemble(),
    )
    return {kind.name: kind for kind in kinds}
