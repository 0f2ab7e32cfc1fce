"""Messages name arguments of Python; the command line shows its options."""

import subprocess
import sys

import pytest

from cbalign.cli.failures import failure_of, with_options
from cbalign.errors import SpecError, UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Add `force=True`, or choose another `output=…`.", "Add --force, or choose another --output."),
        ('Use `device="cpu"`, or check `nvidia-smi`.', "Use --device cpu, or check `nvidia-smi`."),
        ("`protocols=nothing`: an evaluation has dual", "--protocol nothing: an evaluation has dual"),
        ("`zero_shot=…` and `top_k=3`", "--zero-shot and --top-k 3"),
        ("Set `export.opset` to 17; `train.seed=3` stays", "Set `export.opset` to 17; `train.seed=3` stays"),
    ],
)  # fmt: skip
def test_arguments_are_shown_as_options(text, shown):
    assert with_options(text) == shown


def test_errors_are_told_in_the_words_of_the_command_line():
    failure = failure_of(UsageError("x exists", remedy="Add `force=True`."))
    assert failure.remedy == "Add --force."
    assert failure_of(SpecError("dict:1:1: `a=b`")).message == "dict:1:1: `a=b`"


def raised(act):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (of a library, whose class is what matters)
        act()
    return caught.value


def test_memory_that_torch_cannot_allocate_on_the_cpu_is_exit_4_with_a_remedy():
    import torch

    failure = failure_of(raised(lambda: torch.empty(10**15)))
    assert (failure.exit_code, failure.message) == (4, "out of memory")
    assert "smaller batch" in failure.remedy
    assert failure_of(raised(lambda: torch.ones(2) @ torch.ones(3))).exit_code == 1, "another error of the same class"


def test_memory_that_onnxruntime_cannot_allocate_is_exit_4(tmp_path):
    import numpy as np
    import onnx
    import onnx.parser

    from cbalign.errors import DeviceError
    from cbalign.runtime.loaded_graph import load_graph
    from cbalign.runtime.placement import find_device
    from cbalign.runtime.signatures import Port, Signature

    text = '<ir_version: 10, opset_import: ["": 20]> g (int64[1] n) => (float[k] y) { y = ConstantOfShape (n) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "g.onnx")
    signature = Signature((Port("n", "int64", (None,)),), (Port("y", "float32", ("k",)),))
    graph = load_graph("g", tmp_path / "g.onnx", signature, find_device("cpu"), 1, cuda_graphs=False)
    with pytest.raises(DeviceError, match="not enough memory to run the g graph"):
        graph.run([np.array([10**14])])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_a_library_that_cannot_be_mapped_is_exit_4_with_a_remedy(tmp_path):
    (tmp_path / "spec.yaml").write_text("cbalign: 1\nname: x\ndata:\n  train: {source: openmoji, split: train}\n")
    script = (
        "import resource, sys\n"
        "from cbalign.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))\n"
        "main(['train', 'spec.yaml', '--set', 'train.device=cpu'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "not enough memory to load a library: " in done.stderr
    assert "ulimit -v" in done.stderr
