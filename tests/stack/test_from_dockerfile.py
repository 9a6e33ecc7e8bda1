"""A Dockerfile becomes a stack: nothing is dropped, and what has a like in a stack becomes it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import StackError, UsageError
from stackbuild.stack.from_dockerfile.files import ignored
from stackbuild.stack.from_dockerfile.read import read_dockerfile
from stackbuild.stack.from_dockerfile.shell_lines import take_apart
from stackbuild.stack.from_dockerfile.translate import full_name, translate
from stackbuild.stack.from_dockerfile.variables import expand, unquote
from stackbuild.stack.from_dockerfile.write import write

REPOSITORY = Path(__file__).parents[2]
HERE = REPOSITORY / "tests/data/dockerfiles"


def text_of(folder: Path, dockerfile: str, target: str = "", ignore: str = "") -> str:
    (folder / "Dockerfile").write_text(dockerfile)
    if ignore:
        (folder / ".dockerignore").write_text(ignore)
    return write(translate(read_dockerfile(folder / "Dockerfile"), target), "app", "stackbuild init --from Dockerfile")


def tree_of(folder: Path, dockerfile: str, target: str = "", ignore: str = "") -> dict[str, Any]:
    return tomllib.loads(text_of(folder, dockerfile, target, ignore))


FROM = "FROM debian:bookworm-slim\n"
DIGEST = "sha256:" + "0" * 64
APT = "apt-get install -qy --no-install-recommends \\\n # why\n curl; rm -rf /var/lib/apt/lists/*"
HEALTH = {"test": ["CMD-SHELL", "curl -f x || exit 1"], "interval": "5s", "retries": 3}
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASH = 'SHELL ["/bin/bash", "-eo", "pipefail", "-c"]\n'
BASH_WORDS = ["/bin/bash", "-eo", "pipefail", "-c"]
AUTHOR = "org.opencontainers.image.authors"


@pytest.mark.parametrize(
    ("lines", "table", "key", "value"),
    [
        ("FROM debian:12", "base", "distro", "debian/bookworm"),
        ("FROM debian:bookworm-20240101-slim", "base", "distro", "debian/bookworm"),
        ("ARG V=trixie\nFROM debian:${V}-slim", "base", "distro", "debian/trixie"),
        ("FROM scratch", "base", "scratch", True),
        ("FROM python:3.12-slim", "base", "image", "docker.io/library/python:3.12-slim"),
        (f"FROM registry.example.com/a@{DIGEST}", "base", "image", f"registry.example.com/a@{DIGEST}"),
        (FROM + "RUN apt-get update && apt-get install -y curl=7.* git", "packages", "install", ["curl=7.*", "git"]),
        (FROM + "RUN apt-get update && apt-get install -y curl git", "packages", "recommends", True),
        (FROM + "RUN set -eux; apt-get update; " + APT, "packages", "install", ["curl"]),
        (FROM + "ARG V=7.*\nRUN apt-get install -y curl=${V}", "packages", "install", ["curl=7.*"]),
        (FROM + "RUN apt-get -t bookworm-backports install -y git", "packages", "install", ["git/bookworm-backports"]),
        (FROM + 'ENV A=1 B="x y" C=a\\ b', "image", "env", {"A": "1", "B": "x y", "C": "a b"}),
        (FROM + 'ENV OLD a "b c"', "image", "env", {"OLD": "a b c"}),
        (FROM + "ENV A=1\nENV B=$A-${C:-2} D=\\$A", "image", "env", {"A": "1", "B": "1-2", "D": "$A"}),
        (FROM + "ENV A=1\nENV A=2 B=$A", "image", "env", {"A": "2", "B": "1"}),
        (FROM + "ENV PATH=/opt/bin:$PATH", "image", "env", {"PATH": f"/opt/bin:{SEARCH}"}),
        (FROM + "USER app:www", "image", "user", "app:www"),
        (FROM + "WORKDIR /a\nWORKDIR b/../c", "image", "workdir", "/a/c"),
        (FROM + "EXPOSE 80 53/udp 7000-7002/tcp", "image", "expose", [80, "53/udp", 7000, 7001, 7002]),
        (FROM + 'ENTRYPOINT ["a", "b c"]', "image", "entrypoint", ["a", "b c"]),
        (FROM + "CMD echo hi | cat", "image", "cmd", ["/bin/sh", "-c", "echo hi | cat"]),
        (FROM + "HEALTHCHECK --interval=5s --retries=3 CMD curl -f x || exit 1", "image", "healthcheck", HEALTH),
        (FROM + BASH + "HEALTHCHECK CMD a | b", "image", "healthcheck", {"test": ["CMD", *BASH_WORDS, "a | b"]}),
        (FROM + BASH + "RUN apt-get update && apt-get install -y a \\\n b", "packages", "install", ["a", "b"]),
        (FROM + "HEALTHCHECK NONE", "image", "healthcheck", {"test": ["NONE"]}),
        (FROM + 'LABEL a.b="c d" e=f\nMAINTAINER me', "image", "labels", {"a.b": "c d", "e": "f", AUTHOR: "me"}),
        (FROM + 'VOLUME ["/a"]\nVOLUME /b /c', "image", "volumes", ["/a", "/b", "/c"]),
        (FROM + "STOPSIGNAL SIGQUIT", "image", "stop-signal", "SIGQUIT"),
        (FROM + "LABEL x='{{.y}}'", "image", "labels", {"x": '{{ "{{" }}.y}}'}),
    ],
)  # fmt: skip
def test_values(tmp_path: Path, lines: str, table: str, key: str, value: object) -> None:
    assert tree_of(tmp_path, lines)[table][key] == value


@pytest.mark.parametrize(
    ("lines", "layers"),
    [
        ("COPY a b /x/", [{"name": "copy-x", "copy": [{"from": "a", "to": "/x/"}, {"from": "b", "to": "/x/"}]}]),
        ("WORKDIR /w\nCOPY . .", [{"name": "copy-w", "copy": [{"from": "./", "to": "/w/"}]}]),
        (
            "COPY --chown=1:2 --chmod=755 run.sh /bin/",
            [{"name": "copy-bin", "copy": [{"from": "run.sh", "to": "/bin/", "owner": "1:2", "mode": "0755"}]}],
        ),
        ("COPY <<X /etc/x\nhi $A\nX\n", [{"name": "x", "files": [{"path": "/etc/x", "content": "hi \n"}]}]),
        ("COPY <<'X' /etc/x\nhi $A\nX\n", [{"name": "x", "files": [{"path": "/etc/x", "content": "hi $A\n"}]}]),
        (
            "ADD --checksum=sha256:" + "1" * 64 + " https://example.com/t /opt/",
            [
                {
                    "name": "t",
                    "fetch": [
                        {"url": "https://example.com/t", "sha256": "1" * 64, "to": "/opt/t", "mode": "0600"},
                    ],
                }
            ],
        ),
        (
            "ADD x.tar.gz /opt",
            [{"name": "unpack-x-tar-gz", "run": ["tar -xf /src/x.tar.gz"], "inputs": ["x.tar.gz"], "workdir": "/opt"}],
        ),
        (
            "ADD ./.x.tar /",
            [{"name": "unpack-x-tar", "run": ["tar -xf /src/.x.tar"], "inputs": [".x.tar"], "workdir": "/"}],
        ),
        ("RUN mkdir /a && touch /a/b", [{"name": "mkdir", "run": ["mkdir /a", "touch /a/b"]}]),
        ("RUN make; make install", [{"name": "make", "run": ["set +e", "make; make install"], "network": True}]),
        (
            "ENV A=1\nRUN echo $A $B",
            [{"name": "echo", "run": ["set +u", "echo $A $B"], "env": {"A": "1"}}],
        ),
        ("USER app\nRUN id -u", [{"name": "id", "run": ["su -s /bin/sh app -c 'set -eu\nid -u'"]}]),
        (
            'SHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN echo "a b" | cat',
            [{"name": "echo-cat", "run": ["/bin/bash -o pipefail -c 'echo \"a b\" | cat'"]}],
        ),
        (
            "RUN apt-get update && apt-get install -y a \\\n  b \\\n && echo c",
            [{"name": "echo-c", "run": ["echo c"]}],
        ),
        (
            BASH + "RUN apt-get install -y a && echo b | cat && echo c",
            [{"name": "echo-b", "run": ["/bin/bash -eo pipefail -c 'echo b | cat && echo c'"]}],
        ),
        (
            BASH + "RUN echo $A && \\\n  echo b",
            [{"name": "echo", "run": ["/bin/bash -eo pipefail -c 'echo $A && \\\n  echo b'"]}],
        ),
        (
            'SHELL ["/bin/zsh", "-c"]\nRUN apt-get install -y a',
            [{"name": "apt-get-install", "run": ["/bin/zsh -c 'apt-get install -y a'"], "network": True}],
        ),
        ("RUN <<X\necho a\necho b\nX\n", [{"name": "echo-a", "run": ["set +e", "echo a", "echo b"]}]),
        (
            "RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=K --network=none pip install x",
            [
                {
                    "name": "pip-install",
                    "run": ["pip install x"],
                    "caches": [{"path": "/c", "sharing": "locked"}],
                    "secrets": ["K"],
                }
            ],
        ),
        ('RUN ["a", "b c"]', [{"name": "a", "run": ["a 'b c'"], "network": True}]),
    ],
)
def test_layers(tmp_path: Path, lines: str, layers: list[dict[str, Any]]) -> None:
    assert tree_of(tmp_path, FROM + lines)["layer"] == layers


def test_the_owner_of_an_archives_files_is_not_dropped_in_silence(tmp_path: Path) -> None:
    assert "TODO Dockerfile:2: --chown=3:4 of an archive" in text_of(tmp_path, FROM + "ADD --chown=3:4 x.tar /\n")


@pytest.mark.parametrize("source", ["https://example.com/x/y.git#v1", "git@example.com:x/y.git"])
def test_a_repository_is_no_file(tmp_path: Path, source: str) -> None:
    text = text_of(tmp_path, FROM + f"ADD {source} /src\n")
    assert f"TODO Dockerfile:2: ADD {source}: fetch an archive of that revision" in text and "sha256" not in text


def test_the_search_path_of_an_image_is_not_guessed_in_silence(tmp_path: Path) -> None:
    lines = "ENV PATH=/opt/bin:$PATH\nENV PATH=/more:$PATH\n"
    text = text_of(tmp_path, "FROM golang:1\n" + lines)
    assert "TODO Dockerfile:2: ENV reads the image's own $PATH" in text and "TODO Dockerfile:3" not in text
    assert tomllib.loads(text)["image"]["env"]["PATH"] == f"/more:/opt/bin:{SEARCH}"
    assert "TODO" not in text_of(tmp_path, FROM + lines)


def test_a_script_that_is_no_plain_list_stays_as_it_was_written(tmp_path: Path) -> None:
    script = "if true; then \\\n      apt-get update && apt-get install -y x; \\\n    fi"
    tree = tree_of(tmp_path, FROM + "RUN " + script.replace("fi", "# a comment\n    fi"))
    assert tree["layer"] == [{"name": "apt-get-install", "run": ["set +e", script], "network": True}]
    assert "packages" not in tree


def test_packages_of_another_archive_stay_with_the_script_that_brings_it(tmp_path: Path) -> None:
    lines = "RUN curl https://example.com/setup_20.x | bash && apt-get install -y nodejs\nRUN apt-get install -y yarn\n"
    text = text_of(tmp_path, FROM + lines)
    assert "packages" not in tomllib.loads(text) and len(tomllib.loads(text)["layer"]) == 2
    assert "TODO Dockerfile:2" in text and "[[packages.source]]" in text


def test_stages(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        "FROM debian:12 AS base\nENV A=1\nCMD x\nFROM base AS unused\nRUN false\nFROM base AS build\n"
        "WORKDIR /b\nRUN make\nFROM base\nCOPY --from=build /b/out /app\n"
        "COPY --from=registry.example.com/tool:1 /t /t\nENTRYPOINT y\n",
    )
    assert set(tree["stages"]) == {"build", "registry-example-com-tool-1"}
    build = tree["stages"]["build"]
    assert build["base"] == {"distro": "debian/bookworm", "variant": "apt"}
    assert build["layer"] == [{"name": "make", "run": ["make"], "workdir": "/b", "env": {"A": "1"}, "network": True}]
    assert tree["layer"][0]["copy"] == [{"stage": "build", "from": "/b/out", "to": "/app"}]
    assert tree["stages"]["registry-example-com-tool-1"]["base"] == {"image": "registry.example.com/tool:1"}
    assert "cmd" not in tree["image"]  # an entrypoint resets the cmd of the stage that it continues


def test_a_target_is_the_image(tmp_path: Path) -> None:
    text = "FROM debian:12 AS a\nUSER x\nFROM debian:11 AS b\n"
    assert tree_of(tmp_path, text, "a")["image"] == {"user": "x"}
    with pytest.raises(UsageError, match="no stage `c`"):
        tree_of(tmp_path, text, "c")


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.Dockerfile")))
def test_no_line_is_dropped(tmp_path: Path, name: str) -> None:
    """Each instruction's line stands in the stack: beside a value, above a layer, or in a remark."""
    read = read_dockerfile(HERE / name)
    text = write(translate(read), "app", "stackbuild init")
    tomllib.loads(text)
    said = {int(word) for line in text.splitlines() if f"{name}:" in line for word in _numbers(line, name)}
    used = [stage for stage in read.stages if f"{name}:{stage.start.line}: the stage" not in text]
    wanted = {one.line for stage in used for one in (stage.start, *stage.instructions)}
    assert wanted - said == set()


def _numbers(line: str, name: str) -> list[str]:
    after = line.split(f"{name}:", 1)[1]
    return [
        word for word in after.replace(f"{name}:", " ").replace(",", " ").replace(":", " ").split() if word.isdigit()
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a Dockerfile"),
        ("RUN x\n", "before FROM"),
        ("FROOM x\n", "`FROOM` is not an instruction"),
        ("FROM a b\n", "FROM needs an image"),
        ("FROM a\nRUN\n", "says nothing"),
        ("ARG X=1\n", "no FROM"),
        ("\udcff", "is not text"),
    ],
)
def test_bad_dockerfiles(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "Dockerfile").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StackError) as found:
        translate(read_dockerfile(tmp_path / "Dockerfile"))
    assert what in f"{found.value.what} {found.value.why}"


def test_what_a_dockerignore_leaves_out(tmp_path: Path) -> None:
    lines = ("node_modules", "**/*.log", "/build", "!build/keep", "src/tmp", "src/*.bak")
    assert ignored(lines, ".") == ["/node_modules", "**/*.log", "/build", "!/build/keep", "/src/tmp", "/src/*.bak"]
    assert ignored(lines, "src") == ["**/*.log", "/tmp", "/*.bak"]
    assert ignored(("*", "!src"), "src") == []
    assert ignored(("*", "!src"), "doc") == ["/*"]
    assert ignored(("*", "!src"), ".") == ["/*", "!/src"]
    tree = tree_of(tmp_path, FROM + "COPY src/ /s/\n", ignore="# no\nsrc/tmp\n")
    assert tree["layer"][0]["copy"] == [{"from": "src/", "to": "/s/", "exclude": ["/tmp"]}]


def test_words() -> None:
    assert expand("$A ${B} ${C:-d} ${A:+e} \\$A ${D}", {"A": "1", "B": "2"}) == "1 2 d e $A "
    assert unquote('\'a b\'c"d \\" e"\\ f') == 'a bcd " e f'
    assert full_name("a/b:1") == "docker.io/a/b:1"
    assert full_name("localhost:5000/a") == "localhost:5000/a"
    plain = take_apart("apt-get update && apt-get -y install a b && echo 'c && d'", packages=True)
    assert (plain.requests, plain.lines) == (("a", "b"), ("echo 'c && d'",))
    for path in ("./a.deb", "debs/a.deb", "/tmp/a.deb"):  # in the image, not in the project
        assert take_apart(f"apt-get install -y {path}", packages=True).lines == (f"apt-get install -y {path}",)
    assert take_apart("apt-get install -y $X && echo", packages=True).lines == ("apt-get install -y $X && echo",)


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    blocks = (REPOSITORY / "docs/howto/from-a-dockerfile.md").read_text().split("```")
    dockerfile, toml = blocks[1].removeprefix("dockerfile\n"), blocks[3].removeprefix("toml\n")
    assert text_of(tmp_path, dockerfile).replace('"app"', '"hello"') == toml
