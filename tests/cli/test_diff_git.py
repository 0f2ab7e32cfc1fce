"""`cbalign diff` and git: specs of revisions, and the driver for `git diff`."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cbalign.cli import main

BASE = "cbalign: 1\nname: base\ndata: {train: {source: json, files: [../data/pairs.json]}}\ntrain: {batch_size: 32}\n"


def git(*arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True).stdout


def cbalign(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A spec and its base, committed; then both changed."""
    (tmp_path / "outside.yaml").write_text(BASE)
    tmp_path = tmp_path / "repository"
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", ".")
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "base.yaml").write_text(BASE)
    (folder / "a.yaml").write_text("extends: base.yaml\nname: a\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    (folder / "base.yaml").write_text(BASE.replace("32", "64"))
    (folder / "a.yaml").write_text("extends: base\nname: a\nmodel: {codebook: {size: 100}}\n")
    return tmp_path


def test_a_revision_is_read_with_its_own_bases_and_the_paths_of_the_working_tree(repository):
    told = json.loads(cbalign("diff", "HEAD:specs/a.yaml", "specs/a.yaml", "--json").stdout)
    found = {each["path"]: each for each in told["differences"]}
    assert set(found) == {"model.codebook.size", "train.batch_size"}
    assert found["train.batch_size"]["values"] == [32, 64]
    assert found["train.batch_size"]["origins"] == ["HEAD:specs/base.yaml:4", "specs/base.yaml:4"]
    assert [operand["kind"] for operand in told["operands"]] == ["revision", "spec"]


def test_paths_in_a_revision_are_from_the_root_or_with_a_dot_from_here(repository, monkeypatch):
    monkeypatch.chdir(repository / "specs")
    assert cbalign("diff", "HEAD:specs/a.yaml", "HEAD:./a").exit_code == 0


def test_an_empty_revision_is_the_index(repository):
    assert cbalign("diff", ":specs/a.yaml", "HEAD:specs/a.yaml").exit_code == 0
    git("add", ".")
    assert cbalign("diff", ":specs/a.yaml", "specs/a.yaml").exit_code == 0
    assert cbalign("diff", ":specs/a.yaml", "HEAD:specs/a.yaml").exit_code == 1


def test_a_revision_is_shown_like_any_spec(repository):
    assert "batch_size: 32" in cbalign("show", "HEAD:specs/a.yaml").stdout


@pytest.mark.parametrize(
    ("operand", "said"),
    [
        ("nowhere:specs/a.yaml", "git has no revision `nowhere`"),
        ("--output=x:specs/a.yaml", "No such option"),
        ("HAED:specs/a.yaml", "Did you mean `HEAD`?"),
        ("HEAD:specs/b.yaml", "revision HEAD has no file specs/b.yaml. Did you mean `specs/a.yaml`?"),
        ("HEAD:a.yaml", "revision HEAD has no file a.yaml"),
        ("HEAD:specs", "specs is a folder in revision HEAD"),
        ("HEAD:", "names no file"),
        ("HEAD:../outside.yaml", "is outside the working tree"),
        ("HEAD:quickstart", "revision HEAD has no file quickstart"),
        ("HEAD:specs/lost.yaml", "HEAD:specs/lost.yaml:1:10: no file `gone.yaml` next to HEAD:specs/lost.yaml"),
        ("HEAD:specs/typo.yaml", "did you mean `base.yaml`?"),
    ],
)
def test_what_is_not_in_a_revision_exits_with_2_and_says_why(repository, operand, said):
    Path("specs/lost.yaml").write_text("extends: gone.yaml\n")
    Path("specs/typo.yaml").write_text("extends: bass.yaml\n")
    git("add", "specs/lost.yaml", "specs/typo.yaml")
    git("commit", "--quiet", "--message", "two")
    Path("specs/gone.yaml").write_text(BASE)  # here, but not in the revision
    result = cbalign("diff", operand, "specs/a.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())


def test_the_hint_of_a_path_from_here_is_the_one_with_a_dot(repository, monkeypatch):
    monkeypatch.chdir(repository / "specs")
    assert "begins with a dot: HEAD:./a.yaml" in cbalign("diff", "HEAD:a.yaml", "a.yaml").stderr


def test_outside_of_a_repository_there_are_no_revisions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cbalign("diff", "HEAD:a.yaml", "defaults")
    assert result.exit_code == 2
    assert "is neither a file nor a git revision: not a git repository" in result.stderr


def test_the_driver_installs_once_and_says_what_is_left_to_do(repository):
    first = cbalign("diff", "--install-git-driver")
    assert first.exit_code == 0
    assert first.stdout.startswith("set: git config diff.cbalign.command")
    assert "diff=cbalign" in first.stdout
    Path(".gitattributes").write_text("specs/*.yaml diff=cbalign\n")
    again = cbalign("diff", "--install-git-driver").stdout
    assert again.startswith("already set")
    assert "already contains diff=cbalign" in again
    assert git("config", "--get-all", "diff.cbalign.command").count("\n") == 1


def test_git_diff_tells_what_the_change_of_a_spec_does(repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    cbalign("diff", "--install-git-driver")
    Path(".gitattributes").write_text("specs/*.yaml diff=cbalign\n")
    Path("specs/new.yaml").write_text("extends: a.yaml\n")
    git("add", "--intent-to-add", "specs/new.yaml")
    told = git("diff")
    assert "model.codebook.size  4000 → 100" in told
    assert "default → b/specs/a.yaml:3" in told
    assert "b/specs/base.yaml:4" in told, "a base that is a whole spec is compared like any"
    assert "+extends: a.yaml" in told


def test_git_diff_shows_a_file_that_is_no_whole_spec_line_by_line(repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    cbalign("diff", "--install-git-driver")
    Path(".gitattributes").write_text("specs/*.yaml diff=cbalign\n")
    Path("specs/base.yaml").write_text("train: {batch_size: 64}\n")
    told = git("diff", "--", "specs/base.yaml")
    assert "not a complete spec" in told
    assert "+train: {batch_size: 64}" in told


def test_only_git_calls_the_driver(repository):
    assert cbalign("diff", "--git-driver", "a", "b").exit_code == 2
    assert cbalign("diff", "--install-git-driver", "specs/a.yaml").exit_code == 2


def test_a_driver_needs_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cbalign("diff", "--install-git-driver").exit_code == 2
