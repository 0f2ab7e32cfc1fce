from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.albef_questions import open_albef_questions
from cbalign.data.easy_vqa import open_easy_vqa
from cbalign.data.items import Answer, Question
from cbalign.data.questions import QuestionFiles
from cbalign.data.vqa_v2 import open_vqa_v2
from cbalign.errors import DataError, MissingImageError

PATTERN = "{subset}/COCO_{subset}_{id:012}.jpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("coco/train2014/COCO_train2014_000000000009.jpg", "coco/a.png", "genome/image/1.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red" if "coco" in path else "blue").save(tmp_path / path)
    return tmp_path


def written(root: Path, name: str, content: object) -> Path:
    path = root / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def questions(root: Path, *entries: tuple[int, int], subset: str | None = "train2014", name: str = "q.json") -> Path:
    listed = [{"image_id": image, "question": f"What is {number}?", "question_id": number} for number, image in entries]
    head = {"info": {"year": 2017}} | ({} if subset is None else {"data_subtype": subset})
    return written(root, name, head | {"questions": listed})


def annotations(root: Path, *entries: tuple[int, int, list[str]], name: str = "a.json") -> Path:
    listed = [
        {
            "question_id": number,
            "image_id": image,
            "question_type": "what is",
            "answer_type": "other",
            "multiple_choice_answer": answers[0],
            "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(answers, 1)],
        }
        for number, image, answers in entries
    ]
    return written(root, name, {"annotations": listed, "data_subtype": "train2014"})


def test_vqa_v2_questions_find_their_annotations_by_id(root: Path) -> None:
    first = questions(root, (9000, 9), (9001, 9))
    second = questions(root, (7, 9), name="q2.json")
    answers = ["red"] * 7 + ["dark red", "red ", "red"]
    listed = annotations(root, (7, 9, ["yes"] * 10), (9001, 9, answers), (9000, 9, ["no"] * 10))
    source = open_vqa_v2([first, second], [listed], root / "coco", image=PATTERN)
    assert [source.item(i).id for i in range(len(source))] == [9000, 9001, 7]
    assert source.item(1) == Question(
        9001,
        "train2014/COCO_train2014_000000000009.jpg",
        "What is 9001?",
        (Answer("red", 0.8, 8), Answer("dark red", 0.1, 1), Answer("red ", 0.1, 1)),
        answer_type="other",
        question_type="what is",
    )
    assert source.images(1)[0].size == (4, 4)
    assert source.read(2)[0] == (root / "coco" / source.item(2).image_key).read_bytes()


def test_vqa_v2_test_sets_have_questions_only(root: Path) -> None:
    source = open_vqa_v2([questions(root, (1, 262144), subset="test-dev2015")], [], root / "coco", image=PATTERN)
    assert source.item(0) == Question(1, "test2015/COCO_test2015_000000262144.jpg", "What is 1?", ())
    with pytest.raises(MissingImageError, match=r"q\.json, entry 1: image test2015/"):
        source.images(0)


def test_the_subset_may_stand_in_the_pattern(root: Path) -> None:
    file = questions(root, (1, 9), subset=None)
    source = open_vqa_v2([file], [], root / "coco", image="train2014/COCO_train2014_{id:012}.jpg")
    assert source.images(0)[0].size == (4, 4)
    with pytest.raises(DataError, match=r"q\.json: no field data_subtype before the questions"):
        open_vqa_v2([file], [], root / "coco", image=PATTERN)


@pytest.mark.parametrize(
    ("asked", "answered", "message"),
    [
        ([(1, 9), (2, 9)], [(1, 9)], r"q\.json, entry 2: question_id 2 has no annotation in .*a\.json"),
        (
            [(1, 9)],
            [(1, 9), (2, 9), (3, 9)],
            r"a\.json, entry 2: question_id 2 has no question, and 1 others",
        ),
        ([(1, 9), (1, 9)], [(1, 9)], r"q\.json, entry 2: question_id 1 is also in .*q\.json, entry 1"),
        ([(1, 9)], [(1, 9), (1, 9)], r"a\.json, entry 2: question_id 1 is also in .*a\.json, entry 1"),
        ([(1, 9)], [(1, 8)], r"q\.json, entry 1: image_id 9, but .*a\.json, entry 1 has 8"),
    ],
)
def test_vqa_v2_files_that_do_not_fit_together(
    root: Path, asked: list[tuple[int, int]], answered: list[tuple[int, int]], message: str
) -> None:
    listed = annotations(root, *((number, image, ["yes"]) for number, image in answered))
    with pytest.raises(DataError, match=message):
        open_vqa_v2([questions(root, *asked)], [listed], root / "coco", image=PATTERN)


Change = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q.pop("image_id"), r"entry 1: field image_id: expected a whole number, found none \(fields"),
        (lambda q: q.update(question_id="x"), r"entry 1: field question_id: expected a whole number, found 'x'"),
        (lambda q: q.pop("question"), r"entry 1: no field question"),
        (lambda q: q.update(question="  "), r"entry 1: field question: expected a text, found '  '"),
    ],
)
def test_vqa_v2_questions_that_lack_something(root: Path, change: Change, message: str) -> None:
    question: dict[str, object] = {"image_id": 9, "question": "What?", "question_id": 1}
    change(question)
    file = written(root, "q.json", {"data_subtype": "train2014", "questions": [question]})
    with pytest.raises(DataError, match=message):
        open_vqa_v2([file], [], root / "coco", image=PATTERN)


@pytest.mark.parametrize("answers", [[], "yes", [{"answer": 3}], ["yes"], None])
def test_vqa_v2_annotations_without_answers(root: Path, answers: object) -> None:
    entry = {"image_id": 9, "question_id": 1, "answers": answers}
    with pytest.raises(DataError, match=r"a\.json, entry 1: field answers: expected a list of objects"):
        open_vqa_v2(
            [questions(root, (1, 9))],
            [written(root, "a.json", {"annotations": [entry]})],
            root / "coco",
            image=PATTERN,
        )


def albef(root: Path, *entries: dict[str, object]) -> QuestionFiles:
    file = written(root, "list.json", list(entries))
    return open_albef_questions([file], root / "coco", genome_root=root / "genome", genome_weight=0.5)


def test_albef_lists_weigh_answers_by_their_counts_and_genome_by_half(root: Path) -> None:
    source = albef(
        root,
        {"dataset": "vqa", "image": "a.png", "question": "q?", "answer": ["a"] * 6 + ["b"] * 4, "question_id": 5},
        {"dataset": "vg", "image": "image/1.png", "question": "r?", "answer": "blue"},
        {"dataset": "vqa", "image": "a.png", "question": "s?", "question_id": "t-1"},
    )
    assert source.item(0) == Question(5, "a.png", "q?", (Answer("a", 0.6, 6), Answer("b", 0.4, 4)))
    assert source.item(1) == Question(2, "image/1.png", "r?", (Answer("blue", 0.5, 1),))
    assert source.item(2) == Question("t-1", "a.png", "s?", ())
    colours = [source.images(i)[0].getpixel((0, 0)) for i in range(3)]
    assert colours == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
    assert "3 questions, 2 with answers" in source.describe()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, r"list\.json, entry 2: no field image \(fields: dataset, question, answer\)"),
        ({"image": 7}, r"entry 2: field image: expected a text, found 7"),
        ({"question": None}, r"entry 2: no field question"),
        ({"dataset": "gqa"}, r"entry 2: field dataset: expected vqa or vg, found 'gqa'"),
        ({"answer": []}, r"entry 2: field answer: expected a text or a list of texts, found \[\]"),
        ({"answer": [1]}, r"entry 2: field answer: expected a text or a list of texts, found \[1\]"),
        ({"question_id": 1.5}, r"entry 2: field question_id: expected a number or a text, found 1\.5"),
        ({"image": "../genome/image/1.png"}, r"entry 2: image '\.\./genome/image/1\.png' is not inside the root"),
    ],
)
def test_albef_entries_that_lack_something(root: Path, changes: dict[str, object], message: str) -> None:
    right: dict[str, object] = {"dataset": "vqa", "image": "a.png", "question": "q?", "answer": "yes"}
    wrong = {name: value for name, value in (right | changes).items() if value is not None}
    with pytest.raises(DataError, match=message):
        albef(root, right, wrong)


def test_easy_vqa_keeps_its_own_test_split_and_holds_out_whole_images() -> None:
    pytest.importorskip("easy_vqa")
    train, validation, test = (open_easy_vqa(split=s, held_out=10) for s in ("train", "validation", "test"))  # type: ignore[arg-type]
    assert len(train) + len(validation) == 38_575
    assert len(test) == 9_673
    assert len(open_easy_vqa(split="train", held_out=0)) == 38_575
    seen = [{source.item(i).image_key for i in range(len(source))} for source in (train, validation)]
    assert not seen[0] & seen[1]
    assert len(seen[1]) == 400
    first = test.item(0)
    assert (first.text, first.answers) == ("what is the red shape?", (Answer("triangle", 1.0, 1),))
    assert test.images(0)[0].size == (64, 64)
    with pytest.raises(DataError, match="no questions"):
        open_easy_vqa(split="validation", held_out=0)
