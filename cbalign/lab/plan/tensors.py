"""List the tensors of models without allocating them: `python -m cbalign.lab.plan.tensors`.

Reads a JSON list of `{"experiment": …, "vocabulary": …}` from stdin and writes a list to stdout, with `{"tensors": …}`
(see `TensorTable.to_json`) or `{"error": …}` for each. `cbalign.lab.comparison.tensors` starts it, so that the process
that prints a comparison does not import torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from cbalign.errors import CbalignError
from cbalign.experiment.experiment import Experiment
from cbalign.lab.plan.training import on_meta
from cbalign.models.recorded import tensor_table


def main() -> None:
    """Answer the requests on stdin."""
    requests = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        answers = answer(requests)
    json.dump(answers, sys.stdout)


def answer(requests: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return the tensor table of each requested model, or the reason why it cannot be built."""
    return [_answer(request) for request in requests]


def _answer(request: Mapping[str, Any]) -> dict[str, object]:
    try:
        experiment = Experiment.model_validate_json(json.dumps(request["experiment"]))
        return {"tensors": tensor_table(on_meta(experiment, request["vocabulary"])).to_json()}
    except CbalignError as error:
        return {"error": error.message}
    except Exception as error:  # one model that cannot be built must not lose the others
        lines = str(error).splitlines()
        return {"error": f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__}


if __name__ == "__main__":
    main()
