"""Projects that stories and peers build: one of real packages, and a tiny one that is built in a second."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.machine import free_port, need

HELLO = """\
[stack]
name = "hello"

[base]
distro = "debian/bookworm"
variant = "apt"

[packages]
install = ["python3", "curl", "nginx-light"]

[users.app]
uid = 10001

[[layer]]
name = "site"
copy = [{ from = "site/", to = "/srv/www/", owner = "www-data", mode = "a+rX" }]

[[layer]]
name = "config"
files = [
  { path = "/etc/nginx/sites-enabled/default", content = "server { listen 8080; root /srv/www; }\\n" },
  { path = "/var/log/nginx/access.log", link = "/dev/stdout" },
]

[[layer]]
name = "slim"
remove = ["/var/www/html"]

[[layer]]
name = "built"
run = ["mkdir -p /opt/built", "echo 'by a run step' > /opt/built/note", "chown app /opt/built/note"]

[image]
entrypoint = ["nginx", "-g", "daemon off;"]
expose = [8080]
env = { TZ = "UTC" }
labels = { "org.opencontainers.image.title" = "hello" }
"""


def write_hello(folder: Path) -> Path:
    """Real packages on a bootstrapped base and a layer of each kind that needs no network."""
    (folder / "site").mkdir(parents=True)
    (folder / "site/index.html").write_text("<h1>Hello from stackbuild</h1>\n")
    (folder / "site/deep").mkdir()
    (folder / "site/deep/a.txt").write_text("deep\n")
    (folder / "stack.toml").write_text(HELLO)
    return folder


def write_tiny(folder: Path, name: str = "tiny", image: str = "", container: str = "", layers: str = "") -> Path:
    """A static busybox on nothing, with a shell at /bin/sh and a web server as its command; no network needed.

    image, container: lines for these tables, container's instead of a published free port and an http health check.
    layers: whole [[layer]] tables.
    """
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox(), folder / "bin/busybox")
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site/index.html").write_text("tiny\n")
    port = free_port()
    default = (
        f'ports = ["127.0.0.1:{port}:8080"]\nhealthcheck = {{ http = "http://127.0.0.1:8080/", interval = "200ms" }}\n'
    )
    server = 'cmd = ["/bin/httpd", "-f", "-v", "-p", "8080", "-h", "/srv"]'
    (folder / "stack.toml").write_text(
        f'[stack]\nname = "{name}"\n[base]\nscratch = true\n'
        '[[layer]]\nname = "busybox"\ncopy = [{ from = "bin/busybox", to = "/bin/busybox", mode = "0755" }]\n'
        '[[layer]]\nname = "links"\nfiles = [{ path = "/bin/sh", link = "busybox" },'
        ' { path = "/bin/httpd", link = "busybox" },'
        ' { path = "/etc/passwd", content = "root:x:0:0:root:/:/bin/sh\\n" },'
        ' { path = "/etc/group", content = "root:x:0:\\n" }]\n'
        '[[layer]]\nname = "site"\ncopy = [{ from = "site/", to = "/srv/" }]\n'
        f"{layers}\n[image]\n"
        f"{image or server}\n"
        f"[container]\n{container or default}\n"
    )
    return folder


def port_of(folder: Path) -> int:
    """The host port that `write_tiny` published."""
    text = (folder / "stack.toml").read_text()
    return int(text.partition('ports = ["127.0.0.1:')[2].partition(":")[0])


def busybox() -> str:
    """A busybox that needs no library."""
    return need("busybox")


def other_times(folder: Path) -> None:
    """Give every file of a project another modification time, as a new checkout does."""
    for number, path in enumerate(sorted(folder.rglob("*"))):
        os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number), follow_symlinks=False)
