"""onnxruntime's telemetry is off, unless the user turned it on: nothing of it is written to an empty home."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"


@pytest.fixture
def run(tmp_path):
    """Run Python in an empty home; return the process and the files that it left there."""

    def run(*words, telemetry=None):
        home = tmp_path / "home"
        home.mkdir()
        inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
        own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        chosen = {} if telemetry is None else {VARIABLE: telemetry}
        command = [sys.executable, *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**inherited, **own, **chosen})
        return done, sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())

    return run


@pytest.mark.parametrize(
    "words",
    [("-m", "cbalign", "doctor"), ("-c", "import cbalign.runtime.session"), ("-c", "import cbalign, onnxruntime")],
    ids=lambda words: words[-1],
)
def test_a_command_or_import_that_loads_onnxruntime_writes_nothing_to_an_empty_home(run, words):
    done, files = run(*words)
    assert "Traceback" not in done.stderr
    assert files == []


def test_the_variable_of_the_user_is_kept(run):
    done, _ = run("-c", f"import os, cbalign; print(os.environ['{VARIABLE}'])", telemetry="0")
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize(("value", "state"), [(None, "ok"), ("true", "ok"), ("0", "problem")])
def test_the_doctor_shows_whether_usage_data_are_sent(run, value, state):
    done, _ = run("-m", "cbalign", "doctor", "--json", telemetry=value)
    (check,) = (each for each in json.loads(done.stdout)["checks"] if each["name"] == "telemetry")
    assert check["state"] == state
    assert bool(check["remedy"]) == (state == "problem")


def test_every_generated_command_that_starts_an_onnxruntime_turns_its_telemetry_off():
    source = Path(__file__).parents[2] / "cbalign"
    starters = ("tritonserver --", "FROM python")
    files = [path for path in source.rglob("*.py") if any(word in path.read_text() for word in starters)]
    assert files
    assert [path.name for path in files if f"{VARIABLE}=1" not in path.read_text()] == []
