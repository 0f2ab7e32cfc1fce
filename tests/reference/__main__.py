"""`python -m tests.reference FOLDER`: does cbalign compute what ALBEF's published code recorded there?

Prints one line per quantity with its largest relative error. Exit codes: 0 all within tolerance, 1 not, 2 the folder
is of another form.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from cbalign.errors import CbalignError
from tests.reference.downstream import check_answering, check_entailment, check_image_pairs
from tests.reference.folder import AnotherFormError, Reference
from tests.reference.pretraining import check_interpolation, check_pretraining, check_retrieval
from tests.reference.reranking import check_reranking

CHECKS: tuple[Callable[[Reference], None], ...] = (
    check_pretraining,
    check_reranking,
    check_retrieval,
    check_answering,
    check_image_pairs,
    check_entailment,
    check_interpolation,
)


def main(arguments: list[str]) -> int:
    """Check the folder that is named, print, and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m tests.reference FOLDER", file=sys.stderr)
        return 2
    try:
        reference = check(Path(arguments[0]))
    except AnotherFormError as error:
        print(f"{arguments[0]} is not a folder of recorded ALBEF numbers: {error}", file=sys.stderr)
        return 2
    width = max(len(q.name) for q in reference.quantities)
    for quantity in reference.quantities:
        verdict = "" if quantity.holds else f"  FAILED (tolerance {quantity.tolerance:.0e})"
        print(f"{quantity.name:<{width}}  {quantity.error:.1e}{verdict}")
    for name in reference.uncovered:
        print(f"{name:<{width}}  NOT COVERED")
    failed = [q for q in reference.quantities if not q.holds]
    total = len(reference.quantities) + len(reference.uncovered)
    print(f"{total - len(failed) - len(reference.uncovered)} of {total} quantities reproduced")
    return 1 if failed or reference.uncovered else 0


def check(folder: Path) -> Reference:
    """The folder with all that could be compared.

    Raises:
        AnotherFormError: it lacks something, or its sizes contradict each other.
    """
    reference = Reference(folder)
    for compare in CHECKS:
        try:
            compare(reference)
        except (CbalignError, LookupError, RuntimeError, ValueError) as error:
            raise AnotherFormError(f"{compare.__name__.removeprefix('check_')} cannot be computed: {error}") from error
    return reference


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
