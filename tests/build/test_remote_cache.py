"""Step results in a real registry: one look-up for a known commit, and no way in which the cache can fail a build."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pysequoia
import pytest

from stackbuild.build.entry_signature import Keys
from stackbuild.core.errors import NetworkError
from tests.conftest import Stackbuild
from tests.machine import REPOSITORY, free_port, need_root
from tests.peers.registry import registry, running_registry
from tests.projects import write_tiny

__all__ = ["registry"]
pytestmark = pytest.mark.root
RUN = '[[layer]]\nname = "made"\nrun = ["echo made > /made"]\n'
STEPS = ("copy/busybox", "files/links", "copy/site", "run/made", "image")


@contextmanager
def counted(host: str) -> Iterator[tuple[str, list[str]]]:
    """A server before a registry that writes down each request: "GET /v2/…"."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append(f"{self.command} {self.path}")
            request = urllib.request.Request(f"http://{host}{self.path}", method=self.command)
            for name in ("Accept",):
                if name in self.headers:
                    request.add_header(name, self.headers[name])
            try:
                answer = urllib.request.urlopen(request, timeout=20)
            except urllib.error.HTTPError as error:
                answer = error
            body = answer.read()
            self.send_response(answer.status)
            for name in ("Content-Type", "Docker-Content-Digest"):
                if answer.headers.get(name):
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()


def ran(err: str) -> set[str]:
    return {step for step in STEPS if re.search(rf"=> {step} \(", err)}


def clean(stackbuild: Stackbuild, name: str) -> Stackbuild:
    """Another machine: the same commit, an empty store."""
    folder = stackbuild.folder.with_name(f"project-{name}")
    shutil.copytree(stackbuild.folder, folder)
    return stackbuild.at(folder, stackbuild.store.with_name(f"store-{name}"))


@pytest.fixture
def project(stackbuild: Stackbuild) -> Stackbuild:
    need_root()
    write_tiny(stackbuild.folder, layers=RUN)
    return stackbuild


def test_a_clean_machine_runs_no_step_and_looks_up_once(project: Stackbuild, registry: str) -> None:
    place = f"{registry}/team/once"
    first = project("build", "--cache-to", place)
    assert ran(first.err) == set(STEPS)
    other = clean(project, "other")
    with counted(registry) as (host, seen):
        again = other("build", "--cache-from", f"{host}/team/once", "--to", f"oci:{other.folder}/out")
    assert again.out == first.out and not ran(again.err)
    looked = [line for line in seen if "/manifests/" in line]
    assert len(looked) == 1 and looked[0].startswith("GET /v2/team/once/manifests/step-")
    assert not [line for line in seen if not line.startswith("GET ")]  # reading writes nothing
    other("cache", "verify")
    assert other("build").out == first.out  # the local store has it now


def test_after_an_edit_only_what_changed_runs_and_a_plan_downloads_nothing(project: Stackbuild, registry: str) -> None:
    place = f"{registry}/team/edit"
    project("build", "--cache-to", place)
    other = clean(project, "other")
    (other.folder / "site/index.html").write_text("other\n")
    (other.folder / "stack.toml").open("a").write(f'[build.cache]\nfrom = "{place}"\n')
    plan = other("plan").out
    assert "site/index.html" in plan or "copy/site" in plan
    assert not list((other.store / "images").glob("blobs/sha256/*"))
    before = asked(f"http://{registry}/v2/team/edit/tags/list")
    built = other("build")
    assert ran(built.err) == {"copy/site", "run/made", "image"}
    assert asked(f"http://{registry}/v2/team/edit/tags/list") == before  # `from` alone writes nothing of what it made


def test_blobs_are_shared_with_the_images_of_the_registry(project: Stackbuild, registry: str) -> None:
    text = project.folder / "stack.toml"
    text.write_text(f'{text.read_text()}[push]\nto = ["{registry}/team/image:1"]\n')
    project("build", "--push")
    (project.folder / "touch").write_text("")
    sent = json.loads(
        project("--progress", "json", "build", "-B", "--cache-to", f"{registry}/team/mounted", "--format", "json").out
    )
    assert sent["digest"]
    other = clean(project, "other")
    built = other("--progress", "json", "build", "--push", "--cache-from", f"{registry}/team/mounted")
    pushed = [json.loads(line) for line in built.err.splitlines() if '"image_pushed"' in line]
    assert [one["sent"] for one in pushed] == [0]
    theirs = other.folder / "stack.toml"
    theirs.write_text(theirs.read_text().replace("team/image:1", "team/new:1"))
    built = other("--progress", "json", "build", "--push", "--cache-from", f"{registry}/team/mounted")
    pushed = [json.loads(line) for line in built.err.splitlines() if '"image_pushed"' in line]
    assert [one["sent"] for one in pushed] == [0]  # the layers are those of the cache's repository


@pytest.mark.parametrize("trouble", ["refused", "silent", "forbidden", pytest.param("gone", marks=pytest.mark.whole)])
def test_a_cache_that_is_down_or_slow_fails_no_build(project: Stackbuild, tmp_path: Path, trouble: str) -> None:
    port = free_port()
    with socket.socket() as server:
        if trouble == "silent":  # it takes the connection and says nothing
            server.bind(("127.0.0.1", port))
            server.listen(16)
        if trouble in ("refused", "silent"):
            built = project("build", "--cache-from", f"127.0.0.1:{port}/x", "--cache-to", f"127.0.0.1:{port}/x")
        elif trouble == "gone":
            with running_registry(tmp_path / "registry") as host:
                shutil.rmtree(tmp_path / "registry/data", ignore_errors=True)
                (tmp_path / "registry/data").write_text("no folder")
                built = project("build", "--cache-from", f"{host}/x", "--cache-to", f"{host}/x")
        else:
            (tmp_path / "htpasswd").write_text("nobody:$2y$05$abcdefghijklmnopqrstuuO\n")
            more = f"auth: {{htpasswd: {{realm: x, path: {tmp_path}/htpasswd}}}}\n"
            with running_registry(tmp_path / "registry", more) as host:
                built = project("build", "--cache-from", f"{host}/x", "--cache-to", f"{host}/x")
    assert ran(built.err) == set(STEPS) and built.seconds < 40
    assert built.err.count("the remote cache") == 1 and "Traceback" not in built.err


def entries(data: Path, repository: str) -> list[Path]:
    """The registry's own files of the blobs of a repository."""
    links = (data / "docker/registry/v2/repositories" / repository / "_layers/sha256").glob("*/link")
    names = [link.read_text().strip().removeprefix("sha256:") for link in links]
    return [data / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data" for name in names]


@pytest.mark.parametrize("harm", ["flip", pytest.param("cut", marks=pytest.mark.whole)])
def test_poisoned_and_truncated_entries_are_refused(project: Stackbuild, tmp_path: Path, harm: str) -> None:
    with running_registry(tmp_path / "registry") as host:
        first = project("build", "--cache-to", f"{host}/team/bad")
        for blob in entries(tmp_path / "registry/data", "team/bad"):
            content = bytearray(blob.read_bytes())
            content[len(content) // 2] ^= 1
            blob.write_bytes(content if harm == "flip" else content[: len(content) // 2])
        other = clean(project, "other")
        built = other("build", "--cache-from", f"{host}/team/bad")
    assert built.out == first.out and ran(built.err) == set(STEPS)
    assert built.err.count("is not used") == 1 and "Traceback" not in built.err
    assert json.loads(other("cache", "verify", "--format", "json").out)["bad"] == []


def asked(url: str, accept: str = "", body: bytes | None = None, method: str = "GET", kind: str = "") -> bytes:
    headers = {**({"Accept": accept} if accept else {}), **({"Content-Type": kind} if kind else {})}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        data: bytes = answer.read()
    return data


def test_an_entry_that_lies_about_a_layer_is_found_out_before_it_is_used(project: Stackbuild, registry: str) -> None:
    """By somebody who may write: sound digests, but another layer under the diff ID that all stacks share."""
    project("build", "--cache-to", f"{registry}/team/lies")
    base = f"http://{registry}/v2/team/lies"
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    found = {}
    for tag in json.loads(asked(f"{base}/tags/list"))["tags"]:
        manifest = json.loads(asked(f"{base}/manifests/{tag}", manifest_type))
        entry = json.loads(asked(f"{base}/blobs/{manifest['config']['digest']}"))
        if "layer" in entry["result"]["outputs"]:
            found[tag] = (manifest, entry)
    for tag, (manifest, entry) in found.items():
        other = next(e for _, e in found.values() if e["result"]["outputs"] != entry["result"]["outputs"])
        entry["result"]["outputs"] = other["result"]["outputs"]
        raw = json.dumps(entry).encode()
        name = "sha256:" + hashlib.sha256(raw).hexdigest()
        with urllib.request.urlopen(urllib.request.Request(f"{base}/blobs/uploads/", b"", method="POST")) as answer:
            place = answer.headers["Location"]
        asked(f"{place}&digest={name}", body=raw, method="PUT", kind="application/octet-stream")
        blob = other["result"]["outputs"]["layer"]
        manifest["config"] |= {"digest": name, "size": len(raw)}
        manifest["layers"] = [{"mediaType": "application/octet-stream", **blob}]
        asked(f"{base}/manifests/{tag}", body=json.dumps(manifest).encode(), method="PUT", kind=manifest_type)
    other_machine = clean(project, "other")
    write_tiny(other_machine.folder, layers=RUN.replace("echo made", "echo more"))
    built = other_machine("build", "--cache-from", f"{registry}/team/lies")
    assert "is not what its step's result says" in built.err
    honest = other_machine.at(store=project.store.with_name("honest"))
    assert built.out == honest("build").out
    assert json.loads(other_machine("cache", "verify", "--format", "json").out)["bad"] == []


def new_key(folder: Path, name: str) -> None:
    key = pysequoia.Tsk.generate(f"{name} <{name}@example.com>")
    (folder / f"{name}.secret").write_bytes(bytes(key))
    (folder / f"{name}.asc").write_text(str(key.extract_certificate()))


def test_entries_can_be_limited_to_those_of_a_key(project: Stackbuild, registry: str) -> None:
    for name in ("ci", "mallory"):
        new_key(project.folder, name)
    text = (project.folder / "stack.toml").read_text()

    def build(name: str, place: str, signer: str = "", trusted: str = "") -> set[str]:
        other = clean(project, name)
        lines = [f'{"to" if not trusted else "from"} = "{registry}/team/{place}"']
        lines += [f'sign-with = "{signer}.secret"'] if signer else []
        lines += [f'trusted-keys = ["{trusted}.asc"]'] if trusted else []
        (other.folder / "stack.toml").write_text(text + "[build.cache]\n" + "\n".join(lines) + "\n")
        return ran(other("build").err)

    assert build("a", "signed", signer="ci") == set(STEPS)
    assert build("b", "signed", trusted="ci") == set()
    assert build("c", "signed", trusted="mallory") == set(STEPS)
    build("d", "forged", signer="mallory")
    assert build("e", "forged", trusted="ci") == set(STEPS)
    with pytest.raises(NetworkError, match="not signed"):
        Keys([project.folder / "ci.asc"]).check(b"an entry", "")


def test_a_key_that_is_not_there_is_a_mistake(project: Stackbuild) -> None:
    (project.folder / "stack.toml").open("a").write(
        '[build.cache]\nfrom = "registry.example.com/x"\ntrusted-keys = ["no.asc"]\n'
    )
    assert "no.asc" in project("build", code=2).err
    write_tiny(project.folder)
    wrong = project("build", "--cache-from", "registry.example.com/x:tag", code=2)
    assert "tag" in wrong.err


def test_caches_folders_are_kept_by_name(project: Stackbuild, registry: str) -> None:
    layer = '[[layer]]\nname = "made"\ncaches = [{ path = "/root/.npm" }]\nrun = ["COMMAND"]\n'
    write_tiny(
        project.folder, layers=layer.replace("COMMAND", "echo kept > /root/.npm/file; ln -s file /root/.npm/link")
    )
    project("build", "--cache-to", f"{registry}/team/folders")
    other = clean(project, "other")
    write_tiny(other.folder, layers=layer.replace("COMMAND", "cat /root/.npm/link > /found"))
    other("build", "--cache-from", f"{registry}/team/folders", "--to", f"rootfs:{other.folder}/tree")
    assert (other.folder / "tree/found").read_text() == "kept\n"


def test_the_examples_of_the_page_are_settings_that_work(project: Stackbuild, registry: str) -> None:
    page = (REPOSITORY / "docs/howto/ci-cache.md").read_text()
    tables = re.findall(r"```toml\n(.*?)```", page, re.S)
    text = (project.folder / "stack.toml").read_text()
    (project.folder / "keys").mkdir()
    new_key(project.folder / "keys", "ci")
    secret = project.folder / "secret.key"
    shutil.move(project.folder / "keys/ci.secret", secret)
    assert len(tables) == 3
    for number, table in enumerate(tables):
        (project.folder / "stack.toml").write_text(text)
        other = clean(project, str(number))
        words = table.replace("registry.example.com", registry).replace("/run/secrets/cache.key", str(secret))
        (other.folder / "stack.toml").write_text(text + words)
        assert other("build").code == 0
