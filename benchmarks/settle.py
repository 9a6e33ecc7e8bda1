"""How long settling a stack takes, and how that grows with its recipes: 0, 5, 50, 500, 1000. After imports.

`python -m benchmarks.settle`. Prints a ratio to the stack without recipes, measured in the same run, and what it takes
to bring back the same stack when nothing has changed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

COUNTS = (0, 5, 50, 500, 1000)

RECIPE = """\
[recipe]
name = "r{n}"
[recipe.params.port]
type = "integer"
min = 1
[recipe.params.names]
type = "list"
default = ["{{{{ stack.name }}}}.example.com"]
[packages]
install = ["package-{n}"]
[[layer]]
name = "layer-{n}"
run = ["echo {{{{ params.names | sh }}}} {{{{ params.port }}}}"]
[image]
labels = {{ "of.{n}" = "{{{{ params.port }}}}", last = "r{n}" }}
[container]
env = {{ E{n} = "{{{{ stack.name }}}}-{{{{ params.port }}}}" }}
"""


def write(folder: Path, count: int) -> Path:
    """A project whose stack uses so many recipes."""
    (folder / "recipes").mkdir(parents=True)
    for number in range(count):
        (folder / "recipes" / f"r{number}.toml").write_text(RECIPE.format(n=number))
    uses = ", ".join(f'{{ use = "r{number}", with = {{ port = {number + 1} }} }}' for number in range(count))
    file = folder / "stack.toml"
    file.write_text(f'[stack]\nname = "x"\nrecipes = [{uses}]\n[base]\ndistro = "debian/bookworm"\n')
    return file


def measure(file: Path, times: int = 3) -> float:
    """Seconds of the fastest of some runs, after one that imports and compiles."""
    from stackbuild.stack.question import Question
    from stackbuild.stack.settle import settle

    settle(Question(file))
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        settle(Question(file))
        best = min(best, time.perf_counter() - started)
    return best


def measure_kept(file: Path, area: Path, times: int = 3) -> float:
    """Seconds of the fastest of some look-ups of the settled stack, kept by an earlier command."""
    from stackbuild.stack.kept import KeptStacks, words_of
    from stackbuild.stack.question import Question
    from stackbuild.stack.settle import settle

    stacks, words = KeptStacks(area), words_of(Question(file), {}, None)
    stacks.put(words, {}, settle(Question(file)), time.time_ns() + 10**9)
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        assert stacks.get(words, {}) is not None
        best = min(best, time.perf_counter() - started)
    return best


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        files = {count: write(Path(scratch) / str(count), count) for count in COUNTS}
        found = {count: measure(file) for count, file in files.items()}
        kept = {count: measure_kept(file, Path(scratch) / "kept") for count, file in files.items()}
    for count, seconds in found.items():
        each = (seconds - found[0]) / count * 1000 if count else 0.0
        print(
            f"{count:5} recipes: {seconds * 1000:8.1f} ms  {seconds / found[0]:7.1f} x  {each:6.2f} ms each"
            f"  unchanged: {kept[count] * 1000:6.1f} ms"
        )
    return 0 if found[5] < 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
