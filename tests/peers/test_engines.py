"""Other engines run the image: podman from the layout, docker from an archive; dpkg and apt inside find it in order."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.engines import ULIMITS, Engine
from benchmarks.local_mirror import index
from tests.conftest import Hello, Stackbuild
from tests.machine import free_port, need, run, wait_until

pytestmark = pytest.mark.peer


def shell(engine: Engine, image: str, line: str, options: Sequence[str] = ()) -> str:
    """What a shell line writes in a new container."""
    done = engine("run", "--rm", "--quiet", "--entrypoint", "sh", *options, image, "-c", line, check=False)
    assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_podman_runs_it_and_it_serves_its_page(podman: Engine, tag: str) -> None:
    podman("run", "-d", "--name", "web", "--network", "none", "--quiet", tag)
    try:
        ask = ("exec", "web", "curl", "-sf", "http://127.0.0.1:8080/")
        wait_until(lambda: podman(*ask, check=False).stdout == "<h1>Hello from stackbuild</h1>\n", 30, "the page")
        wait_until(lambda: "GET / HTTP" in podman("logs", "web").stdout, 10, "the access log on stdout")
    finally:
        podman("rm", "-f", "-t", "1", "web", check=False)


def test_dpkg_inside_is_content(podman: Engine, tag: str) -> None:
    """`dpkg --audit` says nothing; `dpkg -V` names only what the stack itself changed."""
    assert shell(podman, tag, "dpkg --audit") == ""
    changed = shell(podman, tag, "dpkg -V || true").split("\n")
    # `slim` removes this folder's page; dpkg has it as a file of no package, so only configuration could show here.
    assert [line for line in changed if line] == []
    assert "ii  nginx-light" in shell(podman, tag, "dpkg -l nginx-light")


def test_the_programs_run(podman: Engine, tag: str) -> None:
    out = shell(
        podman, tag, "python3 -c 'import ssl, sqlite3; print(ssl.OPENSSL_VERSION)' && curl --version && nginx -t 2>&1"
    )
    assert "OpenSSL" in out and "curl 7" in out and "test is successful" in out
    assert "curl" in shell(podman, tag, "apt-mark showmanual") and "libssl3" in shell(podman, tag, "apt-mark showauto")


def test_apt_get_install_works_inside(podman: Engine, tag: str, tmp_path: Path) -> None:
    """With a package whose scripts, dependency and trigger are real, from an archive made here."""
    tree = tmp_path / "deb"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/say-hello").write_text("#!/bin/sh\necho hello from a package\n")
    (tree / "usr/bin/say-hello").chmod(0o755)
    (tree / "DEBIAN/control").write_text(
        "Package: say-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\n"
        "Depends: libc6, nginx-light\nDescription: says hello\n"
    )
    (tree / "DEBIAN/postinst").write_text("#!/bin/sh\nset -e\necho configured > /var/lib/say-hello\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    archive = tmp_path / "archive"
    (archive / "pool").mkdir(parents=True)
    run([need("dpkg-deb"), "--root-owner-group", "-b", tree, archive / "pool/say-hello_1.0_all.deb"])
    need("apt-ftparchive")
    index(archive)
    line = (
        "echo 'deb [trusted=yes] file:/archive ./' > /etc/apt/sources.list && apt-get -q update"
        " && DEBIAN_FRONTEND=noninteractive apt-get -qy install say-hello && say-hello && cat /var/lib/say-hello"
        " && apt-get -qy remove curl && dpkg --audit && ! command -v curl"
    )
    out = shell(podman, tag, line, ["-v", f"{archive}:/archive:ro"])
    assert "hello from a package\nconfigured\n" in out


@pytest.mark.xdist_group("docker")
def test_docker_loads_the_archive_and_runs_it(docker: Engine, hello: Hello, tmp_path: Path) -> None:
    stackbuild = Stackbuild(hello.folder, hello.copy_store(tmp_path / "store"))
    stackbuild("build", "--locked", "--to", f"docker-archive:{tmp_path}/hello.tar:hello:test", timeout=300)
    assert "hello:test" in docker("load", "-i", tmp_path / "hello.tar").stdout
    done = docker(
        "run",
        "--rm",
        "--network",
        "none",
        *ULIMITS,
        "--entrypoint",
        "sh",
        "hello:test",
        "-c",
        "cat /srv/www/index.html; id app",
    )
    assert done.stdout.startswith("<h1>Hello from stackbuild</h1>\nuid=10001(app)")


@pytest.mark.xdist_group("docker")
def test_docker_pulls_what_was_pushed(docker: Engine, hello: Hello, tmp_path: Path) -> None:
    """Our push to a real registry, then Docker's pull from it, and ours: the same digest all the way."""
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    registry = subprocess.Popen(
        [need("docker-registry"), "serve", config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        reference = f"127.0.0.1:{port}/team/hello:1"
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/v2/"), 20, "the registry")
        stackbuild = Stackbuild(hello.folder, hello.copy_store(tmp_path / "store"))
        stackbuild("build", "--locked", "--to", f"docker://{reference}", timeout=300)
        told = run([need("skopeo"), "inspect", "--tls-verify=false", f"docker://{reference}"]).out
        assert f'"{hello.digest}"' in told
        docker("pull", "-q", reference)
        digests = docker("image", "inspect", "-f", "{{.RepoDigests}}", reference).stdout
        assert hello.digest in digests
        began = time.monotonic()
        again = stackbuild("build", "--locked", "--to", f"docker://{reference}", timeout=300)
        assert "0 B sent" in again.err and time.monotonic() - began < 30
    finally:
        registry.terminate()
        registry.wait(timeout=20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False
