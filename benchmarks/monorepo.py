"""Nothing changed in a repository of many stacks: `plan` and `build` of all of them beside ninja on as many edges."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.bench import TIMEOUT, Bench, stackbuild

STACKS = (250, 1000)  # two sizes show how the time grows
LAYERS = 4  # that copy; each is two steps, one of them looks at the tree below
STEPS = 2 * (LAYERS + 1) + 1  # of a stack: these, a written file and the image


def monorepo(bench: Bench) -> None:
    for count in STACKS:
        measure(bench, count)


def measure(bench: Bench, count: int) -> None:
    """So many stacks, built once."""
    stacks, store = write_stacks(bench.work / f"stacks-{count}", count), bench.work / f"store-stacks-{count}"
    files = sorted(str(file.relative_to(stacks)) for file in stacks.glob("*/stack.toml"))
    ninja = write_edges(bench.work / f"edges-{count}", count)
    run_ninja(ninja)
    for command in ("build", "build", "plan", "plan"):  # what is as young as a command is not believed by the next
        stackbuild(stacks, store, command, *files)
    bench.alternate(
        f"{count} stacks, {count * STEPS} steps",
        {
            "stackbuild plan": lambda n: stackbuild(stacks, store, "plan", *files),
            "stackbuild build": lambda n: stackbuild(stacks, store, "build", *files),
            "ninja": lambda n: run_ninja(ninja),
        },
    )
    for folder in (stacks, store, ninja):
        shutil.rmtree(folder)


def write_stacks(top: Path, count: int) -> Path:
    """Stacks of copied files and a written one, on an empty base."""
    for number in range(count):
        folder = top / f"service-{number:04}"
        text = f'[stack]\nname = "service-{number}"\n[base]\nscratch = true\n'
        for layer in range(LAYERS):
            (folder / f"part{layer}").mkdir(parents=True)
            (folder / f"part{layer}/file.txt").write_text(f"{number} {layer}\n" * 50)
            text += f'[[layer]]\nname = "part{layer}"\ncopy = [{{ from = "part{layer}", to = "/srv/{layer}" }}]\n'
        text += f'[[layer]]\nname = "note"\nfiles = [{{ path = "/etc/note", content = "{number}" }}]\n'
        (folder / "stack.toml").write_text(text)
    return top


def write_edges(top: Path, count: int) -> Path:
    """A build.ninja with as many edges, in the same chains, of which each copies a file."""
    top.mkdir()
    lines = ["rule copy", "  command = cat $in > $out"]
    for number in range(count):
        (top / f"in{number}").write_text(f"{number}\n" * 50)
        names = []
        for layer in range(LAYERS):
            lines += [f"build f{number}.{layer}: copy in{number}", f"build c{number}.{layer}: copy f{number}.{layer}"]
            names.append(f"c{number}.{layer}")
        lines += [f"build m{number}: copy in{number}", f"build n{number}: copy m{number}"]
        lines.append(f"build i{number}: copy n{number} {' '.join(names)}")
    (top / "build.ninja").write_text("\n".join(lines) + "\n")
    return top


def run_ninja(folder: Path) -> None:
    subprocess.run(["/usr/bin/ninja"], cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=TIMEOUT)
