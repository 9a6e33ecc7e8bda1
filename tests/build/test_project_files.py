"""What `from` and `inputs` name: paths, patterns, what is left out, and digests that are read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackbuild.build import project_files
from stackbuild.build.project_files import ProjectFiles, Source, states
from stackbuild.core.errors import UsageError
from tests.build.own import ORIGIN, write

FILES = {
    "package.json": "{}",
    "package-lock.json": "{}",
    "site/index.html": "hello",
    "site/css/a.css": "a",
    "site/css/a.tmp": "t",
    "site/.git/HEAD": "ref",
    "site/latest": "-> css",
    "site/build/out.js": "o",
    "site/build/keep.js": "k",
    ".git/config": "c",
    "pages/[id].js": "i",
    "pages/i.js": "no",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", FILES)


def paths(sources: tuple[Source, ...]) -> dict[str, list[str]]:
    return {source.name: [item.path for item in source.items] for source in sources}


def test_a_folder_is_all_in_it_sorted_without_git(project: Path) -> None:
    (source,) = ProjectFiles(project).select("site/")
    assert [(item.path, item.kind) for item in source.items] == [
        ("", "dir"), ("build", "dir"), ("build/keep.js", "file"), ("build/out.js", "file"), ("css", "dir"),
        ("css/a.css", "file"), ("css/a.tmp", "file"), ("index.html", "file"), ("latest", "link"),
    ]  # fmt: skip
    assert source.items[-1].target == "css"


def test_the_project_itself_can_be_named(project: Path) -> None:
    (source,) = ProjectFiles(project).select(".")
    names = {item.name for item in source.items}
    assert "package.json" in names and not any(".git" in name.split("/") for name in names)


def test_git_is_copied_when_it_is_named(project: Path) -> None:
    assert paths(ProjectFiles(project).select(".git")) == {".git": ["", "config"]}


def test_a_pattern_never_crosses_a_slash(project: Path) -> None:
    files = ProjectFiles(project)
    assert list(paths(files.select("package*.json"))) == ["package-lock.json", "package.json"]
    assert list(paths(files.select("s*/css/a.c?[s]"))) == ["a.css"]
    with pytest.raises(UsageError, match=r"no file of the project matches `\*.css`"):
        files.select("*.css")


def test_a_name_that_looks_like_a_pattern_is_a_name_if_there_is_such_a_file(project: Path) -> None:
    assert list(paths(ProjectFiles(project).select("pages/[id].js"))) == ["[id].js"]


def test_exclude_and_ignore_mean_what_they_mean_to_git(project: Path) -> None:
    write(project, {"site/.ignore": "/build/*\n!keep.js\n# c\n"})
    (source,) = ProjectFiles(project).select("site", exclude=["*.tmp"], ignore="site/.ignore")
    assert [item.path for item in source.items if item.kind == "file"] == [
        ".ignore", "build/keep.js", "css/a.css", "index.html",
    ]  # fmt: skip


def test_a_file_in_an_ignored_folder_stays_out_as_for_git(project: Path) -> None:
    write(project, {".gitignore": "build/\n!build/keep.js\n"})
    (source,) = ProjectFiles(project).select("site", ignore=".gitignore")
    assert not any(item.path.startswith("build") for item in source.items)


def test_all_of_it_left_out_is_an_error(project: Path) -> None:
    with pytest.raises(UsageError) as error:
        ProjectFiles(project).select("package.json", exclude=["*.json"], where=ORIGIN)
    assert str(error.value) == (
        "stack.toml:7: layer.site.copy: `package.json` leaves nothing to copy: all of it is excluded, ignored or `.git`"
    )


def test_a_missing_source_is_an_error_with_its_line_and_near_names(project: Path) -> None:
    with pytest.raises(UsageError) as error:
        ProjectFiles(project).select("site/indx.html", where=ORIGIN)
    assert str(error.value).startswith("stack.toml:7: layer.site.copy: there is no `site/indx.html` in the project")
    assert error.value.hints[0].text == "did you mean `site/index.html`?"
    with pytest.raises(UsageError) as error:
        ProjectFiles(project).select("sit/css", where=ORIGIN)
    assert error.value.hints[0].text == "did you mean `site`?"


def test_states_name_each_entry_as_the_user_does(project: Path) -> None:
    (project / "site/index.html").chmod(0o700)
    found = states(ProjectFiles(project).select("site"))
    assert found["site/index.html"].endswith(" executable") and found["site/index.html"].startswith("sha256:2cf24d")
    assert found["site/latest"] == "link to css" and found["site/css"] == "folder"


def test_times_and_umask_of_a_checkout_play_no_part(project: Path) -> None:
    before = states(ProjectFiles(project).select("."))
    for path in project.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
            path.chmod(0o600 if path.is_file() else 0o700)
    assert states(ProjectFiles(project).select(".")) == before


def test_a_file_that_did_not_change_is_read_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_files, "_SETTLED_NS", -1)
    first = states(ProjectFiles(project, tmp_path / "cache").select("."))
    read: list[object] = []
    real = os.open

    def noted(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        read.append(path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", noted)
    assert states(ProjectFiles(project, tmp_path / "cache").select(".")) == first
    assert not [path for path in read if Path(str(path)).is_relative_to(project)]
    status = (project / "package.json").stat()
    (project / "package.json").write_text("[]")  # same size
    os.utime(project / "package.json", ns=(status.st_atime_ns, status.st_mtime_ns))  # and the same time
    changed = states(ProjectFiles(project, tmp_path / "cache").select("."))
    assert {name for name in first if changed[name] != first[name]} == {"package.json"}


def test_a_file_just_written_is_not_trusted_by_its_times(project: Path, tmp_path: Path) -> None:
    ProjectFiles(project, tmp_path / "cache").select(".")
    assert not (tmp_path / "cache").exists()


def test_a_broken_cache_is_no_trouble(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_files, "_SETTLED_NS", -1)
    first = states(ProjectFiles(project, tmp_path / "cache").select("."))
    (kept,) = (tmp_path / "cache").iterdir()
    for content in ("", "[1]", '{"package.json": 3}', "\0"):
        kept.write_text(content)
        assert states(ProjectFiles(project, tmp_path / "cache").select(".")) == first


def test_all_that_was_looked_at_is_known(project: Path) -> None:
    files = ProjectFiles(project)
    files.select("site", ignore="package.json")
    seen = {str(path.relative_to(files.root)) for path in files.looked_at}
    assert {"site", "site/css", "site/css/a.css", "site/latest", "package.json"} <= seen


def test_what_an_editor_takes_away_while_we_look_was_never_there(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(place: Path) -> list[os.DirEntry[str]]:
        found = list(real(place))
        for name in ("a.tmp", "keep.js", "latest"):
            (Path(place) / name).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "scandir", scandir)
    (source,) = ProjectFiles(project).select("site")
    assert {"css/a.css", "build/out.js"} <= {item.path for item in source.items}
    assert not {"css/a.tmp", "build/keep.js", "latest"} & {item.path for item in source.items}
    files = ProjectFiles(project)
    monkeypatch.setattr(files, "_digest", lambda place, status: os.stat(project / "nothing"))
    with pytest.raises(UsageError, match=r"`package.json` cannot be read: No such file"):
        files.select("package.json")
