"""Which graphs can be batched."""

from __future__ import annotations

import pytest

from cbalign.runtime.signatures import Port, Signature


@pytest.mark.parametrize(
    ("image", "score", "is_batched"),
    [
        (("batch", None), ("batch",), True),
        (("images", None), ("texts",), False),
        ((None, "side"), (None,), False),
        (("batch", None), (), False),
        ((), (), False),
    ],
)
def test_a_graph_is_batched_if_all_its_inputs_and_outputs_have_a_row_per_item(
    image: tuple[str | None, ...], score: tuple[str | None, ...], is_batched: bool
) -> None:
    signature = Signature((Port("image", "float32", image),), (Port("score", "float32", score),))
    assert signature.is_batched == is_batched
