"""What tells two experiments apart."""

import json
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cbalign.experiment.derived import Known, derived_quantities
from cbalign.experiment.diff import compare_experiments, patch, patch_document
from cbalign.experiment.dump import as_data, dump_yaml, experiment_fingerprint, write_yaml
from cbalign.experiment.environment import escape
from cbalign.experiment.fields import leaves
from cbalign.experiment.load import load_experiment
from cbalign.experiment.tensors import TensorInfo, TensorTable
from cbalign.experiment.verdicts import verdicts
from cbalign.parts.section import Effect
from tests.experiment.strategies import experiments, loaded

VALIDATED = "  validation: {source: openmoji, split: validation}\n"


@given(experiment=experiments())
def test_an_experiment_does_not_differ_from_itself(experiment):
    assert compare_experiments([loaded(experiment), loaded(experiment)]).differences == ()
    assert patch(experiment, experiment) == {}


@given(a=experiments(), b=experiments())
def test_no_difference_means_equal(a, b):
    assert (compare_experiments([loaded(a), loaded(b)]).differences == ()) == (in_any_order(a) == in_any_order(b))


def in_any_order(experiment):
    """The values of an experiment, with lists that mean sets sorted."""
    sets = ("requires", "graphs", "protocols", "targets")
    return {
        path: sorted(map(str, value)) if path.rpartition(".")[2] in sets and isinstance(value, tuple) else value
        for path, value, _ in leaves(experiment)
    }


@given(a=experiments(), b=experiments())
def test_a_with_the_patch_is_b(a, b, tmp_path_factory):
    folder = tmp_path_factory.mktemp("patched")
    a, b = (in_folder(experiment, folder) for experiment in (a, b))
    (folder / "a.yaml").write_text(dump_yaml(a), encoding="utf-8")
    overlay = write_yaml(patch_document(a, b, "a.yaml"))
    (folder / "b.yaml").write_text(overlay, encoding="utf-8")
    assert load_experiment(folder / "b.yaml", check_files=False).experiment == b


@given(a=experiments(), b=experiments())
def test_the_diff_of_b_and_a_mirrors_that_of_a_and_b(a, b):
    there = compare_experiments([loaded(a), loaded(b)]).differences
    back = compare_experiments([loaded(b), loaded(a)]).differences
    assert {d.path: (d.effect, d.cells) for d in there} == {d.path: (d.effect, d.cells[::-1]) for d in back}


@given(a=experiments(), b=experiments())
def test_each_changed_value_is_in_some_difference(a, b):
    """Checked against the flattened values, which know nothing of sections, kinds or named items."""
    first, second = ({path: value for path, value, _ in leaves(e) if "evaluate" not in path} for e in (a, b))
    sets = (in_any_order(a), in_any_order(b))
    changed = {path for path in first | second if sets[0].get(path, "-") != sets[1].get(path, "-")}
    told = {d.path for d in compare_experiments([loaded(a), loaded(b)]).differences}
    assert all(any(path == each or path.startswith(f"{each}.") for each in told) for path in changed)


def in_folder(experiment, folder):
    (folder / "first.yaml").write_text(dump_yaml(experiment), encoding="utf-8")
    return load_experiment(folder / "first.yaml", check_files=False).experiment


@given(experiment=experiments(), seed=st.integers(0, 2**32))
def test_another_way_to_write_an_experiment_is_no_difference(experiment, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("respelt")
    experiment = in_folder(experiment, folder)
    entries = Respelt(random.Random(seed)).entries(as_data(experiment))
    (folder / "other.yaml").write_text(
        "# a comment\n" + "".join(f"{e}  # another\n" for e in entries), encoding="utf-8"
    )
    other = load_experiment(folder / "other.yaml", check_files=False)
    assert compare_experiments([loaded(experiment), other]).differences == ()
    assert experiment_fingerprint(experiment) == experiment_fingerprint(other.experiment)


class Respelt:
    """Data as YAML with keys in any order and numbers, texts and keys spelt in any way."""

    def __init__(self, chance):
        self.chance = chance

    def entries(self, data):
        names = list(data)
        self.chance.shuffle(names)
        return [f"{self.chance.choice([name, json.dumps(name)])}: {self.value(data[name])}" for name in names]

    def value(self, data):
        if isinstance(data, dict):
            return f"{{{', '.join(self.entries(data))}}}"
        if isinstance(data, list):
            return f"[{', '.join(map(self.value, data))}]"
        if isinstance(data, str):
            return json.dumps(escape(data), ensure_ascii=not data.isprintable() or self.chance.random() < 0.5)
        if isinstance(data, bool) or data is None:
            return self.chance.choice({True: ["true", "True"], False: ["false", "FALSE"], None: ["null", "~"]}[data])
        if isinstance(data, int):
            return self.chance.choice([str(data), f"+{data}", hex(data), f"0o{data:o}"])
        return self.chance.choice([repr(data), f"{data:.17e}", f"{data:.17E}", f"+{data!r}"])


def test_comments_key_order_quotes_and_number_spelling_change_nothing(load):
    one = load("train:\n  optimizer: {lr: 1e-4, eps: 1e-8}\n  seed: 12\n")
    other = load("# a comment\ntrain: {'seed': 0xC, optimizer: {eps: 0.00000001, lr: 0.00010}}  # another\n")
    assert compare_experiments([one, other]).differences == ()


def test_a_default_written_out_is_no_difference(load):
    assert compare_experiments([load(), load("train: {seed: 0}\n")]).differences == ()


def test_differences_come_worst_first_with_both_origins_delta_and_ratio(load):
    a = load("train: {batch_size: 64}\nmodel: {codebook: {size: 100}}\n")
    b = load("extends: base.yaml\nmodel: {codebook: {size: 300}}\ntrain: {duration: 3 epochs}\n",
             base="cbalign: 1\nname: small\ndata: {train: {source: openmoji, split: train}}\n")  # fmt: skip
    size, duration = compare_experiments([a, b]).differences
    assert (size.path, size.effect, size.delta, size.ratio) == ("model.codebook.size", Effect.ARCHITECTURE, 200, 3)
    assert [str(cell.origin) for cell in size.cells] == ["spec.yaml:6", "spec.yaml:2"]
    assert (duration.path, duration.effect, duration.delta, duration.ratio) == (
        "train.duration",
        Effect.TRAINING,
        -27,
        0.1,
    )
    assert [str(cell.origin) for cell in duration.cells] == ["default", "spec.yaml:3"]


def test_list_items_are_told_apart_by_what_they_are_and_not_by_where_they_stand(load):
    a = load(VALIDATED + "evaluate: [{on: train}, {on: validation, top_k: 5}]\n")
    b = load(VALIDATED + "evaluate: [{on: validation, top_k: 7}]\n")
    assert {d.path: d.cells[1] is None for d in compare_experiments([a, b]).differences} == {
        "evaluate[retrieval validation].top_k": False,
        "evaluate[retrieval train]": True,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "evaluate: [{on: train, protocols: [dual, rerank, code]}]\n",
            "evaluate: [{on: train, protocols: [code, dual, rerank]}]\n",
        ),
        ("export: {graphs: [image, text]}\n", "export: {graphs: [text, image]}\n"),
    ],
)
def test_the_order_of_a_set_is_no_difference(load, one, other):
    a, b = load(one), load(other)
    compared = compare_experiments([a, b])
    assert compared.differences == ()
    unchanged = verdicts(compare_experiments([a, a]))
    assert [each.answer for each in verdicts(compared)] == [each.answer for each in unchanged]


def test_the_order_of_files_and_precisions_has_a_meaning(load):
    a, b = load("export: {precisions: [fp32, int8]}\n"), load("export: {precisions: [int8, fp32]}\n")
    assert [d.path for d in compare_experiments([a, b]).differences] == ["export.precisions"]


def test_the_order_of_evaluations_is_a_label(load):
    a = load(VALIDATED + "evaluate: [{on: train}, {on: validation}]\n")
    b = load(VALIDATED + "evaluate: [{on: validation}, {on: train}]\n")
    assert [(d.path, d.effect) for d in compare_experiments([a, b]).differences] == [("evaluate (order)", Effect.LABEL)]


def test_another_kind_is_told_with_what_only_one_kind_has(load):
    a, b = load(), load("train: {schedule: {kind: constant, warmup: 2000 steps, warmup_lr: 1e-5}}\n")
    told = {d.path: [cell and cell.value for cell in d.cells] for d in compare_experiments([a, b]).differences}
    assert told == {
        "train.schedule.kind": ["cosine", "constant"],
        "train.schedule.final_lr": [1e-5, None],
        "train.schedule.updates": ["step", None],
    }


def test_switching_a_term_off_is_architecture_and_weighing_it_is_training(load):
    normal, half, off = (load(f"objectives: {{codebook: {{weight: {w}}}}}\n") for w in (1, 0.5, 0))
    assert compare_experiments([normal, half]).worst is Effect.TRAINING
    assert compare_experiments([normal, off]).worst is Effect.ARCHITECTURE


def test_the_role_of_data_decides_what_a_change_of_it_does(load):
    sizes = [load(f"  test: {{source: openmoji, split: test, render_size: {size}}}\n") for size in (64, 96)]
    assert compare_experiments(sizes).worst is Effect.EVALUATION


def test_three_experiments_make_three_cells(load):
    comparison = compare_experiments([load(f"train: {{seed: {seed}}}\n") for seed in (1, 1, 2)])
    assert [cell.value for cell in comparison.differences[0].cells] == [1, 1, 2]


@pytest.mark.parametrize(
    ("a", "b", "answers"),
    [
        ("", "", ("yes", "yes", "yes", "yes")),
        ("", "train: {device: cpu}\n", ("yes", "yes", "yes", "yes")),
        ("", "train: {seed: 1}\n", ("yes", "no", "yes", "no")),
        ("", "model: {codebook: {size: 10}}\n", ("partly", "no", "yes", "no")),
        ("", "model: {temperature: {learned: false}}\n", ("partly", "no", "yes", "no")),
        ("", "export: {opset: 18}\n", ("yes", "partly", "yes", "no")),
    ],
)
def test_verdicts_follow_from_what_changed(load, a, b, answers):
    evaluated = VALIDATED + "evaluate: [{on: validation}]\n"
    found = verdicts(compare_experiments([load(evaluated + a), load(evaluated + b)]))
    assert tuple(verdict.answer for verdict in found) == answers


@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        ("{on: validation}", "{on: validation, bootstrap: 5}", "yes"),
        ("{on: validation}", "{on: validation, top_k: 5}", "yes"),
        ("{on: validation, protocols: [rerank]}", "{on: validation, protocols: [rerank], top_k: 5}", "no"),
        ("{on: validation}", "{on: validation, protocols: [dual, code]}", "partly"),
        ("{on: validation}", "{on: validation, protocols: [code]}", "no"),
        ("{on: validation}", "{on: train}", "no"),
        ("{on: validation}", "{on: validation}, {on: train}", "partly"),
    ],
)
def test_numbers_compare_where_the_same_is_measured(load, a, b, answer):
    comparison = compare_experiments([load(f"{VALIDATED}evaluate: [{text}]\n") for text in (a, b)])
    assert verdicts(comparison)[2].answer == answer


def table(**shapes):
    """A table of trained tensors, each named after its part."""
    names = {name.replace("_", ".", 1): shape for name, shape in shapes.items()}
    return TensorTable({n: TensorInfo(shape, 4, n.partition(".")[0], "trainable") for n, shape in names.items()})


def weights_of(load, *tables, **more):
    known = [Known(tensors=each, **more) for each in tables]
    return verdicts(compare_experiments([load(), load("model: {codebook: {size: 10}}\n")]), known)[0]


def test_the_verdict_on_weights_names_the_tensors_that_do_not_load(load):
    before = table(codebook_prototypes=(4000, 256), codebook_used=(2, 4000), text_x=(8,), head_bias=())
    verdict = weights_of(load, before, table(codebook_prototypes=(10, 256), codebook_used=(2, 10), text_x=(8,)))
    assert verdict.answer == "partly"
    assert verdict.reason == (
        "1 of B's 3 tensors; not loaded: codebook (2 reshaped, first codebook.prototypes 4000×256 → 10×256); "
        "head (1 only in A, head.bias scalar)"
    )
    assert set(verdict.details) == {
        "reshaped: codebook.prototypes 4000×256 → 10×256",
        "reshaped: codebook.used 2×4000 → 2×10",
        "only in A: head.bias scalar",
    }


def test_the_same_tensors_load(load):
    same = table(codebook_prototypes=(4, 8))
    assert weights_of(load, same, same).answer == "yes"
    assert "both vocabularies" in weights_of(load, same, same, largest_vocabulary=8000).reason
    assert weights_of(load, same, table(text_x=(8,))).answer == "no"


def test_the_recorded_name_of_a_part_is_preferred_to_that_from_a_header(load):
    header = TensorTable({"codebook.prototypes": TensorInfo((4, 8), 4, "from the header")})
    assert "not loaded: codebook (" in weights_of(load, table(codebook_prototypes=(2, 8)), header).reason


def test_where_tensors_cannot_be_listed_the_verdict_on_weights_names_settings_and_says_why(load):
    comparison = compare_experiments([load(), load("model: {joint_dim: 8}\n")])
    verdict = verdicts(comparison, [Known(), Known(no_tensors="nobody knows")])[0]
    assert verdict.answer == "partly"
    assert verdict.reason == "cannot list tensors: nobody knows; changed: model.joint_dim"


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "optimiser steps", "30 epochs, but a spec does not contain the size of the data"),
        ("", "trainable parameters", "nobody knows"),
        ("model: {vision: {architecture: swin_tiny}}\n", "image tokens", "do not determine"),
    ],
)
def test_what_a_spec_alone_does_not_tell_is_not_guessed(load, text, name, reason):
    known = Known(no_tensors="nobody knows")
    quantity = next(q for q in derived_quantities(load(text).experiment, known) if q.name == name)
    assert quantity.value is None
    assert reason in quantity.unknown


def test_sizes_for_the_largest_vocabulary_are_not_shown_as_those_of_the_model(load):
    known = Known(tensors=table(text_x=(8,)), largest_vocabulary=8000)
    quantity = next(q for q in derived_quantities(load().experiment, known) if q.name == "checkpoint")
    assert quantity.value is None
    assert "at most 8,000 tokens" in quantity.unknown


def test_what_a_run_knows_completes_the_quantities(load):
    text = "train: {duration: 3 epochs, batch_size: 8}\n"
    header = TensorTable({"x": TensorInfo((8,), 4, "x")})
    known = Known(processes=2, steps_per_epoch=7, trainable=6, teacher=5, tensors=header)
    found = {q.name: q.value for q in derived_quantities(load(text).experiment, known)}
    assert found["optimiser steps"] == 21
    assert found["pairs seen"] == 21 * 16
    assert (found["trainable parameters"], found["parameters of the teacher"]) == (6, 5)
    assert found["checkpoint"] == 8 * 4 + 2 * 6 * 4


@pytest.mark.parametrize(
    ("solver", "value"), [("ipot, beta: 0.5, iterations: 50", 0.01), ("sinkhorn, epsilon: 0.2", 0.2)]
)
def test_solvers_say_which_entropic_regularisation_they_have(load, solver, value):
    text = f"model: {{codebook: {{transport: {{solver: {solver}}}}}}}\n"
    quantities = derived_quantities(load(text).experiment)
    assert next(q.value for q in quantities if q.name == "entropic epsilon of the transport") == value


def test_settings_that_are_the_same_are_listed_on_request(load):
    a, b = load(), load("train: {seed: 1}\n")
    assert compare_experiments([a, b]).same == ()
    comparison = compare_experiments([a, b], keep_same=True)
    paths = {d.path for d in comparison.same}
    assert "train.batch_size" in paths
    assert {d.path for d in comparison.differences} == {"train.seed"}
    named = {path.replace("log.to.0.", "log.to[tensorboard].") for path, _, _ in leaves(a.experiment)}
    assert paths == named - {"train.seed"} | {"data.test", "data.validation"}


def test_quantities_follow_from_the_settings(load):
    train = "train: {duration: 5000 steps, batch_size: 16, global_batch_size: 64}\n"
    text = "model: {vision: {image_size: 64, patch_size: 8}}\n" + train
    found = {q.name: q.value for q in derived_quantities(load(text).experiment)}
    assert found["pairs per optimiser step"] == 64
    assert found["forward passes per step on one device"] == 4
    assert found["pairs seen"] == 320_000
    assert found["image tokens"] == 65
    assert found["queue length in steps"] == 1024
    assert found["entropic epsilon of the transport"] == pytest.approx(0.01)
    assert found["half-life of the teacher in steps"] == pytest.approx(138.28, abs=0.01)


def test_a_patch_is_yaml_that_says_only_what_differs(load):
    overlay = patch(load().experiment, load("train: {optimizer: {lr: 2e-4}}\n").experiment)
    assert yaml.safe_load(write_yaml(overlay)) == {"train": {"optimizer": {"lr": 2e-4}}}
