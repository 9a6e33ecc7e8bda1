"""Containers for the tests: a small tree from a static busybox, and a store in which they are started and ended."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackbuild.core.events import Event
from stackbuild.core.paths import StorePaths
from stackbuild.run import lifecycle, requests, watch
from stackbuild.run.container import Container, State, containers
from stackbuild.run.spec import DEFAULT_PATH, RuntimeSpec
from tests.machine import lacking, need, run, wait_until

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:10001:10002:App:/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:10002:\nextra:x:10003:app\n"


def make_tree(folder: Path) -> None:
    """Two layers, `base` and `own`; the upper one removes a file of the lower."""
    base, own = folder / "base", folder / "own"
    for name in ("bin", "etc", "tmp", "root", "srv/data", "home/app"):
        (base / name).mkdir(parents=True)
    run([need("apt-get"), "download", "busybox-static"], cwd=folder, code=None)
    found = list(folder.glob("busybox-static*.deb"))
    if not found:
        lacking("busybox-static cannot be downloaded")
    run([need("dpkg"), "-x", found[0], folder / "unpacked"])
    (folder / "unpacked/bin/busybox").rename(base / "bin/busybox")
    listed = run([base / "bin/busybox", "--list"])
    for name in listed.out.split():
        if name != "busybox":
            (base / "bin" / name).symlink_to("busybox")
    (base / "tmp").chmod(0o1777)
    (base / "etc/passwd").write_text(PASSWD)
    (base / "etc/group").write_text(GROUP)
    (base / "srv/data/first").write_text("from the image\n")
    (base / "etc/gone").write_text("x")
    (own / "etc").mkdir(parents=True)
    (own / "srv").mkdir()
    run([need("mknod"), own / "etc/gone", "c", "0", "0"])
    (own / "srv/www").mkdir()
    (own / "srv/www/index.html").write_text("<h1>hello</h1>\n")


@dataclass
class Boxes:
    """Starts containers of one runtime in one store; `close` ends them all."""

    paths: StorePaths
    lowers: tuple[Path, ...]
    runtime: str
    events: list[Event] = field(default_factory=list)

    def spec(self, argv: Sequence[str], name: str = "box", **more: Any) -> RuntimeSpec:
        env: Mapping[str, str] = {"PATH": DEFAULT_PATH, **more.pop("env", {})}
        more = {"network": "none", "runtime": self.runtime, "stop_grace": 5.0, **more}
        return RuntimeSpec(name=f"{name}-{self.runtime}", argv=tuple(argv), env=env, hostname="box", **more)

    def up(self, argv: Sequence[str], **more: Any) -> lifecycle.Started:
        return lifecycle.up(self.spec(argv, **more), self.lowers, self.paths, self.events.append)

    def start(self, argv: Sequence[str], **more: Any) -> Container:
        return self.up(argv, **more).container

    def run(self, script: str, **more: Any) -> tuple[int, str]:
        """A shell script to its end: exit code and all that it wrote."""
        return self.run_argv(("sh", "-c", script), **more)

    def run_argv(self, argv: Sequence[str], **more: Any) -> tuple[int, str]:
        container = self.start(argv, **more)
        code = requests.wait(container)
        said = self.log(container)
        lifecycle.down(container, self.paths)
        return code, said

    def log(self, container: Container) -> str:
        pieces: list[bytes] = []
        watch.logs(container, lambda stream, data: pieces.append(data))
        return b"".join(pieces).decode()

    def exec(self, container: Container, script: str, **more: Any) -> tuple[int, str]:
        """A shell script in a running container: exit code and stdout with stderr."""
        read_end, write_end = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        process = requests.exec_(container, ("sh", "-c", script), (null, write_end, write_end), **more)
        os.close(write_end)
        os.close(null)
        with open(read_end, "rb") as pipe:
            said = pipe.read().decode()
        return process.wait(), said

    def said(self, container: Container, text: str) -> None:
        """Wait until the container wrote this."""
        wait_until(lambda: text in self.log(container), what=f"{text!r} in the log")

    def becomes(self, container: Container, status: str) -> State:
        wait_until(lambda: container.state().status == status, what=f"state {status}: {container.state()}")
        return container.state()

    def close(self) -> None:
        for container in containers(self.paths.containers):
            lifecycle.down(container, self.paths, 0.0)
