"""`init --ci`: the pipelines that are written are YAML of the right form, and their lines do what they say."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Stackbuild
from tests.machine import need_root, run
from tests.peers.registry import registry as registry
from tests.projects import write_tiny


def written(stackbuild: Stackbuild, system: str, file: str) -> Any:
    said = stackbuild("init", "--ci", system)
    assert f"{file} is written" in said.err
    text = (stackbuild.folder / file).read_text()
    again = stackbuild("init", "--ci", system, code=2)
    assert "is there already" in again.err and (stackbuild.folder / file).read_text() == text
    assert "[[" not in text
    return yaml.safe_load(text)


def project(here: Stackbuild, host: str) -> None:
    need_root()
    write_tiny(here.folder)
    file = here.folder / "stack.toml"
    file.write_text(
        f'{file.read_text()}\n[push]\nto = ["{host}/team/tiny:1"]\n[registries."{host}"]\ninsecure = true\n'
    )
    here("lock")


def lines(here: Stackbuild, script: str, **environ: str) -> str:
    """Run lines of a job as a runner does, with `stackbuild` in the PATH; what they wrote to stderr."""
    tools = here.folder.parent / "tools"
    if not tools.exists():
        tools.mkdir()
        (tools / "stackbuild").write_text("#!/bin/sh\nexec " + " ".join(here.argv) + ' "$@"\n')
        (tools / "stackbuild").chmod(0o755)
    words = here.environment()
    environ = {**words, "PATH": f"{tools}:{words['PATH']}", **environ}
    return run(["bash", "-e", "-c", script], env=environ, cwd=here.folder, timeout=200).err


def test_gitlab_checks_reads_the_cache_and_pushes(stackbuild: Stackbuild, registry: str) -> None:
    project(stackbuild, registry)
    tree = written(stackbuild, "gitlab", ".gitlab-ci.yml")
    assert tree["stages"] == ["check", "image"] and tree[".stackbuild"]["image"] == "debian:bookworm"
    jobs = {name: one for name, one in tree.items() if isinstance(one, dict) and "script" in one}
    assert set(jobs) == {"check", "build", "push"}
    for one in jobs.values():
        assert one["extends"] == ".stackbuild" and one["stage"] in tree["stages"]
        assert all(isinstance(line, str) for line in one["script"])
    assert all(isinstance(line, str) for line in tree[".stackbuild"]["before_script"])
    assert "merge_request" in jobs["build"]["rules"][0]["if"] and "DEFAULT" in jobs["push"]["rules"][0]["if"]
    secret = {"CI_REGISTRY": registry, "CI_REGISTRY_USER": "u", "CI_REGISTRY_PASSWORD": "a:b'\"c"}
    given = {**secret, "CI_PROJECT_DIR": str(stackbuild.folder), "CI_REGISTRY_IMAGE": f"{registry}/team/one"}
    given |= {"CI_COMMIT_SHORT_SHA": "abc1234"}
    variables = "\n".join(f'export {name}="{value}"' for name, value in tree["variables"].items())
    login = [line for line in tree[".stackbuild"]["before_script"] if "apt-get" not in line and "/opt/" not in line]

    def job(name: str) -> str:
        return lines(stackbuild, "\n".join([variables, *login, *jobs[name]["script"]]), **given)

    job("check")
    job("push")
    auth = json.loads((stackbuild.folder / ".registry-auth.json").read_text())["auths"][registry]["auth"]
    assert base64.b64decode(auth) == b"u:a:b'\"c"
    assert (stackbuild.folder / ".registry-auth.json").stat().st_mode & 0o77 == 0
    digest = json.loads((stackbuild.folder / "image.json").read_text())["containerimage.digest"]
    for tag in ("abc1234", "latest"):
        found = run(
            [
                "curl",
                "-fsSI",
                "-H",
                "Accept: application/vnd.oci.image.manifest.v1+json",
                f"http://{registry}/v2/team/one/manifests/{tag}",
            ]
        ).out
        assert digest in found
    shutil.rmtree(stackbuild.folder / ".stackbuild")
    assert "never built" not in job("build"), "a clean runner takes all from the cache"


def test_github_checks_reads_the_cache_and_pushes(stackbuild: Stackbuild, registry: str, tmp_path: Path) -> None:
    project(stackbuild, registry)
    tree = written(stackbuild, "github", ".github/workflows/image.yml")
    assert set(tree) == {"name", True, "permissions", "env", "jobs"}  # YAML 1.1 reads `on` as true
    assert tree[True]["push"] == {"branches": ["main"]} and "pull_request" in tree[True]
    assert tree["env"]["IMAGE"] == f"{registry}/team/tiny" and tree["permissions"] == {"contents": "read"}
    job = tree["jobs"]["image"]
    steps = {step.get("name", step.get("uses")): step for step in job["steps"]}
    assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    for step in job["steps"]:
        assert set(step) <= {"name", "run", "uses", "if", "env", "with"}
        assert "${{" not in step.get("run", ""), "an expression in a script is an injection"
    assert "secrets." not in str([steps["Build"], tree["env"]]) and "--cache-to" not in steps["Build"]["run"]
    login = tmp_path / "login.json"
    given = {**tree["env"], "REGISTRY_USER": "u", "REGISTRY_PASSWORD": "p", "GITHUB_SHA": "f" * 40}
    given |= {"REGISTRY_AUTH_FILE": str(login)}
    lines(stackbuild, steps["Check the stack and its lock"]["run"], **given)
    lines(stackbuild, steps["Build and push"]["run"], **given)
    assert json.loads(login.read_text())["auths"][registry]
    clean = stackbuild.at(store=tmp_path / "clean")
    assert "never built" not in lines(clean, steps["Build"]["run"], **tree["env"])
    shutil.rmtree(stackbuild.folder / ".github")
    named = stackbuild("init", "--ci", "github", "--set", "push.to=[]")
    assert "is written" in named.err
    text = (stackbuild.folder / ".github/workflows/image.yml").read_text()
    assert re.search(r'IMAGE: "registry\.example\.com/team/tiny"', text)


@pytest.mark.parametrize(("words", "says"), [(("redis",), "writes the pipeline alone"), ((), "stack.toml")])
def test_a_pipeline_needs_a_stack(stackbuild: Stackbuild, words: tuple[str, ...], says: str) -> None:
    assert says in stackbuild("init", *words, "--ci", "gitlab", code=2).err
    assert list(stackbuild.folder.iterdir()) == []
