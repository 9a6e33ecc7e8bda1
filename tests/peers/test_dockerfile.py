"""A Dockerfile as buildah builds it, and as `init --from` and `build` do: the same files, the same config."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Stackbuild
from tests.machine import need, run

pytestmark = [pytest.mark.peer, pytest.mark.root]

DOCKERFILE = r"""
ARG WHO=world
FROM scratch AS tools
COPY tools/ /bin/

FROM tools AS made
ARG WHO
ENV MADE="by $WHO"
WORKDIR /deep/er
COPY src/ ./
RUN echo "$MADE" > made && chmod 0750 made && \
    ln -s made to

FROM tools AS unused
RUN false

FROM tools
ENV A=1
ENV A=2 B="x $A y"
LABEL a.b="c d"
COPY --from=made /deep/er /copied
COPY --from=made /deep/er/made /opt/
ADD t.tar /arch/
WORKDIR /w
COPY src/a.txt renamed
COPY --chmod=0700 ["src/a.txt", "src/link", "many/"]
COPY --chown=7:8 src/sub many/
SHELL ["/bin/sh", "-e", "-c"]
RUN for n in 1 2; do echo $n; done > loop; echo "${A}${NOPE}" > ab; mkdir -p /srv/x
VOLUME /data
EXPOSE 80 53/udp
STOPSIGNAL SIGQUIT
USER 7:8
ENTRYPOINT ["/bin/cat"]
CMD ["a", "b c"]
"""
MOUNTS = {"dev", "etc", "proc", "run", "sys"}
"""What buildah leaves in an image of what it mounts for RUN."""


def files(root: Path) -> dict[str, tuple[Any, ...]]:
    """Type, mode, owner and content of everything below a folder."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder, folders, names in os.walk(root):
        for path in (Path(folder) / name for name in (*folders, *names)):
            info = path.lstat()
            link = stat.S_ISLNK(info.st_mode)
            text = os.readlink(path) if link else path.read_bytes() if path.is_file() else ""
            found[str(path.relative_to(root))] = (oct(info.st_mode), info.st_uid, info.st_gid, text)
    return {name: one for name, one in found.items() if name.split("/")[0] not in MOUNTS}


def config(layout: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([need("skopeo"), "inspect", "--config", layout]).out)["config"]
    found["Labels"].pop("io.buildah.version", None)
    return found


def test_the_image_is_that_of_buildah(stackbuild: Stackbuild, tmp_path: Path) -> None:
    folder = stackbuild.folder
    (folder / "tools").mkdir()
    shutil.copy(need("busybox"), folder / "tools/busybox")
    for name in ("sh", "tar", "mkdir", "cat", "ln", "chmod"):
        (folder / "tools" / name).symlink_to("busybox")
    (folder / "src/sub").mkdir(parents=True)
    (folder / "src/a.txt").write_text("a")
    (folder / "src/link").symlink_to("a.txt")
    for name in ("kept", "left.log"):
        (folder / "src/sub" / name).write_text(name)
    run(["tar", "--owner=5", "--group=6", "-cf", "t.tar", "src/a.txt"], cwd=folder)
    (folder / ".dockerignore").write_text("**/*.log\n")
    (folder / "Dockerfile").write_text(DOCKERFILE.lstrip())

    stackbuild("init", "--from", "Dockerfile")
    stackbuild("build", "--to", f"oci:{tmp_path}/ours:x", "--to", f"rootfs:{tmp_path}/tree")
    buildah = [need("buildah"), "--storage-driver", "vfs", "--root", f"{tmp_path}/b", "--runroot", f"{tmp_path}/r"]
    run([*buildah, "bud", "--isolation", "chroot", "-q", "-t", "x", "."], cwd=folder, timeout=120)
    run([*buildah, "push", "-q", "x", f"oci:{tmp_path}/theirs:x"], timeout=60)
    run([need("umoci"), "unpack", "--image", f"{tmp_path}/theirs:x", f"{tmp_path}/bundle"], timeout=60)

    ours = files(tmp_path / "tree")
    assert ours == files(tmp_path / "bundle/rootfs")
    assert ours["w/ab"][3] == b"2\n" and ours["arch/src/a.txt"][1:3] == (5, 6) and "w/many/left.log" not in ours
    assert config(f"oci:{tmp_path}/ours:x") == config(f"oci:{tmp_path}/theirs:x")
