"""The remote cache of a command, as `[build.cache]` and its options say; what is sent to it after a build."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.build.remote_cache import Place, RemoteCache
    from stackbuild.cli.building import Work
    from stackbuild.cli.wiring import App
    from stackbuild.core.action import ActionResult


def make_remote_cache(app: App) -> RemoteCache | None:
    """None if nothing names one, or --offline. Raises UsageError for a place or key that makes no sense."""
    said = app.stack().build.cache
    args = app.args
    source = getattr(args, "cache_from", None) or (said.from_ if said else None)
    target = getattr(args, "cache_to", None) or (said.to if said else None)
    if args.offline or not (source or target):
        return None
    from stackbuild.build.entry_signature import Keys
    from stackbuild.build.remote_cache import IMPATIENT, RemoteCache
    from stackbuild.cli.network import make_client

    project = app.stack().project
    trusted = [project / os.path.expanduser(file) for file in (said.trusted_keys if said else ())]
    signer = project / os.path.expanduser(said.sign_with) if said and said.sign_with and target else None
    keys = Keys(trusted, signer)
    keys.load()
    runs = args.command in ("build", "up") and not getattr(args, "dry_run", False)
    return RemoteCache(
        _place(app, source, "from"),
        _place(app, target, "to") if runs else None,
        make_client(app, IMPATIENT),
        app.blobs,
        app.listener,
        keys,
        fetch=runs,
    )


def _place(app: App, text: str | None, key: str) -> Place | None:
    """HOST/PATH, and the repositories of that host to which the image is pushed: their blobs need not be sent."""
    from stackbuild.build.remote_cache import Place
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.oci.reference import parse_reference

    if not text:
        return None
    reference = parse_reference(text)
    if reference.digest is not None or text.rpartition("/")[2].partition(":")[1]:
        raise UsageError(
            f"`{text}` is not a place for a cache",
            where=app.stack().origin("build", "cache", key),
            why="it names one image; each entry gets a tag of its own",
            hints=[Hint("write HOST/PATH, without a tag or digest")],
        )
    siblings = []
    for place in (*app.stack().push.to, *getattr(app.args, "to", ())):
        if place.startswith("docker://") or ":" not in place.partition("/")[0] or "." in place.partition("/")[0]:
            try:
                other = parse_reference(place)
            except UsageError:
                continue
            if other.host == reference.host and other.path != reference.path:
                siblings.append(other.path)
    return Place(reference, tuple(siblings))


def share(app: App, work: Work, results: Mapping[str, ActionResult]) -> None:
    """Send what this build made, and its image. Fails no build."""
    remote = app.remote_cache
    if remote is None or not remote.writes:
        return
    outlooks = work.forecast.outlooks
    goals = [(outlooks[goal].plan_key, results[goal]) for goal in work.plan.goals if goal in results]
    app.cache_folders.save()
    work.tools.cache.send(goals)
