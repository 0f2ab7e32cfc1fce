"""Messages name arguments of Python; the command line shows its options."""

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
