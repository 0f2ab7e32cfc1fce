"""TensorRT as far as it goes without a GPU: its libraries, and the options that reach onnxruntime."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest

from cbalign.errors import DeviceError, StorageError
from cbalign.runtime import loaded_graph, placement, session, tensorrt
from cbalign.runtime.placement import TENSORRT, Device, find_device
from cbalign.runtime.session import Session
from cbalign.runtime.tensorrt import EngineOptions, size_ranges
from cbalign.tasks.vqa.runtime import SIGNATURES as VQA

from .conftest import write_bundle, write_manifest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of libraries on Linux")

Options = dict[str, dict[str, str]]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of libraries of `tensorrt-cu13-libs`, which is empty."""
    folder = tmp_path / "site-packages" / "tensorrt_libs"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    found = {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr(tensorrt, "installed", lambda names: {name: found[name] for name in names if name in found})
    monkeypatch.setattr(placement, "_nvidia_gpus", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, placement.CUDA, placement.CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)


def test_libraries_are_loaded_from_where_pip_puts_them(packages: Path) -> None:
    real = next(Path("/").glob(f"lib*/**/{ctypes.util.find_library('m')}"))  # any library
    for name in ("libnvinfer.so.10", "libnvonnxparser.so.10"):
        shutil.copy(real, packages / name)
    code = (
        "from cbalign.runtime.tensorrt import load_libraries; assert load_libraries() is None\n"
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'tensorrt_libs' in line})"
    )
    environment = {"PYTHONPATH": f"{packages.parent}:{Path(placement.__file__).parents[2]}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert sorted(Path(path).name for path in done.stdout.split()) == ["libnvinfer.so.10", "libnvonnxparser.so.10"]


def test_missing_libraries_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(DeviceError, match=r"TensorRT 10 does not load \(libnvinfer.so.10") as caught:
        find_device("tensorrt")
    assert "pip install 'cbalign[tensorrt]'" in (caught.value.remedy or "")


def test_a_later_tensorrt_is_named(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packages / "libnvinfer.so.11").touch()
    pretend(monkeypatch, tensorrt_cu13_libs="11.4.0.106")
    with pytest.raises(DeviceError, match=r"needs TensorRT 10 .*tensorrt-cu13-libs 11.4.0.106 is installed"):
        find_device("tensorrt")


def test_a_damaged_library_is_named(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packages / "libnvinfer.so.10").write_bytes(b"damaged")
    pretend(monkeypatch, tensorrt_cu13_libs="10.16.1.11")
    with pytest.raises(DeviceError, match=r"tensorrt_libs/libnvinfer\.so\.10"):
        find_device("tensorrt")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Options]:
    """Options of each provider by graph, as they reach onnxruntime, which runs the graphs on the CPU instead."""
    seen: dict[str, Options] = {}
    real = onnxruntime.InferenceSession

    def create(path: str, options: onnxruntime.SessionOptions, providers: list[object]) -> onnxruntime.InferenceSession:
        seen[Path(path).stem] = {each[0]: each[1] for each in providers if isinstance(each, tuple)}
        return real(path, options, providers=["CPUExecutionProvider"])

    class Fake:
        SessionOptions = onnxruntime.SessionOptions
        InferenceSession = staticmethod(create)

    monkeypatch.setattr(loaded_graph, "onnxruntime", Fake)
    monkeypatch.setattr(loaded_graph, "check_placement", lambda *_: None)
    monkeypatch.setattr(session, "find_device", lambda *_: Device("tensorrt"))
    return seen


def test_sizes_and_engines_of_a_bundle_reach_onnxruntime(
    bundle: Path, opened: dict[str, Options], tmp_path: Path
) -> None:
    cache = tmp_path / "engines"
    Session.open(bundle, "tensorrt", batch_size=32, engines=EngineOptions(cache, usual_batch=4, usual_length=6))
    options = {graph: found[TENSORRT] for graph, found in opened.items()}
    assert options["image"]["trt_profile_min_shapes"] == "pixels:1x4x4x3"
    assert options["image"]["trt_profile_opt_shapes"] == "pixels:4x4x4x3"
    assert options["image"]["trt_profile_max_shapes"] == "pixels:32x4x4x3"
    assert options["text"]["trt_profile_opt_shapes"] == "input_ids:4x6,attention_mask:4x6"
    assert options["text"]["trt_profile_max_shapes"] == "input_ids:32x8,attention_mask:32x8"
    assert options["match"]["trt_profile_max_shapes"] == (
        "image_tokens:32x16x3,text_tokens:32x8x3,attention_mask:32x8,image_index:32"
    )
    folders = {found["trt_engine_cache_path"] for found in options.values()}
    assert len(folders) == 4  # a folder for each graph
    assert all(Path(folder).parent == cache and Path(folder).is_dir() for folder in folders)
    for found in options.values():
        assert (found["trt_engine_cache_enable"], found["device_id"]) == ("1", "0")
        assert "trt_fp16_enable" not in found


def test_engines_of_other_weights_or_sizes_are_not_used(
    bundle: Path, opened: dict[str, Options], tmp_path: Path
) -> None:
    def folder(batch_size: int = 32) -> str:
        Session.open(bundle, "tensorrt", batch_size=batch_size, engines=EngineOptions(tmp_path / "engines"))
        return opened["image"][TENSORRT]["trt_engine_cache_path"]

    first = folder()
    assert folder() == first
    assert folder(16) != first
    other = tmp_path / "other"
    write_bundle(other)
    model = onnx.load(other / "fp32" / "image.onnx")
    model.doc_string = "other weights"  # the structure, by which onnxruntime names engines, is the same
    onnx.save(model, other / "fp32" / "image.onnx")
    write_manifest(other)
    Session.open(other, "tensorrt", batch_size=32, engines=EngineOptions(tmp_path / "engines"))
    assert opened["image"][TENSORRT]["trt_engine_cache_path"] != first


def test_engines_are_kept_in_the_users_cache(
    bundle: Path, opened: dict[str, Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBALIGN_CACHE", str(tmp_path / "caches"))
    Session.open(bundle, "tensorrt")
    assert Path(opened["text"][TENSORRT]["trt_engine_cache_path"]).parent == tmp_path / "caches" / "tensorrt"
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be created"):
        Session.open(bundle, "tensorrt", engines=EngineOptions(tmp_path / "file"))


def test_other_devices_have_no_engines(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBALIGN_CACHE", str(tmp_path / "caches"))
    Session.open(bundle, "cpu")
    assert not (tmp_path / "caches").exists()
    assert "trt" not in str(Device("cuda").providers())


def test_graphs_with_sizes_that_are_not_known_get_no_ranges() -> None:
    ports = VQA["answer"].inputs
    shapes = {port.name: [4] * len(port.shape) for port in ports}
    assert size_ranges(ports, shapes, {"batch": 4, "length": 8}, {"batch": 2, "length": 4}) == {}
