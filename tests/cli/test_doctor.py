"""The doctor, on this machine as it is and with real files that break it."""

import json
import os
import subprocess
import sys

import pytest

import cbalign


@pytest.fixture
def doctor(tmp_path):
    """Run it with packages of our making before all others."""

    def doctor(*arguments, files=None):
        for name, content in (files or {}).items():
            path = tmp_path / "first" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        path = os.pathsep.join([str(tmp_path / "first"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "cbalign", "doctor", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})

    return doctor


def installed(name, version):
    return {f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}


def test_it_tells_of_python_packages_extras_providers_torch_and_disk(doctor):
    done = doctor("--json")
    document = json.loads(done.stdout)
    found = {check["name"]: check for check in document["checks"]}
    assert done.returncode == (0 if document["healthy"] else 1)
    assert {"python", "packages", "extra train", "gpu", "onnxruntime", "torch", "disk"} <= set(found)
    assert "CPU" in found["onnxruntime"]["found"]
    assert all(check["remedy"] for check in found.values() if check["state"] == "problem")


@pytest.mark.parametrize("driver", [None, "NVIDIA H200, 143771, 570.1"])
def test_cuda_is_recommended_only_where_a_gpu_could_use_it(doctor, tmp_path, monkeypatch, driver):
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 9\n" if driver is None else f"#!/bin/sh\necho '{driver}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    found = {check["name"]: check for check in json.loads(doctor("--json").stdout)["checks"]}
    if driver is not None:
        assert found["gpu"]["found"].startswith("NVIDIA H200, 143771 MiB, driver 570.1")
    if found["extra gpu"]["state"] == "absent":
        assert bool(found["extra gpu"]["remedy"]) == (driver is not None)


def test_two_onnxruntimes_are_a_problem_with_a_remedy(doctor):
    done = doctor(files={**installed("onnxruntime", "1.20.0"), **installed("onnxruntime-gpu", "1.31.0")})
    assert done.returncode == 1
    assert "both installed and overwrite each other" in done.stdout
    assert "to repair onnxruntime: pip uninstall -y onnxruntime onnxruntime-gpu && pip install" in done.stdout


def test_a_package_outside_its_range_is_a_problem(doctor):
    done = doctor(files=installed("click", "7.1"))
    assert done.returncode == 1
    assert "click 7.1 is not <9,>=8.2" in done.stdout


def test_metadata_of_another_version_are_a_problem_with_a_remedy(doctor):
    done = doctor("--json", files=installed("cbalign", "0.0.1"))
    (check,) = (each for each in json.loads(done.stdout)["checks"] if each["name"] == "cbalign")
    assert (done.returncode, check["state"]) == (1, "problem")
    assert check["found"].startswith(f"{cbalign.__version__}, ")
    assert check["found"].endswith("but installed as 0.0.1")
    assert "pip install -e ." in check["remedy"]


def test_a_broken_torch_is_a_problem_and_not_a_traceback(doctor):
    done = doctor(files={"torch/__init__.py": "raise ImportError('libtorch_cpu.so: cannot open')\n"})
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "libtorch_cpu.so: cannot open" in done.stdout
