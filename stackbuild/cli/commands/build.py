"""`stackbuild build [TARGET…]`: the image, and where it is sent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def building_options(parser: ArgumentParser) -> None:
    """The options that `build` and `up` share."""
    parser.add_argument(
        "-j", "--jobs", type=int, metavar="N", help="steps at the same time (default: one per processor)"
    )
    parser.add_argument("-B", "--always-make", action="store_true", help="run every step, cached or not")
    parser.add_argument("--locked", action="store_true", help="fail if stack.lock is stale instead of resolving")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="id=ID,src=FILE|env=NAME", help="a secret for `run` layers"
    )
    parser.add_argument("--cache-from", metavar="REF", help="a remote cache to ask (build.cache.from)")
    parser.add_argument("--cache-to", metavar="REF", help="a remote cache to send to (build.cache.to)")
    parser.add_argument("--shell-on-failure", action="store_true", help="when a step fails, a shell in its tree")
    parser.add_argument("--watch", action="store_true", help="again whenever a file that it read changes")


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="*", metavar="TARGET", help="a step or layer name, a stack (file or folder), or STACK:NAME"
    )
    building_options(parser)
    parser.add_argument(
        "-k", "--keep-going", action="store_true", help="after a failure go on with what does not need it"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would run, and run nothing")
    parser.add_argument(
        "--to", action="append", default=[], metavar="REF", help="oci:DIR, docker-archive:FILE, docker://REF…"
    )
    parser.add_argument(
        "--platform", action="append", default=[], metavar="P", help="only this one of image.platforms; may be repeated"
    )
    parser.add_argument("--fail-if-run", action="store_true", help="fail, before anything runs, if a step would run")
    parser.add_argument("--push", action="store_true", help="send it to all of push.to")
    parser.add_argument("--metadata-file", metavar="FILE", help="write digest, name and size as JSON")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> int | None:
    if args.watch and not args.dry_run:
        from stackbuild.cli.watching import again_and_again

        again_and_again(app, args, lambda now: _once(now, args))
    _once(app, args)
    return None


def _once(app: App, args: Namespace) -> None:
    from stackbuild.cli.several import build_all, plan_all, stacks_of

    app, args, several = stacks_of(app, args)
    if several:
        (plan_all if args.dry_run else build_all)(app, args, several)
    elif args.dry_run:
        from stackbuild.cli.commands import plan

        plan.run(app, args)
    else:
        _one(app, args)


def _one(app: App, args: Namespace) -> None:
    from stackbuild.cli.building import build_then, prepare, send
    from stackbuild.cli.results import Built

    app.stack()  # a changed one is settled beside this process: until then both processors are busy
    app.workers.warm()
    work = prepare(app, targets=args.target, again=args.always_make, locked=args.locked, args=args)
    done = build_then(app, work, args, lambda now, image: send(app, now.stack, image, args.to, push=args.push))
    if done is None:  # steps were asked for, not the image
        return
    image, sent = done
    app.show(Built(image.name, image.digest, image.size, sent))
    if args.metadata_file:
        from stackbuild.cli.building import write_metadata

        write_metadata(args.metadata_file, image)
