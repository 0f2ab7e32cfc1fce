from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cbalign.errors import BundleError
from cbalign.runtime.bundle import MANIFEST, Bundle, is_bundle
from cbalign.runtime.session import Session


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    change(values)
    (folder / MANIFEST).write_text(json.dumps(values))


def test_an_untouched_bundle_verifies(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.verify()
    assert set(opened.manifest.files) == {
        *(f"fp32/{graph}.onnx" for graph in ("image", "text", "codebook", "match")),
        *("preprocessing.json", "spec.yaml", "tokenizer.json", "text.json"),
    }
    assert is_bundle(bundle)


def test_one_flipped_bit_anywhere_is_found(bundle: Path) -> None:
    for name in Bundle.open(bundle).manifest.files:
        path = bundle / name
        content = path.read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(BundleError, match=f"{name} is damaged"):
                Session.open(bundle, "cpu")
        path.write_bytes(content)
    Session.open(bundle, "cpu")


@pytest.mark.parametrize("name", ["fp32/text.onnx", "tokenizer.json", "text.json", "preprocessing.json"])
def test_truncated_missing_and_renamed_files_are_named(bundle: Path, name: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=f"{name} is damaged: .* bytes instead of") as caught:
        Session.open(bundle)
    assert "cbalign export" in str(caught.value)
    path.rename(path.with_suffix(".old"))
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Session.open(bundle)


def test_a_graph_under_anothers_name_is_found(bundle: Path) -> None:
    (bundle / "fp32/match.onnx").write_bytes((bundle / "fp32/codebook.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"fp32/match\.onnx is damaged"):
        Session.open(bundle)


def test_a_newer_format_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda values: values.update(format=2))
    with pytest.raises(BundleError, match="format 2") as caught:
        Bundle.open(bundle)
    assert caught.value.remedy == "Update cbalign."


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "fp32/../../outside", "C:\\outside"])
def test_a_manifest_cannot_name_files_outside_of_the_bundle(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda values: values["files"].update({name: {"sha256": "0", "size": 1}}))
    with pytest.raises(BundleError, match="outside of the bundle"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"kind": "cbalign bundle"}', '{"kind": "cbalign bundle", "format": 1}']
)
def test_a_damaged_manifest_is_named(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json: not a bundle's manifest"):
        Bundle.open(bundle)


def test_a_manifest_that_lacks_a_needed_file_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda values: values["files"].pop("tokenizer.json"))
    with pytest.raises(BundleError, match=r"does not list tokenizer\.json"):
        Bundle.open(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert not is_bundle(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.open(tmp_path)


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(BundleError, match="has no int8 graphs, only fp32"):
        Session.open(bundle, precision="int8")
