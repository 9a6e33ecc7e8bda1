"""Writes stacks of any size, always the same for the same numbers, to see how time grows with them.

usage: python benchmarks/fake_stacks.py FOLDER [--stacks N] [--layers N] [--files N] [--packages N]
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

# Real names, none of which needs another of the list: each is a wave or a part of one.
PACKAGES = [
    "less",
    "file",
    "tree",
    "jq",
    "rsync",
    "xz-utils",
    "zip",
    "unzip",
    "bc",
    "dc",
    "gawk",
    "m4",
    "patch",
    "cpio",
    "pv",
    "socat",
    "netcat-openbsd",
    "lsof",
    "psmisc",
    "procps",
    "iproute2",
    "iputils-ping",
    "dnsutils",
    "vim-tiny",
    "nano",
    "htop",
    "screen",
    "tmux",
    "sqlite3",
    "redis-server",
    "nginx-light",
]


def write_stack(folder: Path, layers: int, files: int, packages: int, seed: int) -> Path:
    """One stack: `layers` copy layers of `files` files each, and `packages` packages over the smallest apt base."""
    dice = random.Random(seed)
    lines = [
        "[stack]",
        f'name = "fake-{seed}"',
        "[base]",
        'distro = "debian/bookworm"',
        "[packages]",
        f"install = {dice.sample(PACKAGES, min(packages, len(PACKAGES)))!r}".replace("'", '"'),
    ]
    for layer in range(layers):
        source = folder / f"layer{layer}"
        source.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (source / f"file{number}.txt").write_text(f"{dice.random()}\n" * 20)
        lines += ["[[layer]]", f'name = "layer{layer}"', f'copy = [{{ from = "layer{layer}/", to = "/srv/{layer}/" }}]']
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stack.toml").write_text("\n".join(lines) + "\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stacks", type=int, default=1)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--packages", type=int, default=5)
    args = parser.parse_args()
    for number in range(args.stacks):
        print(write_stack(args.folder / f"stack{number}", args.layers, args.files, args.packages, number))


if __name__ == "__main__":
    main()
