"""One scenario as JSON, run by root and by an ordinary user: a script that needs stackbuild and tiny_root alone."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(name: str, folder: Path, like: int | None) -> None:
    from stackbuild.host.userns import reenter_if_needed

    reenter_if_needed(like=like)
    if name == "namespace":  # say where we are, and stay there until told to go
        print(os.stat("/proc/self/ns/user").st_ino, os.getpid(), os.geteuid(), flush=True)
        sys.stdin.readline()
        return
    print(json.dumps(scenario(name, folder)))


def scenario(name: str, folder: Path) -> dict[str, Any]:
    from stackbuild.host.sandbox import choose, open_sandbox
    from stackbuild.host.sandbox.protocol import Command

    sys.path.insert(0, str(Path(__file__).parent))
    tiny_root = import_module("tiny_root")
    folder.mkdir()
    tiny = tiny_root.make(folder / "tiny")
    lower = folder / "lower"
    for place in ("d", "gone", "kept"):
        (lower / place).mkdir(parents=True)
        (lower / place / "f").write_text(place)
    os.chown(lower / "d/f", 33, 33)
    os.chown(lower / "kept", 65534, 65534)
    os.setxattr(lower / "kept/f", "security.capability", struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0))
    if name == "overlay":
        os.mknod(lower / "issue", stat.S_IFCHR, 0)
    more = folder / "more"
    (more / "new").mkdir(parents=True)
    (more / "new/below").write_text("below")
    script = """rm -r /gone /d; mkdir /d /new; echo x >/d/x; chown 1000:1000 /d/x; chmod 4711 /d/x; ln /d/x /d/y
    chown -h 33:65534 /kept/f; touch /etc/passwd; mkfifo /pipe; rm /etc/issue; id -u"""
    output: list[bytes] = []
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with open_sandbox(name).open([tiny, lower], folder / "scratch") as box:
        code = box.run(Command(("sh", "-euc", script), env), output.append)
        os.setxattr(box.root / "d/x", "security.capability", struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0))
        box.insert([more], 2)
        sees = box.run(Command(("cat", "/new/below"), env), lambda data: None)
        changes = box.changes()
        return {
            "chosen": choose(folder),
            "codes": [code, sees],
            "output": b"".join(output).decode(),
            "present": {
                os.fsdecode(path): entry(os.path.join(os.fsencode(box.root), path)) for path in changes.present
            },
            "deleted": [os.fsdecode(path) for path in changes.deleted],
        }


def entry(path: bytes) -> list[Any]:
    from stackbuild.host.attributes import xattrs

    info = os.lstat(path)
    names = {os.fsdecode(name): value.hex() for name, value in xattrs(path).items()}
    links = info.st_nlink if stat.S_ISREG(info.st_mode) else 0
    return [oct(info.st_mode), info.st_uid, info.st_gid, links, names]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
