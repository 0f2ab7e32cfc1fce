"""`cbalign export BUNDLE --triton DIR`: what Triton would read, read by protobuf with the messages that it defines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from cbalign.cli import main
from cbalign.exporting.triton import model_config as triton_config
from cbalign.tasks.align.runtime import SIGNATURES
from tests.runtime.conftest import GRAPHS, write_manifest

# The messages of Triton's model_config.proto that a configuration like ours can use: field, type, and `*` for repeated.
_MESSAGES = {
    "Reshape": "shape int64*",
    "Input": "name string, data_type .DataType, dims int64*, reshape .Reshape, optional bool",
    "Output": "name string, data_type .DataType, dims int64*, reshape .Reshape, label_filename string",
    "QueuePolicy": "default_timeout_microseconds uint64, allow_timeout_override bool, max_queue_size uint32",
    "DynamicBatching": "preferred_batch_size int32*, max_queue_delay_microseconds uint64, preserve_ordering bool, "
    "default_queue_policy .QueuePolicy",
    "InstanceGroup": "name string, kind .Kind, count int32, gpus int32*",
    "AcceleratorParameter": "key string, value string",
    "Accelerator": "name string, parameters .AcceleratorParameter*",
    "Accelerators": "gpu_execution_accelerator .Accelerator*, cpu_execution_accelerator .Accelerator*",
    "Optimization": "execution_accelerators .Accelerators",
    "ParameterValue": "string_value string",
    "Parameter": "key string, value .ParameterValue",
    "ModelConfig": "name string, platform string, backend string, max_batch_size int32, input .Input*, "
    "output .Output*, optimization .Optimization, dynamic_batching .DynamicBatching, "
    "instance_group .InstanceGroup*, default_model_filename string, parameters .Parameter*",
}
_ENUMS = {
    "DataType": ("TYPE_INVALID", "TYPE_UINT8", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32"),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}
_TYPES = {"string": 9, "int64": 3, "int32": 5, "uint64": 4, "uint32": 13, "bool": 8}


def model_config() -> type[message.Message]:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="triton", syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for number, (field, kind) in enumerate((entry.split() for entry in fields.split(",")), 1):
            added = described.field.add(name=field, number=number, label=3 if kind.endswith("*") else 1)
            kind = kind.removesuffix("*")
            if kind.startswith("."):
                added.type = 14 if kind[1:] in _ENUMS else 11
                added.type_name = f".triton{kind}"
            else:
                added.type = _TYPES[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))


def export(*words: object) -> Result:
    result = CliRunner().invoke(main, ["export", *map(str, words)])
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def configs(bundle: Path, tmp_path: Path) -> dict[str, message.Message]:
    result = export(bundle, "--triton", tmp_path / "models")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "models")
    parsed = model_config()
    return {
        graph: text_format.Parse((tmp_path / "models" / f"by-hand_{graph}" / "config.pbtxt").read_text(), parsed())
        for graph in GRAPHS
    }


def shapes(tensors: object) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in tensors}  # type: ignore[attr-defined]


def test_inputs_and_outputs_are_those_of_the_graphs(configs: dict) -> None:
    assert {graph: shapes(config.input) for graph, config in configs.items()} == {
        "image": {"pixels": [4, 4, 3]},
        "text": {"input_ids": [-1], "attention_mask": [-1]},
        "codebook": {"embedding": [3]},
        "match": {
            "image_tokens": [-1, 16, 3],
            "text_tokens": [-1, -1, 3],
            "attention_mask": [-1, -1],
            "image_index": [-1],
        },
    }
    assert {graph: shapes(config.output) for graph, config in configs.items()} == {
        "image": {"tokens": [16, 3], "embedding": [3]},
        "text": {"tokens": [-1, 3], "embedding": [3]},
        "codebook": {"probabilities": [3], "code": [1], "prototype": [3]},
        "match": {"score": [-1]},
    }
    types = {t.name: _ENUMS["DataType"][t.data_type] for c in configs.values() for t in (*c.input, *c.output)}
    assert types["pixels"] == "TYPE_UINT8"
    assert {types[name] for name in ("input_ids", "attention_mask", "image_index", "code")} == {"TYPE_INT64"}
    assert {types[name] for name in ("embedding", "tokens", "score")} == {"TYPE_FP32"}
    (code,) = (output for output in configs["codebook"].output if output.name == "code")
    assert code.HasField("reshape")  # (batch,) in the graph, (batch, 1) for clients
    assert list(code.reshape.shape) == []


def test_every_graph_is_batched_but_the_one_whose_indices_count_within_a_request(configs: dict) -> None:
    for graph, config in configs.items():
        assert config.HasField("dynamic_batching") == (graph != "match")
        assert (config.max_batch_size > 1) == (graph != "match")
    batching = configs["image"].dynamic_batching
    assert max(batching.preferred_batch_size) <= configs["image"].max_batch_size
    assert batching.max_queue_delay_microseconds > 0


def test_tensorrt_accelerates_with_cached_engines_and_sizes_for_every_input(configs: dict) -> None:
    for config in configs.values():
        assert config.backend == "onnxruntime"
        (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert accelerator.name == "tensorrt"
        options = {parameter.key: parameter.value for parameter in accelerator.parameters}
        assert (options["precision_mode"], options["trt_engine_cache_enable"]) == ("FP32", "1")
        for bound in ("min", "opt", "max"):
            profile = dict(part.split(":") for part in options[f"trt_profile_{bound}_shapes"].split(","))
            assert list(profile) == [tensor.name for tensor in config.input]
            for tensor in config.input:
                sizes = [int(size) for size in profile[tensor.name].split("x")]
                fixed = [*([-1] if config.max_batch_size else []), *tensor.dims]
                assert len(sizes) == len(fixed)
                assert all(want in (-1, size) for want, size in zip(fixed, sizes))


def test_other_weights_have_other_engines(bundle: Path, configs: dict, tmp_path: Path) -> None:
    def engines(config: message.Message) -> str:
        (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator  # type: ignore[attr-defined]
        return {parameter.key: parameter.value for parameter in accelerator.parameters}["trt_engine_cache_path"]

    path = bundle / "fp32" / "image.onnx"
    path.write_bytes(path.read_bytes() + b"\x0a\x01x")  # producer_name, once more
    write_manifest(bundle)
    assert export(bundle, "--triton", tmp_path / "again").exit_code == 0
    for graph in GRAPHS:
        text = (tmp_path / "again" / f"by-hand_{graph}" / "config.pbtxt").read_text()
        again = text_format.Parse(text, model_config()())
        assert (engines(again) == engines(configs[graph])) == (graph != "image")


@pytest.mark.parametrize(("precision", "kind"), [("int8", "KIND_CPU"), ("bf16", "KIND_GPU"), ("fp16", "KIND_GPU")])
def test_each_precision_is_served_where_it_is_made_for(precision: str, kind: str) -> None:
    shapes = {"embedding": ["batch", 3], "probabilities": ["batch", 3], "code": ["batch"], "prototype": ["batch", 3]}
    text = triton_config("codebook", SIGNATURES["codebook"], precision, shapes, 8, "0")
    parsed = text_format.Parse(text, model_config()())
    assert _ENUMS["Kind"][parsed.instance_group[0].kind] == kind
    assert parsed.HasField("optimization") == (precision == "fp16")


def test_graphs_and_what_clients_need_are_copied(bundle: Path, configs: dict, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for graph in GRAPHS:
        assert configs[graph].name == f"by-hand_{graph}"
        copied = models / f"by-hand_{graph}" / "1" / configs[graph].default_model_filename
        assert copied.read_bytes() == (bundle / "fp32" / f"{graph}.onnx").read_bytes()
    assert (models / "by-hand_text" / "tokenizer.json").is_file()
    assert (models / "by-hand_image" / "preprocessing.json").is_file()
    folders = sorted(path.name for path in models.iterdir() if path.is_dir())
    assert folders == sorted(f"by-hand_{graph}" for graph in GRAPHS)


def test_what_cannot_become_a_repository_is_told(bundle: Path, tmp_path: Path) -> None:
    assert (export(bundle).exit_code, "--triton" in export(bundle).stderr) == (2, True)
    (tmp_path / "there").mkdir()
    assert "already exists" in export(bundle, "--triton", tmp_path / "there").stderr
    result = export(bundle, "--triton", tmp_path / "models", "--precision", "int8")
    assert (result.exit_code, "no int8 graphs, only fp32" in result.stderr) == (2, True)
    for words in (["--output", tmp_path / "other"], ["--precision", "fp32", "--precision", "fp16"]):
        result = export(bundle, "--triton", tmp_path / "models", *words)
        assert (result.exit_code, "is already a bundle" in result.stderr) == (2, True)
    (bundle / "fp32" / "text.onnx").write_bytes(b"damaged")
    result = export(bundle, "--triton", tmp_path / "models")
    assert (result.exit_code, "text.onnx is damaged" in result.stderr) == (3, True)
    assert not (tmp_path / "models").exists()


def test_the_document_names_the_folder(bundle: Path, tmp_path: Path) -> None:
    document = json.loads(export(bundle, "--triton", tmp_path / "models", "--json").stdout)
    assert document["targets"] == {"triton": str(tmp_path / "models")}


def test_a_target_lies_next_to_its_bundle_and_is_replaced_by_force_alone(bundle: Path) -> None:
    output = bundle.with_name(f"{bundle.name}-triton")
    result = export(bundle, "--target", "triton")
    assert (result.exit_code, result.stdout.strip()) == (0, str(output)), result.stderr
    assert f"next: ORT_DISABLE_TELEMETRY=1 tritonserver --model-repository {output.resolve()}" in result.stderr
    assert export(bundle, "--target", "triton").exit_code == 2
    (output / "stale").mkdir()
    assert export(bundle, "--target", "triton", "--force").exit_code == 0
    assert not (output / "stale").exists()
    (output / ".cbalign-target").unlink()
    result = export(bundle, "--target", "triton", "--force")
    assert (result.exit_code, "was not written by an export target" in result.stderr) == (2, True)
