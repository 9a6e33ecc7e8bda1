"""stackbuild against mmdebstrap and docker, on the same packages, alternating, in one go. Prints medians and ratios.

All package files and indexes are there before anything is timed: stackbuild has them in its store, mmdebstrap and
`docker build` read them from file: archives, which are this machine's with what they have of indexes. So no side waits
for a network, and each that resolves resolves among all packages. "(small index)" marks sides that have an
archive of the needed packages alone instead: nobody's archive is like that, but it says what indexes cost.

usage: scripts/bench [--runs N] [--only NAME]... [--json FILE] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bench import TIMEOUT, Bench, stackbuild
from benchmarks.engines import ULIMITS, Engine, dockerd, podman, registry
from benchmarks.local_mirror import LocalMirror, locked_packages, make_archives, make_mirror
from benchmarks.monorepo import monorepo

WANTED = ["python3", "curl", "nginx-light"]
ADDED = ["less", "jq", "rsync", "file", "tree"]  # one more each time, so that no side has done it before
EPOCH = "315532801"
DISTRO = "debian/bookworm"
APT = ('Acquire::Check-Valid-Until "false"', 'Acquire::Check-Date "false"', 'Acquire::Languages "none"')
"""Settings of apt on each other side: archives as old as they are, and no translations, as in Debian's own images."""
BASE, SMALL_BASE = "bench-base", "bench-base-small"


def project(folder: Path, install: list[str]) -> Path:
    """A stack of these packages, with a start command for the start-up benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stack.toml").write_text(
        f'[stack]\nname = "bench"\n[base]\ndistro = "{DISTRO}"\nvariant = "apt"\n'
        f'[packages]\ninstall = {json.dumps(install)}\n[image]\ncmd = ["true"]\n'
    )
    return folder


def store_with_downloads(bench: Bench, store: Path) -> Path:
    """A new store that holds the package files and the indexes, and nothing built."""
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    for area in ("packages.v1", "indexes.v1"):
        if (bench.downloads / area).exists():
            subprocess.run(["cp", "-al", bench.downloads / area, store / area], check=True)
    return store


def prepare(bench: Bench) -> None:
    """Download everything once, make the file: archive, Docker's base image, and warm both sides' base."""
    full = project(bench.work / "full", WANTED + ADDED)
    stackbuild(full, bench.downloads, "build")
    bench.small = make_mirror(bench.work / "small", full / "stack.lock", bench.downloads)
    bench.archives = make_archives(bench.work / "archives", full / "stack.lock", bench.downloads, DISTRO)
    count, size = (
        len(locked_packages(full / "stack.lock")),
        sum(p["size"] for p in locked_packages(full / "stack.lock")),
    )
    print(f"prepared {count} packages, {size / 1e6:.0f} MB", file=sys.stderr)


def engines_base(bench: Bench) -> None:
    """Import what mmdebstrap makes of the base, the archives inside it: no engine downloads anything."""
    tree, packed = bench.work / "engines-base", bench.work / "engines-base.tar"
    for name, archives in ((BASE, bench.archives), (SMALL_BASE, bench.small)):
        assert archives
        mmdebstrap(archives, tree, [])
        subprocess.run(["cp", "-a", archives.folder, tree / "mirror"], check=True)
        (tree / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in archives.at("/mirror")))
        shutil.rmtree(tree / "etc/apt/sources.list.d", ignore_errors=True)
        (tree / "etc/apt/apt.conf.d/bench").write_text("".join(f"{option};\n" for option in APT))
        subprocess.run(["tar", "-C", tree, "-cf", packed, "."], check=True)
        for engine in (bench.docker, bench.podman):
            if engine:
                engine("import", packed, name, timeout=TIMEOUT)
        packed.unlink()
        shutil.rmtree(tree)


def mmdebstrap(archives: LocalMirror | None, target: Path, install: list[str]) -> None:
    """A tree of the apt variant and these packages, from file: archives."""
    assert archives
    shutil.rmtree(target, ignore_errors=True)
    argv = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=directory"]
    argv += ["--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount"]
    argv += [f"--aptopt={option}" for option in APT]
    argv += [f"--include={','.join(install)}"] if install else []
    argv += ["", str(target), *archives.at(archives.folder)]
    done = subprocess.run(
        argv, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, capture_output=True, text=True, timeout=TIMEOUT
    )
    if done.returncode:
        raise SystemExit(f"mmdebstrap failed:\n{done.stderr[-3000:]}")


def mmdebstrap_image(bench: Bench, install: list[str]) -> None:
    """The same as an image: what mmdebstrap makes, imported into podman's store."""
    assert bench.podman
    tree = bench.work / "tree-image"
    mmdebstrap(bench.archives, tree, install)
    packed = tree.with_suffix(".tar")
    subprocess.run(["tar", "-C", tree, "-cf", packed, "."], check=True)
    bench.podman("import", packed, "bench-mmdebstrap", timeout=TIMEOUT)


def docker_build(
    bench: Bench, lines: list[str], tag: str, *options: str, copy: Path | None = None, base: str = BASE
) -> None:
    """`docker build` with BuildKit of a Dockerfile with these RUN lines, and a folder that is copied after them."""
    assert bench.docker
    context = dockerfile(copy or bench.work / "context", lines, "COPY site /srv/site\n" if copy else "", base)
    bench.docker("build", "-q", "--network", "host", *options, "-t", tag, context, timeout=TIMEOUT)


def buildah_build(bench: Bench, lines: list[str], tag: str) -> None:
    """`buildah bud` of the same, with its cache of layers, in the store of our podman."""
    assert bench.podman
    buildah = Engine(("/usr/bin/buildah",), bench.podman.environ)
    words = ("bud", "-q", "--layers", "--isolation", "chroot", "--network", "host", "-t", tag)
    buildah(*words, dockerfile(bench.work / "context", lines), timeout=TIMEOUT)


def dockerfile(context: Path, lines: list[str], last: str = "", base: str = BASE) -> Path:
    """A build context whose Dockerfile has these RUN lines."""
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM {base}\n" + "".join(f"RUN {line}\n" for line in lines) + last)
    return context


def install_line(names: list[str]) -> str:
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends"
    return f"apt-get update -qq && {install} {' '.join(names)}"


def from_nothing(bench: Bench) -> None:
    """Packages downloaded, nothing built: until the image (or the tree, or Docker's image) is there."""
    folder = project(bench.work / "nothing", WANTED)
    stackbuild(folder, bench.downloads, "lock")

    def ours(number: int) -> None:
        stackbuild(folder, bench.work / f"store-{number}", "build", "--locked")

    def theirs(number: int) -> None:
        mmdebstrap(bench.archives, bench.work / f"tree-{number}", WANTED)

    for number in range(bench.runs):
        store_with_downloads(bench, bench.work / f"store-{number}")
    sides: dict[str, Callable[[int], object]] = {"stackbuild": ours, "mmdebstrap (to a folder)": theirs}
    if bench.podman:
        sides["mmdebstrap, podman import"] = lambda n: mmdebstrap_image(bench, WANTED)
    sides["mmdebstrap (to a folder; small index)"] = lambda n: mmdebstrap(bench.small, bench.work / "tree-s", WANTED)
    if bench.docker:
        # On a ready base image: Docker skips what the others have to do.
        sides["docker build (on a ready base)"] = lambda n: docker_build(
            bench, [install_line(WANTED)], "bench", "--no-cache"
        )
    bench.alternate("from nothing", sides)
    for number in range(bench.runs):
        shutil.rmtree(bench.work / f"tree-{number}")
        if number:
            shutil.rmtree(bench.work / f"store-{number}")


def wave_0_shared(bench: Bench) -> None:
    """As from nothing, but another stack on the same base has been built in this store before."""
    folder, base = project(bench.work / "nothing", WANTED), project(bench.work / "bare", [])
    stackbuild(folder, bench.downloads, "lock")
    stores = [store_with_downloads(bench, bench.work / f"store-base-{number}") for number in range(bench.runs)]
    for store in stores:
        stackbuild(base, store, "build")
    bench.alternate(
        "wave 0 shared",
        {
            "stackbuild": lambda n: stackbuild(folder, stores[n], "build", "--locked"),
            "mmdebstrap (to a folder)": lambda n: mmdebstrap(bench.archives, bench.work / "tree-base", WANTED),
        },
    )
    shutil.rmtree(bench.work / "tree-base")
    for store in stores:
        shutil.rmtree(store)


def one_package_more(bench: Bench) -> None:
    """A built stack, then one more package at its end; another one each round."""
    folder, store = bench.work / "more", store_with_downloads(bench, bench.work / "store-more")
    stackbuild(project(folder, WANTED), store, "build")

    def ours(number: int) -> None:
        project(folder, [*WANTED, ADDED[number % len(ADDED)]])
        stackbuild(folder, store, "build")

    sides: dict[str, Callable[[int], object]] = {"stackbuild": ours}
    if bench.docker:
        docker_build(bench, [install_line(WANTED)], "bench")
        docker_build(bench, [install_line(WANTED)], "bench-small", base=SMALL_BASE)

        def docker(base: str, number: int) -> None:
            lines = [install_line(WANTED), install_line([ADDED[number % len(ADDED)]])]
            docker_build(bench, lines, "bench-more", base=base)

        sides["docker build"] = partial(docker, BASE)
        sides["docker build (small index)"] = partial(docker, SMALL_BASE)
    if bench.podman and Path("/usr/bin/buildah").exists():
        buildah_build(bench, [install_line(WANTED)], "bench")
        sides["buildah bud"] = lambda n: buildah_build(
            bench, [install_line(WANTED), install_line([ADDED[n % len(ADDED)]])], "bench-more"
        )
    bench.alternate("one package more", sides)
    shutil.rmtree(store)


def nothing_changed(bench: Bench) -> None:
    """The same build again."""
    folder, store = project(bench.work / "same", WANTED), store_with_downloads(bench, bench.work / "store-same")
    stackbuild(folder, store, "build")
    stackbuild(folder, store, "build")
    sides: dict[str, Callable[[int], object]] = {"stackbuild": lambda n: stackbuild(folder, store, "build")}
    if bench.docker:
        docker_build(bench, [install_line(WANTED)], "bench")
        sides["docker build"] = lambda n: docker_build(bench, [install_line(WANTED)], "bench")
    bench.alternate("nothing changed", sides)
    shutil.rmtree(store)


def start(bench: Bench) -> None:
    """A container of the image runs `true` and is gone."""
    folder, store = project(bench.work / "start", WANTED), store_with_downloads(bench, bench.work / "store-start")
    stackbuild(folder, store, "build", "--to", f"docker-archive:{bench.work}/bench.tar:bench:start")
    words = ["run", "--rm", "--network", "none", "bench", "true"]
    stackbuild(folder, store, *words)  # the tree is unpacked once, as the others do at load
    sides: dict[str, Callable[[int], object]] = {"stackbuild run": lambda n: stackbuild(folder, store, *words)}

    def once(engine: Engine, argv: list[str], number: int) -> None:
        engine(*argv)

    for name, engine in (("docker run", bench.docker), ("podman run", bench.podman)):
        if engine is not None:
            loaded = engine("load", "-i", bench.work / "bench.tar", timeout=TIMEOUT).stdout.strip()
            limits = ULIMITS if name == "docker run" else ()  # podman's are in its configuration
            theirs = ["run", "--rm", "--network", "none", *limits, loaded.rpartition("mage: ")[2], "true"]
            sides[name] = partial(once, engine, theirs)
    bench.alternate("start a container", sides)


SITE = '[[layer]]\nname = "site"\ncopy = [{ from = "site", to = "/srv/site" }]\n'


def site(folder: Path, install: list[str]) -> Path:
    """A stack of these packages and a copied folder of a hundred small files."""
    with open(project(folder, install) / "stack.toml", "a") as file:
        file.write(SITE)
    (folder / "site").mkdir(exist_ok=True)
    for number in range(100):
        (folder / "site" / f"{number}.html").write_text(f"page {number}\n" * 200)
    return folder


def edit(folder: Path, number: int) -> None:
    """Another content of one file."""
    (folder / "site" / "7.html").write_text(f"edited for the {number}. time\n")


def file_changed(bench: Bench) -> None:
    """One of a hundred copied files has another content; the copy comes after the packages."""
    folder, store = site(bench.work / "file", WANTED), store_with_downloads(bench, bench.work / "store-file")
    theirs = site(bench.work / "file-docker", WANTED)
    stackbuild(folder, store, "build")

    def ours(number: int) -> None:
        edit(folder, number)
        stackbuild(folder, store, "build")

    def docker(number: int) -> None:
        edit(theirs, number)
        docker_build(bench, [install_line(WANTED)], "bench-file", copy=theirs)

    sides: dict[str, Callable[[int], object]] = {"stackbuild": ours}
    if bench.docker:
        docker_build(bench, [install_line(WANTED)], "bench-file", copy=theirs)
        sides["docker build"] = docker
    bench.alternate("one file changed", sides)
    shutil.rmtree(store)


def second_stack(bench: Bench) -> None:
    """A stack is built; another, that has half of its packages, is built for the first time."""
    first, second = project(bench.work / "first", WANTED), project(bench.work / "second", ["python3", "file", "jq"])
    stackbuild(second, bench.downloads, "lock")
    stores = [store_with_downloads(bench, bench.work / f"store-second-{number}") for number in range(bench.runs)]
    for store in stores:
        stackbuild(first, store, "build")
    sides: dict[str, Callable[[int], object]] = {
        "stackbuild": lambda n: stackbuild(second, stores[n], "build", "--locked")
    }
    if bench.docker:  # of another RUN line it has nothing to share; a number keeps it from knowing the line
        lines = install_line(["python3", "file", "jq"])
        sides["docker build (on a ready base)"] = lambda n: docker_build(bench, [f": {n}; {lines}"], "bench-second")
    bench.alternate("second stack", sides)
    for store in stores:
        shutil.rmtree(store)


def push(bench: Bench) -> None:
    """The image is in the registry; one copied file changes, it is built again (not timed), and sent."""
    folder, store = site(bench.work / "push", WANTED), store_with_downloads(bench, bench.work / "store-push")
    theirs = site(bench.work / "push-docker", WANTED)
    skopeo = ["/usr/bin/skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{bench.work}/push.oci:bench"]
    with registry(bench.work / "registry") as host:
        sides: dict[str, Callable[[], object]] = {
            "stackbuild push": lambda: stackbuild(folder, store, "push", "--to", f"docker://{host}/ours:latest"),
            "skopeo copy": lambda: subprocess.run([*skopeo, f"docker://{host}/skopeo:latest"], check=True),
        }
        if docker := bench.docker:
            sides["docker push"] = lambda: docker("push", "-q", f"{host}/docker:latest")
        for number in range(-1, bench.runs):
            edit(folder, number)
            edit(theirs, number)
            stackbuild(folder, store, "build", "--to", f"oci:{bench.work}/push.oci:bench")
            if bench.docker:
                docker_build(bench, [install_line(WANTED)], f"{host}/docker:latest", copy=theirs)
            for side in list(sides)[:: 1 if number % 2 else -1]:
                if number < 0:  # the first time everything is sent
                    sides[side]()
                else:
                    bench.timed("push one file", side, sides[side])
    # The first row is what the others are compared with.
    if times := bench.times.get("push one file"):
        bench.times["push one file"] = {side: times[side] for side in sides}
    shutil.rmtree(store)


def resident(pid: int) -> int:
    """Bytes that a process and its descendants have in memory; what several share counts for each."""
    try:
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return 0
    return size + sum(map(resident, children))


def memory(bench: Bench) -> None:
    """What a build of eight layers that hold 2 GB of noise needs."""
    folder, store = bench.work / "memory", bench.work / "store-memory"
    folder.mkdir(exist_ok=True)
    text = '[stack]\nname = "memory"\n[base]\nscratch = true\n'
    for number in range(8):
        with open(folder / f"noise{number}", "wb") as file:
            for _ in range(32):
                file.write(os.urandom(8 << 20))
        text += f'[[layer]]\nname = "noise{number}"\ncopy = [{{ from = "noise{number}", to = "/noise{number}" }}]\n'
    (folder / "stack.toml").write_text(text)
    program = Path(sys.executable).with_name("stackbuild")
    child = subprocess.Popen([program, "--store", store, "-q", "build"], cwd=folder, stdout=subprocess.DEVNULL)
    most = 0
    while child.poll() is None:
        most = max(most, resident(child.pid))
        time.sleep(0.05)
    if child.returncode:
        raise SystemExit("the build for the memory figure failed")
    bench.memory = f"build of 2 GB of layers: all its processes together had at most {most / 1e6:.0f} MB"
    shutil.rmtree(folder)
    shutil.rmtree(store)


TASKS: dict[str, Callable[[Bench], None]] = {
    "from-nothing": from_nothing,
    "wave-0-shared": wave_0_shared,
    "one-package-more": one_package_more,
    "nothing-changed": nothing_changed,
    "start": start,
    "file-changed": file_changed,
    "second-stack": second_stack,
    "push": push,
    "monorepo": monorepo,
    "memory": memory,
}


def report(bench: Bench) -> str:
    """A table of medians, and how many times as long as stackbuild each other side took."""
    rows = [("task", "side", "median", "min", "max", "ratio to stackbuild")]
    for task, sides in bench.times.items():
        ours = statistics.median(next(iter(sides.values())))
        for side, times in sides.items():
            median = statistics.median(times)
            figures = (f"{median:.3f} s", f"{min(times):.3f}", f"{max(times):.3f}")
            rows.append((task, side, *figures, f"{median / ours:.2f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="rounds per task (default: 3)")
    parser.add_argument("--only", action="append", choices=TASKS, help="this task only; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times there too, in seconds")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there and leave it: a second run is quicker")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("mmdebstrap and dockerd need root here: sudo scripts/bench")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody who uses stackbuild compiles it anew each time
    with ExitStack() as stack:
        work = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sb", dir="/tmp")))
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(work, args.runs)
        for made in ("small", "archives"):
            shutil.rmtree(work / made, ignore_errors=True)
        prepare(bench)
        if Path("/usr/sbin/dockerd").exists():
            bench.docker = stack.enter_context(dockerd(work / "d"))
        if Path("/usr/bin/podman").exists():
            bench.podman = podman(work / "p")
        if bench.docker or bench.podman:
            engines_base(bench)
        try:
            for name in args.only or TASKS:
                TASKS[name](bench)
        finally:  # what was measured is shown, even if a later task cannot be
            print(report(bench))
            print(bench.memory)
            for mount in (work / "p").glob("*/overlay"):
                subprocess.run(["umount", "-l", mount], check=False)
        if args.json:
            args.json.write_text(json.dumps(bench.times, indent=1) + "\n")


if __name__ == "__main__":
    main()
