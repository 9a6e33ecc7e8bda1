"""A small signed Debian archive, made by Debian's own tools and served on loopback, that can be made to misbehave."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.machine import need, run
from tests.net.servers import QuietServer

ARCHITECTURES = "amd64"
REFUSALS = {"refuse": 503, "missing": 404, "forbid": 403}
SHA256 = [word for name in ("MD5", "SHA1", "SHA512") for word in ("-o", f"APT::FTPArchive::{name}=false")]


@dataclass
class Archive:
    """folder: dists/ and pool/. url: where it is served. key: the public key, for signed-by.

    faults: part of a path -> "refuse" (503), "forbid" (403), "truncate" (half of the body, full length announced),
    "lie" (as long, other bytes), "missing" (404). asked: every path that was requested.
    login: "user:password" that it asks for. logins: what came with each request. moved: where it redirects to.
    statuses: of its answers.
    """

    folder: Path
    gnupg: Path
    url: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    architectures: tuple[str, ...] = (ARCHITECTURES,)
    others: list[Path] = field(default_factory=list)  # homes of gpg whose agents end with the archive
    login: str = ""
    moved: str = ""
    logins: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    editions: int = 0

    @property
    def key(self) -> Path:
        return self.gnupg / "key.gpg"

    def package(
        self,
        name: str,
        version: str = "1.0",
        depends: str = "",
        files: Mapping[str, str | Path] | None = None,
        architecture: str = "all",
        to: Path | None = None,
        **fields: str,
    ) -> Path:
        """Add a package; `files`: path -> text or a file to copy, executable. Call `publish` after the last one.

        to: another folder than the archive's pool. A path below DEBIAN/ is a maintainer script.
        fields: more of the control file; "_" stands for "-".
        """
        tree = self.folder / "build" / f"{name}_{version}_{architecture}"
        for path, text in (files or {f"usr/bin/{name}": f"#!/bin/sh\necho {name} {version}\n"}).items():
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text) if isinstance(text, str) else shutil.copy(text, target)
            target.chmod(0o755)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        control += "Maintainer: Nobody <nobody@example.com>\n"
        control += f"Depends: {depends}\n" if depends else ""
        control += "".join(f"{name.replace('_', '-').title()}: {value}\n" for name, value in fields.items())
        (tree / "DEBIAN").mkdir(exist_ok=True)
        (tree / "DEBIAN/control").write_text(control + "Priority: optional\nSection: misc\nDescription: a test\n")
        folder = to or self.folder / "pool"
        folder.mkdir(parents=True, exist_ok=True)
        deb = folder / f"{name}_{version}_{architecture}.deb"
        run([need("dpkg-deb"), "--root-owner-group", "-Zgzip", "-b", tree, deb])
        if to is not None:  # the next one of this name is another one
            shutil.rmtree(tree)
        return deb

    def publish(
        self,
        *,
        valid_for: float = 86400,
        signed: bool = True,
        suite: str = "bookworm",
        pool: str = "pool",
        compression: Sequence[str] = ("", ".xz"),
        by_hash: bool = False,
        fields: str = "",
        age: float = 3600,
    ) -> None:
        """Write a suite's indexes, Release and InRelease. valid_for: seconds from now, negative for an expired one.

        pool: the folder that holds the suite's packages. compression: suffixes of the index files.
        by_hash: these are there by their hash alone. fields: more of Release. age: of the
        indexes, in seconds.
        """
        need("apt-ftparchive")
        top = self.folder / f"dists/{suite}"
        shutil.rmtree(top, ignore_errors=True)
        for architecture in self.architectures:
            index = top / f"main/binary-{architecture}"
            index.mkdir(parents=True)
            packages = subprocess.run(
                ["apt-ftparchive", "-a", architecture, *SHA256, "packages", pool],
                cwd=self.folder, check=True, capture_output=True,
            )  # fmt: skip
            compressed(index / "Packages", packages.stdout, compression)
        now = time.time()
        says = {
            "Origin": "Test",
            "Label": "Test",
            "Suite": suite.replace("bookworm", "stable"),
            "Codename": suite,
            "Architectures": " ".join(self.architectures),
            "Components": "main",
            "Date": formatdate(now - age + min(valid_for, 0), usegmt=True),
        }
        options = [word for key, value in says.items() for word in ("-o", f"APT::FTPArchive::Release::{key}={value}")]
        release = subprocess.run(["apt-ftparchive", *options, "release", top], check=True, capture_output=True)
        fields += f"Valid-Until: {formatdate(now + valid_for, usegmt=True)}\n"
        fields += "Acquire-By-Hash: yes\n" if by_hash else ""
        (top / "Release").write_bytes(fields.encode() + release.stdout)
        self.sign(top) if signed else None
        for plain in top.rglob("Packages") if "" not in compression else ():
            plain.unlink()  # as in real archives: the Release lists it all the same
        for file in top.rglob("Packages*") if by_hash else ():
            (file.parent / "by-hash/SHA256").mkdir(parents=True, exist_ok=True)
            file.rename(file.parent / "by-hash/SHA256" / hashlib.sha256(file.read_bytes()).hexdigest())
        self.editions += 1
        for file in top.glob("*Release*"):  # HTTP's times are whole seconds: two editions in one would be the same
            os.utime(file, (now + self.editions, now + self.editions))

    def publish_flat(self, suffix: str) -> None:
        """Indexes and Release beside each other, at the root."""
        shutil.rmtree(self.folder / "dists", ignore_errors=True)

        def ftparchive(*words: str) -> bytes:
            argv = [need("apt-ftparchive"), *words]
            return subprocess.run(argv, cwd=self.folder, check=True, capture_output=True).stdout

        for old in self.folder.glob("Packages*"):
            old.unlink()
        compressed(self.folder / "Packages", ftparchive(*SHA256, "packages", "pool"), [suffix])
        (self.folder / "Release").unlink(missing_ok=True)
        (self.folder / "Release").write_bytes(ftparchive("release", "."))
        self.sign(self.folder)
        if suffix:
            (self.folder / "Packages").unlink()

    def sign(self, top: Path, by: Archive | None = None, *words: str) -> None:
        """Sign a Release, with the key of another archive if need be. words: more options of gpg."""
        (top / "InRelease").unlink(missing_ok=True)
        run([*(by or self).gpg, *words, "--clear-sign", "-o", top / "InRelease", top / "Release"])

    def new_home(self, folder: Path, *words: str, until: str = "0") -> Archive:
        """The same archive with another key; until: when it expires; words: more options of gpg."""
        folder.mkdir(mode=0o700)
        self.others.append(folder)
        made = replace(self, gnupg=folder)
        new_key(made, *words, until=until)
        return made

    @property
    def gpg(self) -> list[str]:
        return [need("gpg"), "--homedir", str(self.gnupg), "--batch", "--quiet", "--no-tty"]

    def source(self, more: str = "") -> str:
        """The table for a stack.toml whose folder holds the key as key.gpg."""
        suites = ", ".join(f'"{found.name}"' for found in sorted((self.folder / "dists").glob("*"))) or '"bookworm"'
        return (
            f'[[packages.source]]\nurl = "{self.url}"\nsuites = [{suites}]\ncomponents = ["main"]\n'
            f'signed-by = "key.gpg"\n{more}'
        )


@contextmanager
def served(made: Archive, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An archive on a free port, by https under the name localhost if `tls` is given: the URL."""
    server = QuietServer(("127.0.0.1", 0), partial(Handler, made, directory=str(made.folder)))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}" if tls else f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


@contextmanager
def anew(made: Archive) -> Iterator[Archive]:
    """An archive that is shared, published as new; what a test does to it and its server ends with the context."""
    shutil.rmtree(made.folder / "dists", ignore_errors=True)  # suites that a test before made, too
    made.publish()
    yield made
    for said in (made.faults, made.asked, made.logins, made.statuses):
        said.clear()
    made.login = made.moved = ""


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    """A new, empty archive with a key of its own, served until the context ends."""
    gnupg = Path(tempfile.mkdtemp(prefix="sbgpg", dir="/tmp"))  # a short path: the agent's sockets are in it
    made = Archive(folder / "archive", gnupg)
    made.folder.mkdir(parents=True)
    try:
        new_key(made)
        with served(made) as made.url:
            yield made
    finally:
        for home in [gnupg, *made.others]:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(gnupg, ignore_errors=True)


def compressed(file: Path, data: bytes, suffixes: Sequence[str]) -> None:
    """Write a file, and each of these forms of it, with the programs that archives are made with."""
    file.write_bytes(data)
    programs = {".xz": "xz", ".gz": "gzip", ".zst": "zstd", ".lz4": "lz4", ".bz2": "bzip2", ".lzma": "xz"}
    for suffix in filter(None, suffixes):
        words = [need(programs[suffix]), "-c", *(["--format=lzma"] if suffix == ".lzma" else [])]
        Path(f"{file}{suffix}").write_bytes(subprocess.run(words, input=data, check=True, capture_output=True).stdout)


def new_key(made: Archive, *words: str, until: str = "0") -> None:
    """Make a signing key without a passphrase and export its public half."""
    silent = ["--pinentry-mode", "loopback", "--passphrase", ""]
    run([*made.gpg, *silent, *words, "--quick-generate-key", "Test <test@example.com>", "ed25519", "sign", until])
    run([*made.gpg, "--export", "-o", made.key])


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of an archive, and its faults."""

    protocol_version = "HTTP/1.1"

    def __init__(self, made: Archive, *args: Any, directory: str) -> None:
        self.made = made
        super().__init__(*args, directory=directory)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: `asked` says what was asked."""

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self.made.statuses.append(int(code))

    def do_GET(self) -> None:
        self.made.asked.append(self.path)
        said = self.headers.get("Authorization", "")
        login = base64.b64decode(said.removeprefix("Basic ")).decode() if said else ""
        self.made.logins.append(login)
        if self.made.moved:
            self.send_response(302)
            self.send_header("Location", self.made.moved + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.made.login and login != self.made.login:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        fault = next((how for part, how in self.made.faults.items() if part in self.path), "")
        if fault in REFUSALS:
            self.send_error(REFUSALS[fault])
            return
        if not fault:
            super().do_GET()
            return
        body = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "truncate":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            middle = len(body) // 2
            self.wfile.write(body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])


def stack_of(made: Archive, folder: Path, install: list[str], more: str = "") -> Path:
    """A project whose packages come from this archive alone, on a base that has nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    if made.key.exists():
        shutil.copy(made.key, folder / "key.gpg")
    names = ", ".join(f'"{name}"' for name in install)
    (folder / "stack.toml").write_text(
        '[stack]\nname = "small"\n[base]\ndistro = "debian/bookworm"\nvariant = "custom"\n'
        f"[packages]\ninstall = [{names}]\n{made.source()}{more}"
    )
    os.utime(folder / "stack.toml")
    return folder
