"""The recipes that ship, as their users have them: `init`, `up -d --wait`, and what then answers."""

from __future__ import annotations

import base64
import http.server
import io
import json
import socket
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path

import pytest

from tests.conftest import Stackbuild
from tests.machine import free_port, need_root

Project = Callable[[str], Stackbuild]


@pytest.fixture
def project(tmp_path: Path, shared: Path) -> Iterator[Project]:
    """Makes projects by a folder's name; all recipes share one store. Containers and volumes go at the end."""
    need_root()
    made: list[Stackbuild] = []

    def make(name: str) -> Stackbuild:
        (tmp_path / name).mkdir()
        made.append(Stackbuild(tmp_path / name, shared / "recipes-store"))
        return made[-1]

    yield make
    for one in made:
        if (one.folder / "stack.toml").exists():
            one("down", code=None, timeout=90)


def ask(url: str, **headers: str) -> tuple[int, Message, str]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_web_static_from_a_folder_of_pages(project: Project) -> None:
    """A page of the same size and time as the one before is still seen as another one; the same one is not sent."""
    here, port = project("pages"), free_port()
    write(here.folder, {"index.html": "<h1>one</h1>\n", "assets/app.1a2b.js": "1;\n", ".env": "SECRET=1\n"})
    said = here("init")
    assert "index.html is there: web-static fits" in said.err
    file = here.folder / "stack.toml"
    text = file.read_text()
    with_ = f'with = {{ port = {port}, immutable = ["/assets/"], single-page = true }}'
    file.write_text(text.replace('use = "web-static" }', f'use = "web-static", {with_} }}'))
    here("up", "-d", "--wait", timeout=400)
    url = f"http://127.0.0.1:{port}"
    code, headers, body = ask(f"{url}/")
    assert (code, body) == (200, "<h1>one</h1>\n")
    assert headers["Cache-Control"] == "no-cache" and headers["Last-Modified"] is None
    first = headers["ETag"]
    assert first.startswith('W/"') and ask(f"{url}/index.html", If_None_Match=first)[::2] == (304, "")
    since = "Tue, 01 Jan 2030 00:00:00 GMT"
    assert ask(f"{url}/", If_Modified_Since=since)[0] == 200
    assert ask(f"{url}/", If_None_Match="")[0] == 200
    code, headers, _ = ask(f"{url}/assets/app.1a2b.js")
    assert code == 200 and "immutable" in headers["Cache-Control"]
    assert ask(f"{url}/some/view")[2] == "<h1>one</h1>\n"
    for hidden in ("stack.toml", ".env"):
        assert ask(f"{url}/{hidden}")[2] == "<h1>one</h1>\n", hidden
    assert "GET /some/view" in here("logs").out

    write(here.folder, {"index.html": "<h1>two</h1>\n"})
    here("up", "-d", "--wait", timeout=200)
    code, headers, body = ask(f"{url}/", If_None_Match=first)
    assert (code, body) == (200, "<h1>two</h1>\n") and headers["ETag"] != first


def test_redis_keeps_its_data_over_an_update(project: Project) -> None:
    here, port = project("redis"), free_port()
    here("init", "redis", "--with", f"port={port}")
    here("up", "-d", "--wait", timeout=400)

    def command(*words: str) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            peer.sendall((" ".join(words) + "\r\n").encode())
            return peer.recv(4096).decode()

    assert command("SET", "key", "kept") == "+OK\r\n"
    assert here("exec", "id", "-un").out == "redis\n"
    file = here.folder / "stack.toml"
    file.write_text(file.read_text().replace(f"port = {port}", f'port = {port}, memory = "64mb"'))
    here("up", "-d", "--wait", timeout=200)
    assert command("GET", "key") == "$4\r\nkept\r\n"
    assert "67108864" in command("CONFIG", "GET", "maxmemory")


@pytest.mark.whole
def test_web_service_runs_a_command_as_an_ordinary_user(project: Project) -> None:
    here, port = project("service"), free_port()
    write(here.folder, {"app/hello.txt": "hello\n"})
    words = (
        f'command=["python3", "-m", "http.server", "{port}"]',
        f"port={port}",
        'packages=["python3"]',
        "folder=app",
    )
    here("init", "web-service", *(part for word in words for part in ("--with", word)))
    here("up", "-d", "--wait", timeout=400)
    assert ask(f"http://127.0.0.1:{port}/hello.txt")[2] == "hello\n"
    assert here("exec", "id", "-u").out == "10001\n"
    [container] = json.loads(here("ps", "--format", "json").out)
    assert container["health"] == "healthy"


@pytest.mark.whole
def test_postgres_keeps_its_data_over_an_image_update(project: Project) -> None:
    """Init scripts run once; a row outlives the image; a failed init script leaves nothing half made."""
    here, port = project("database"), free_port()
    write(here.folder, {"init/1.sql": "SELECT 1/0;\n", "init/2.sh": "psql -qc 'INSERT INTO seen VALUES (2)'\n"})
    here("init", "postgres", "--with", f"port={port}", "--with", "init=init")
    assert "POSTGRES_PASSWORD is not set" in here("up", "-d", "--wait", code=None, timeout=400).err + here("logs").err
    write(here.folder, {".env": 'POSTGRES_PASSWORD=it\'s a "secret"\n'})
    file = here.folder / "stack.toml"
    with file.open("a") as more:
        more.write('\n[container]\nenv-file = [".env"]\nrestart = "no"\n')
    assert here("up", "-d", "--wait", code=None, timeout=200).code != 0
    assert "division by zero" in here("logs").err
    made = "CREATE TABLE seen (n int);\nALTER TABLE seen OWNER TO app;\nINSERT INTO seen VALUES (1);\n"
    write(here.folder, {"init/1.sql": made})
    here("up", "-d", "--wait", timeout=200)

    def sql(line: str) -> str:
        login = """PGPASSWORD="it's a \\"secret\\"" psql -qAt -h 127.0.0.1 -U app -d app -c "$1" """
        return here("exec", "sh", "-c", login, "sh", line).out

    assert sql("SELECT n FROM seen ORDER BY n") == "1\n2\n"
    sql("INSERT INTO seen VALUES (3)")
    assert here("exec", "sh", "-c", "psql -h 127.0.0.1 -wU app app -c 'select 1'", code=None).code != 0
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    file.write_text(file.read_text().replace('init = "init"', 'init = "init", settings = ["work_mem = 7MB"]'))
    assert "init" in file.read_text()
    with file.open("a") as more:
        more.write('\n[packages]\ninstall = ["tzdata"]\n')
    here("up", "-d", "--wait", timeout=300)
    assert sql("SELECT n FROM seen ORDER BY n") == "1\n2\n3\n"
    assert sql("SHOW work_mem") == "7MB\n"


def wheel(folder: Path) -> None:
    """A wheel of one module, `greet`, as `pip wheel` writes it."""
    folder.mkdir()
    info = "greet-1.0.dist-info"
    with zipfile.ZipFile(folder / "greet-1.0-py3-none-any.whl", "w") as made:
        made.writestr("greet.py", "WORD = 'hello from a wheel'\n")
        made.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", f"greet.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


PYTHON_APP = """\
import greet, http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{greet.WORD}, {os.getuid()}, {greet.__cached__}".encode())
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"""


@pytest.mark.whole
def test_python_app_has_its_modules_and_no_pip(project: Project) -> None:
    """From `init` alone, offline by a folder of wheels; a change of the program does not install anew."""
    here, port = project("shop"), free_port()
    write(here.folder, {"requirements.txt": "greet==1.0\n", "app.py": PYTHON_APP})
    wheel(here.folder / "wheels")
    said = here("init", "--with", f"port={port}", "--with", "wheels=wheels")
    assert "requirements.txt is there: python-app fits" in said.err
    here("up", "-d", "--wait", timeout=500)
    url = f"http://127.0.0.1:{port}/"
    word, uid, compiled = ask(url)[2].split(", ")
    assert (word, uid) == ("hello from a wheel", "10001")
    flags = here("exec", "python3", "-c", f"print(open({compiled!r}, 'rb').read()[4])").out
    assert flags == "1\n", "compiled by time: stale in an image"
    for absent in ("python3 -m pip --version", "ls /srv/app/stack.toml"):
        assert here("exec", "sh", "-c", absent, code=None).code != 0
    assert json.loads(here("ps", "--format", "json").out)[0]["health"] == "healthy"
    write(here.folder, {"app.py": PYTHON_APP.replace("{greet.WORD}", "changed")})
    again = here("up", "-d", "--wait", timeout=200)
    assert "install" not in again.err and ask(url)[2].startswith("changed, ")


@pytest.mark.whole
def test_python_app_takes_its_index_from_a_secret(project: Project, tmp_path: Path) -> None:
    """A private index with a password: modules come from it, the password stays out of image and lock."""
    here, port = project("closed"), free_port()
    wheel(tmp_path / "index")
    asked: list[str] = []

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Authorization']}")
            name = "greet-1.0-py3-none-any.whl"
            page = f'<a href="/{name}">{name}</a>'.encode()
            body = (tmp_path / "index" / name).read_bytes() if self.path.endswith(".whl") else page
            self.send_response(200)
            self.send_header("Content-Type", "application/zip" if self.path.endswith(".whl") else "text/html")
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://reader:pa55w0rd@127.0.0.1:{server.server_port}/simple/"
        write(tmp_path, {"pip.conf": f"[global]\nindex-url = {url}\n"})
        write(here.folder, {"requirements.txt": "greet\n", "app.py": PYTHON_APP})
        here("init", "--with", f"port={port}", "--with", "pip-config=true")
        here("up", "-d", "--wait", "--secret", f"id=PIP_CONF,src={tmp_path / 'pip.conf'}", timeout=500)
        server.shutdown()
    token = base64.b64encode(b"reader:pa55w0rd").decode()
    assert any(line == f"/simple/greet/ Basic {token}" for line in asked)
    assert ask(f"http://127.0.0.1:{port}/")[2].startswith("hello from a wheel, 10001")
    assert "pa55w0rd" not in (here.folder / "stack.lock").read_text()
    assert here("exec", "grep", "-rl", "pa55w0rd", "/opt", "/srv", "/etc", "/root", code=None).out == ""


@pytest.mark.whole
def test_python_app_installs_a_project_by_its_pyproject(project: Project) -> None:
    here, port = project("project"), free_port()
    text = '[build-system]\nrequires = []\nbuild-backend = "made"\nbackend-path = ["."]\n'
    text += '[project]\nname = "greet"\nversion = "1.0"\n[project.scripts]\nserve = "greet:main"\n'
    backend = """\
import zipfile
def build_wheel(folder, settings=None, metadata=None):
    info, name = "greet-1.0.dist-info", "greet-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as made:
        made.write("greet.py")
        made.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: greet\\nVersion: 1.0\\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        made.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nserve = greet:main\\n")
        made.writestr(f"{info}/RECORD", f"{info}/RECORD,,\\n")
    return name
"""
    lines = PYTHON_APP.replace("greet.WORD", "'a project'").replace("greet.__cached__", "__file__").splitlines()
    program = "import http.server, os\n" + "\n".join(lines[1:-1]) + f"\ndef main():\n    {lines[-1]}\n"
    write(here.folder, {"pyproject.toml": text, "made.py": backend, "greet.py": program})
    here("init", "--with", f"port={port}", "--with", 'sources=["pyproject.toml", "made.py", "greet.py"]')
    here("up", "-d", "--wait", timeout=500)
    word, uid, file = ask(f"http://127.0.0.1:{port}/")[2].split(", ")
    assert (word, uid) == ("a project", "10001") and file.startswith("/opt/venv/lib/python3")


@pytest.mark.whole
def test_node_app_has_its_modules_and_no_npm(project: Project) -> None:
    """`npm ci` from a file of the project, as an offline registry would serve it."""
    here, port = project("node"), free_port()
    text = b'{"name": "greet", "version": "1.0.0", "main": "i.js"}'
    (here.folder / "vendor").mkdir()
    with tarfile.open(here.folder / "vendor/greet-1.0.0.tgz", "w:gz") as made:
        for name, data in (("package.json", text), ("i.js", b"module.exports = 'hello from a module'")):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    wanted = {"greet": "file:vendor/greet-1.0.0.tgz"}
    package = {"name": "shop", "version": "1.0.0", "main": "serve.js", "dependencies": wanted}
    locked = {
        "name": "shop",
        "version": "1.0.0",
        "lockfileVersion": 2,
        "requires": True,
        "packages": {
            "": {"name": "shop", "version": "1.0.0", "dependencies": wanted},
            "node_modules/greet": {"version": "1.0.0", "resolved": wanted["greet"]},
        },
        "dependencies": {"greet": {"version": wanted["greet"]}},
    }
    program = "require('http').createServer((q, a) => a.end(require('greet') + ' ' + process.getuid()))"
    files = {"package.json": json.dumps(package), "package-lock.json": json.dumps(locked)}
    write(here.folder, {**files, "serve.js": f"{program}.listen(process.env.PORT)\n", ".npmrc": "token\n"})
    sources = 'sources=["package.json", "package-lock.json", "vendor"]'
    said = here("init", "--with", f"port={port}", "--with", "network=false", "--with", sources)
    assert "package.json is there: node-app fits" in said.err
    here("up", "-d", "--wait", timeout=500)
    assert ask(f"http://127.0.0.1:{port}/")[2] == "hello from a module 10001"
    for absent in ("command -v npm", "ls /srv/app/.npmrc"):
        assert here("exec", "sh", "-c", absent, code=None).code != 0


@pytest.mark.whole
def test_ci_runner_compiles_as_its_user(project: Project) -> None:
    here = project("runner")
    here("init", "ci-runner")
    here("build", timeout=500)
    line = "echo 'int main(){return 7;}' > a.c && gcc a.c -o a && git init -q r && id -un && ./a"
    assert here("run", "runner", "bash", "-c", line, code=7, timeout=120).out == "ci\n"
