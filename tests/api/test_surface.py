"""What `import cbalign` offers, and what it costs."""

import inspect
import subprocess
import sys

import pytest

import cbalign

FUNCTIONS = [name for name in cbalign.__all__ if inspect.isfunction(getattr(cbalign, name))]
CLASSES = [name for name in cbalign.__all__ if inspect.isclass(getattr(cbalign, name))]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_import_is_light():
    code = (
        "import sys, time; start = time.process_time(); import cbalign; print(time.process_time() - start); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    best = min((run(code) for _ in range(3)), key=lambda words: float(words[0]))
    assert float(best[0]) < 0.1
    assert not {"torch", "onnxruntime", "pydantic", "numpy", "PIL", "transformers"} & set(best[1:])


@pytest.mark.parametrize(
    "use", ["spec('quickstart')", "diff('quickstart', 'albef').differences", "index, cbalign.load"]
)
def test_what_needs_no_torch_imports_none(use, tmp_path):
    assert run(f"import sys, cbalign; cbalign.{use}; print('torch' in sys.modules)") == ["False"]


def test_names_are_listed_and_unknown_ones_are_refused():
    assert set(cbalign.__all__) <= set(dir(cbalign))
    assert len(FUNCTIONS) + len(CLASSES) == len(cbalign.__all__) - 1
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cbalign.nothing


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_every_name_is_documented(name):
    found = getattr(cbalign, name)
    text = inspect.getdoc(found)
    assert text
    if name in FUNCTIONS:
        sections = text.partition("Args:")[2]
        for parameter in inspect.signature(found).parameters:
            assert f"{parameter}: " in sections, parameter
        assert "Raises:" in text
        assert inspect.signature(found).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", CLASSES)
def test_every_member_is_documented_and_results_show_themselves(name):
    found = getattr(cbalign, name)
    for member, value in vars(found).items():
        if not member.startswith("_") and (callable(value) or isinstance(value, property)):
            assert inspect.getdoc(value), member
    assert "to_dict" in dir(found)
    assert found.__repr__ is not object.__repr__
    assert hasattr(found, "_repr_html_")
