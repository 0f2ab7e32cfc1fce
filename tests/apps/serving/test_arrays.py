"""Every .npy is answered with embeddings or a 4xx with one short message, whatever its header says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import npy
from .test_app import NPY, client, start

__all__ = ["client", "start"]

MAGIC = b"\x93NUMPY"


def array_file(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("utf-8", "surrogatepass")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return MAGIC + bytes(version) + length + text + data


def described(shape: object, descr: object = "|u1", fortran: object = False) -> str:
    return repr({"descr": descr, "fortran_order": fortran, "shape": shape}) + "\n"


def check(client: TestClient, data: bytes) -> None:
    answer = client.post("/encode/image", content=data, headers=NPY)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, (answer.status_code, data[:200], answer.text)
    if answer.status_code != 200:
        assert set(answer.json()) <= {"error", "remedy"}
        assert len(answer.json()["error"]) < 600


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((-8, -8, 3), bytes(192)),
        ((True, 1, 3), bytes(3)),
        ((10**40, 0, 3), b""),
        ((0, 10**400, 3), b""),
        ((4, 4, 3, 0), b""),
        ((2**62, 2**62, 3), b""),
        ((1,) * 70, b"a"),
        ((10**4000, 10**4000, 3), b""),
        ((), b"a"),
    ],
)
def test_shapes_that_are_none_are_refused(client: TestClient, shape: tuple[int, ...], data: bytes) -> None:
    answer = client.post("/encode/image", content=array_file(described(shape), data), headers=NPY)
    assert answer.status_code == 422, answer.text
    assert len(answer.json()["error"]) < 400


SIDES = st.one_of(
    st.integers(-3, 9), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=True), st.none()
)
SHAPES = st.one_of(st.lists(SIDES, max_size=6).map(tuple), SIDES, st.text(max_size=5))
KINDS = st.sampled_from(
    [
        "|u1",
        "<f4",
        ">f4",
        "<f2",
        "<f8",
        "<f16",
        ">u2",
        "<i8",
        "|b1",
        "|O",
        "<c8",
        "<M8[s]",
        "<U3",
        "|V3",
        "|S2",
        "u1,f4",
    ]
)
DESCRIPTIONS = st.one_of(
    KINDS, st.lists(st.tuples(st.text(max_size=3), KINDS), max_size=3), st.text(max_size=8), st.none()
)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.filterwarnings("ignore::UserWarning")
@FUZZ
@given(shape=SHAPES, descr=DESCRIPTIONS, fortran=st.one_of(st.booleans(), st.none()), size=st.integers(0, 200))
def test_made_up_headers_are_answered(client: TestClient, shape, descr, fortran, size: int) -> None:
    check(client, array_file(described(shape, descr, fortran), bytes(size)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@FUZZ
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)),
    kind=st.sampled_from(["|u1", "<f2", ">f4", "<f8"]),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    cut=st.integers(-20, 20),
)
def test_damaged_files_are_answered(client: TestClient, shape, kind: str, flips, cut: int) -> None:
    data = bytearray(npy(np.zeros(shape, kind)))
    for place, value in flips:
        data[place % len(data)] = value
    check(client, bytes(data[:cut] if cut < 0 else data + bytes(cut)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@FUZZ
@given(text=st.text(max_size=300), version=st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9), (0, 0)]))
def test_any_text_as_header_is_answered(client: TestClient, text: str, version: tuple[int, int]) -> None:
    check(client, array_file(text, version=version))


@FUZZ
@given(kind=st.sampled_from(["<f2", "<f4", ">f8"]), bits=st.binary(min_size=96, max_size=96))
def test_any_values_are_answered(client: TestClient, kind: str, bits: bytes) -> None:
    count = len(bits) // np.dtype(kind).itemsize // 3
    check(client, npy(np.frombuffer(bits, kind)[: 3 * count].reshape(1, count, 3)))
