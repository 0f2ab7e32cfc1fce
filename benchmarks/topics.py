"""Print the accuracy of a model that answers questions about scenes, by topic.

cbalign evaluate runs/vqa-scenes-… --on test --output found.json
python -m benchmarks.topics found.json
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import cast

from cbalign.data.scenes.source import SceneQuestions
from cbalign.data.sections.drawings import ScenesSplit
from cbalign.evaluation.result import EvaluationDocument
from cbalign.evaluation.scored import ScoredResult


def by_topic(result: ScoredResult) -> dict[str, list[float]]:
    """Return the scores of a result on scenes of seed 0 by topic, best first."""
    split = cast(ScenesSplit, result.source.removeprefix("scenes "))
    asked = SceneQuestions(split, result.items, render_size=64, seed=0)
    found: dict[str, list[float]] = defaultdict(list)
    for number, score in zip(result.ids, result.scores, strict=True):
        found[asked.item(int(number)).question_type or ""].append(float(score))
    return dict(sorted(found.items(), key=lambda each: -sum(each[1]) / len(each[1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="JSON document of `cbalign evaluate --output`")
    options = parser.parse_args()
    (result,) = EvaluationDocument.from_json(options.evaluation.read_text(encoding="utf-8")).results
    assert isinstance(result, ScoredResult)
    print("| asked for | questions | right |\n|---|---|---|")
    for topic, scores in by_topic(result).items():
        print(f"| {topic} | {len(scores)} | {100 * sum(scores) / len(scores):.1f} |")


if __name__ == "__main__":
    main()
