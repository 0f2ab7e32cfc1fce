"""Comparing experiments in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.api.arguments import listed
from cbalign.api.progress import stages
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.api.bundles import Bundle
    from cbalign.api.model import Model
    from cbalign.api.runs import Run
    from cbalign.api.specs import Spec
    from cbalign.lab.comparison.findings import Findings


@dataclass(frozen=True)
class Diff:
    """The differences of experiments, grouped by effect class. Made by `cbalign.diff`.

    `bool(diff)` is True if anything differs.

    Attributes:
        findings: differences, derived quantities, verdicts and metrics; `to_dict` has them as plain data.
    """

    findings: Findings

    def __bool__(self) -> bool:
        return bool(self.findings.comparison.differences)

    @property
    def differences(self) -> dict[str, tuple[Any, ...]]:
        """The values of each setting that differs, by dotted path; None where an experiment has no such setting."""
        found = self.findings.comparison.differences
        return {each.path: tuple(None if cell is None else cell.value for cell in each.cells) for each in found}

    @property
    def verdicts(self) -> dict[str, str]:
        """Answers by question: whether A's weights load in B, A resumes as B, numbers compare, a bundle replaces."""
        return {verdict.question: verdict.answer for verdict in self.findings.verdicts}

    def patch(self) -> str:
        """A spec overlay that turns A into B.

        Raises:
            UsageError: there are more than two experiments.
        """
        from cbalign.render.diff import diff_patch

        if not self.findings.is_pair:
            raise UsageError("a patch needs exactly two experiments")
        return diff_patch(*self.findings.operands)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, as `cbalign diff --json` prints it."""
        from cbalign.render.diff_json import diff_document

        return diff_document(self.findings)

    def __repr__(self) -> str:
        from cbalign.render.diff import diff_blocks
        from cbalign.runtime.table import plain_text, unstyled

        return unstyled(plain_text(diff_blocks(self.findings)))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def diff(
    a: str | Path | Mapping[str, Any] | Spec | Run | Bundle | Model,
    b: str | Path | Mapping[str, Any] | Spec | Run | Bundle | Model,
    *more: str | Path | Mapping[str, Any] | Spec | Run | Bundle | Model,
    only: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    everything: bool = False,
    progress: bool | Callable[[str], None] = False,
) -> Diff:
    """Compare experiments by their resolved values.

    Args:
        a: a spec file, recipe, `REV:path`, run, checkpoint, bundle or `defaults`; a dict; or an object of this API.
        b: what to compare it with.
        *more: further experiments.
        only: effect classes (`training`) or paths (`train.optimizer`) to keep.
        ignore: effect classes or paths to leave out.
        everything: whether to list equal settings and every changed tensor, too.
        progress: whether to show the progress; or called as `progress(stage)` with what is being done.

    Raises:
        SpecError: a spec is not valid.
        UsageError: an operand is none of these.
    """
    from cbalign.lab.comparison.findings import gather

    operands = [_operand(each) for each in (a, b, *more)]
    return Diff(
        gather(operands, only=listed(only), ignore=listed(ignore), everything=everything, report=stages(progress))
    )


def _operand(given: Any) -> Any:
    from cbalign.api.specs import Spec, spec
    from cbalign.experiment.operands import Operand, open_operand

    if not isinstance(given, str | Path | Spec) and not hasattr(given, "path"):
        given = spec(given)  # a dict, or refused
    if isinstance(given, Spec):
        return Operand(name=given.name, kind="spec", loaded=given.loaded)
    return open_operand(str(given if isinstance(given, str | Path) else given.path))
