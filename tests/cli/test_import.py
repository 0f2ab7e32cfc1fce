"""`cbalign import albef`: published forms of checkpoints become runs, anything else becomes one message."""

import json
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from cbalign.cli import main
from cbalign.tasks.load import load_model

REFERENCE = Path(__file__).parents[1] / "reference" / "albef-tiny"
HEADS = ("--image-heads", "4", "--text-heads", "4")


@pytest.fixture(scope="module")
def weights():
    return load_file(REFERENCE / "pretrain.safetensors")


@pytest.fixture(scope="module")
def recorded():
    return load_file(REFERENCE / "expected.safetensors")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a vocabulary of the file's 64 words."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *(f"w{i}" for i in range(59))]
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def albef(*words):
    return CliRunner().invoke(main, ["import", "albef", *words])


def imported(content, *options):
    """The JSON document of an import that succeeds."""
    torch.save(content, "ALBEF.pth")
    result = albef("ALBEF.pth", "--tokenizer", "words", "--json", *HEADS, *options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*words):
    """The message of an import that fails as a bad checkpoint; nothing is written."""
    result = albef(*words, *HEADS)
    assert result.exit_code == 3, (result.stderr, result.exception)
    assert not Path("runs").exists()
    assert "Traceback" not in result.stderr
    return result.stderr


def without_teacher_and_queues(weights):
    return {n: t for n, t in weights.items() if "_m." not in n and "queue" not in n}


def as_fine_tuned(weights):
    """As the releases for retrieval are: no teacher, no queues, no `bert.`, no masked-language head."""
    bare = without_teacher_and_queues(weights)
    return {n.replace(".bert.", "."): t for n, t in bare.items() if ".cls." not in n}


FORMS = {
    "training save": lambda w: {"model": w, "epoch": 29, "config": {"queue_size": 16}},
    "bare": lambda w: w,
    "no teacher, no queues": lambda w: {"model": without_teacher_and_queues(w)},
    "fine-tuned release": as_fine_tuned,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_imported_run_computes_the_recorded_features(form, weights, recorded, place):
    document = imported(FORMS[form](weights))
    shutil.move(document["run"], "moved")  # the run stands alone
    encoder = load_model(Path("moved"))
    student = encoder.model.student
    with torch.no_grad():
        image = student.embed_images(student.vision.encode(recorded["pretrain.image"]))
        mask = recorded["pretrain.attention_mask"]
        text = student.embed_texts(student.text(recorded["pretrain.input_ids"], mask), mask)
    torch.testing.assert_close(image, recorded["pretrain.image_feat"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(text, recorded["pretrain.text_feat"], rtol=1e-4, atol=1e-5)
    assert document["unexpected"] == []


def test_a_missing_teacher_is_a_copy_of_the_student(weights, place):
    document = imported(as_fine_tuned(weights))
    model = load_model(Path(document["run"])).model
    student, teacher = model.student.state_dict(), model.teacher.network.state_dict()
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    assert len(document["from_student"]) == len(student)
    assert "image_queue.features" in document["missing"]


def test_teacher_and_queues_of_the_file_are_kept(weights, place):
    model = load_model(Path(imported(weights)["run"])).model
    torch.testing.assert_close(model.image_queue.features, weights["image_queue"].T, rtol=0, atol=0)
    torch.testing.assert_close(
        model.teacher.network.image_projection.weight, weights["vision_proj_m.weight"], rtol=0, atol=0
    )


def test_the_imported_run_encodes_real_words_and_pixels(weights, place):
    encoder = load_model(Path(imported(weights)["run"]))
    texts = encoder.encode_texts(["w3 w4", "w5"])
    images = encoder.encode_images(torch.zeros(2, 64, 64, 3, dtype=torch.uint8).numpy())
    assert texts.embedding.shape == images.embedding.shape == (2, 16)
    assert texts.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]  # no closing [SEP]


def test_what_the_model_has_no_place_for_is_told(weights, place):
    document = imported({**weights, "momentum_head.weight": torch.zeros(2)})
    assert document["unexpected"] == ["momentum_head.weight"]


SPEC = """\
cbalign: 1
name: larger
model:
  vision: {architecture: vit_base_patch16_224, image_size: 96, patch_size: 16, layers: 2, width: 32, heads: 4,
           init: random}
  text: {architecture: bert, layers: 6, max_tokens: 9, init: random}
  fusion: {layers: 6}
  joint_dim: 16
  codebook: {size: 8}
  queue: {length: 32}
data:
  train: {source: json, files: [/nowhere/pairs.json], root: /nowhere}
"""


def write_spec(text=SPEC):
    Path("bert").mkdir(exist_ok=True)
    shutil.copy(REFERENCE / "bert_config.json", "bert/config.json")
    shutil.copy("words/vocab.txt", "bert/vocab.txt")
    Path("spec.yaml").write_text(text.replace("architecture: bert,", "architecture: ./bert,"), encoding="utf-8")


def test_with_a_spec_positions_are_interpolated_and_the_codebook_is_new(weights, place):
    write_spec()
    document = imported(weights, "--spec", "spec.yaml")
    assert any(
        "pos_embed: (1, 17, 32) in the weights, (1, 37, 32) in the model" in each for each in document["reshaped"]
    )
    assert any(each.startswith("image_queue.features: 16 in the file") for each in document["reshaped"])
    assert "objectives.codebook.codebook.prototypes" in document["missing"]
    model = load_model(Path(document["run"])).model
    assert model.student.vision.image_size == 96
    assert int(model.image_queue.filled) == 0


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("text: {architecture: bert, layers: 6", "text: {architecture: bert, layers: 4", "model.text.layers is 4"),
        (
            "joint_dim: 16",
            "joint_dim: 8",
            "student.image_projection.weight: (16, 32) in the weights, (8, 32) in the model",
        ),
    ],
)
def test_a_spec_of_other_sizes_is_refused(before, after, message, weights, place):
    write_spec(SPEC.replace(before, after))
    torch.save(weights, "ALBEF.pth")
    assert message in refused("ALBEF.pth", "--spec", "spec.yaml")


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_pickled_code_is_refused_and_does_not_run(place, capfd):
    Path("evil.pth").write_bytes(pickle.dumps({"model": Harmful()}, protocol=2))
    torch.save({"model": Harmful()}, "evil-zip.pth")
    for file in ("evil.pth", "evil-zip.pth"):
        assert file in refused(file)
    assert "code ran" not in capfd.readouterr().out


def test_a_truncated_file_is_refused(weights, place):
    torch.save(weights, "whole.pth")
    Path("half.pth").write_bytes(Path("whole.pth").read_bytes()[:20_000])
    assert "half.pth" in refused("half.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {"layer.weight": torch.zeros(2)}, "is not an ALBEF checkpoint"),
        (lambda w: {}, "is not an ALBEF checkpoint"),
        (lambda w: {**w, "cls_head.0.weight": torch.zeros(2)}, "NLVR2 or SNLI-VE"),
        (lambda w: {**w, "text_decoder.bert.x": torch.zeros(2)}, "visual question answering"),
        (lambda w: {n: t for n, t in w.items() if "crossattention" not in n}, "cross-attention"),
        (lambda w: {n: t for n, t in w.items() if n != "visual_encoder.norm.weight"}, "missing"),
        (lambda w: {**w, "vision_proj.bias": torch.zeros(3)}, "student.image_projection.bias: (3,) in the weights"),
        (lambda w: {**w, "visual_encoder.pos_embed": torch.zeros(17, 32)}, "pos_embed"),
        (lambda w: {**w, "visual_encoder.pos_embed": torch.zeros(1, 19, 32)}, "no square"),
        (
            lambda w: {**w, "visual_encoder_m.pos_embed": torch.zeros(1, 19, 32)},
            "pos_embed: (1, 19, 32) in the weights",
        ),
    ],
)
def test_another_model_is_refused_with_what_is_wrong(change, message, weights, place):
    torch.save(change(weights), "other.pth")
    told = refused("other.pth", "--tokenizer", "words")
    assert message in told
    assert "other.pth" in told


ADVICE = ("weights_only", "arbitrary code", "Re-running", "add_safe_globals")


@pytest.mark.parametrize("form", ["empty", "bare pickle", "script", "tar", "zeros", "text"])
def test_a_file_that_torch_refuses_is_one_message_without_advice_to_load_it_unsafely(form, place):
    path = Path("odd.pth")
    if form == "bare pickle":
        path.write_bytes(pickle.dumps([1, Path("x")]))
    elif form == "script":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    elif form == "tar":
        with tarfile.open(path, "w") as tar:
            tar.add("words")
    else:
        path.write_bytes({"empty": b"", "zeros": bytes(2000), "text": b"hello"}[form])
    told = refused("odd.pth")
    assert "odd.pth" in told
    assert [word for word in ADVICE if word in told] == []


def quantised(tensor):
    return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)


def with_nan(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[0] = float("nan")
    return tensor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), "is sparse"),
        (lambda t: t.to("meta"), "is on the device meta"),
        (quantised, "is quantised"),
        (lambda t: t.to(torch.complex64), "is complex"),
        (with_nan, "holds NaN in 1 of"),
        (lambda t: t / 0, "holds"),
    ],
)
def test_a_tensor_that_cannot_be_a_weight_is_named(change, message, weights, place):
    name = "vision_proj.weight"
    torch.save({**weights, name: change(weights[name])}, "odd.pth")
    told = refused("odd.pth", "--tokenizer", "words")
    assert name in told
    assert message in told


def test_infinite_values_of_a_mask_are_accepted(weights, place):
    imported({**weights, "visual_encoder.attn_mask": torch.full((2, 2), float("-inf"))})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue_ptr", torch.zeros(3, dtype=torch.int64)),
        ("queue_ptr", torch.zeros(1)),
        (f"text_encoder.bert.encoder.layer.{'9' * 5000}.x", torch.zeros(2)),
        (f"visual_encoder.blocks.{'9' * 900}.x", torch.zeros(2)),
    ],
)
def test_a_number_that_no_model_has_is_refused(name, value, weights, place):
    torch.save({**weights, name: value}, "odd.pth")
    assert len(refused("odd.pth", "--tokenizer", "words")) < 2000


def test_thousands_of_unknown_names_are_counted(weights, place):
    torch.save({**weights, **{f"unknown.{i}.weight": torch.zeros(1) for i in range(10_000)}}, "odd.pth")
    result = albef("odd.pth", "--tokenizer", "words", *HEADS)
    assert result.exit_code == 0, result.stderr
    assert "9,950 more" in result.stderr
    assert len(result.stderr) < 10_000


def test_a_device_is_told_from_a_missing_file(place):
    assert "/dev/null is not a regular file" in refused("/dev/null")
    assert "gone.pth does not exist" in refused("gone.pth")


def test_the_vocabulary_has_to_be_that_of_the_word_embeddings(weights, place):
    torch.save(weights, "ALBEF.pth")
    assert "embeddings of 64 words" in refused("ALBEF.pth")
    words = Path("words/vocab.txt")
    words.write_text(words.read_text() + "one-more\n")
    assert "tokenizer has 65 words" in refused("ALBEF.pth", "--tokenizer", "words")


def test_heads_that_no_shape_tells_are_asked_for(weights, place):
    torch.save(weights, "ALBEF.pth")
    result = albef("ALBEF.pth", "--tokenizer", "words")
    assert result.exit_code == 3
    assert "--image-heads" in result.stderr


def test_a_full_disk_leaves_no_run(weights, place, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    torch.save(weights, "ALBEF.pth")
    monkeypatch.setattr("cbalign.engine.checkpoint.save_file", full)
    result = albef("ALBEF.pth", "--tokenizer", "words", *HEADS)
    assert result.exit_code == 3
    assert "o space" in result.stderr or "disk is full" in result.stderr
    assert list(Path("runs").iterdir()) == []


TRAINING = """\
train: {duration: 2 steps, batch_size: 2, precision: fp32, device: cpu, schedule: {warmup: 0 steps}}
"""


def test_an_imported_run_can_be_trained_on(weights, place):
    Image.new("RGB", (8, 8), "red").save("a.png")
    Image.new("RGB", (8, 8), "blue").save("b.png")
    Path("pairs.csv").write_text("image,caption\na.png,w1 w2\nb.png,w3\n")
    data = "data:\n  train: {source: csv, files: [pairs.csv]}\n"
    write_spec(SPEC[: SPEC.index("data:")] + data + TRAINING)
    run = imported(weights, "--spec", "spec.yaml")["run"]
    before = load_model(Path(run)).model.student.image_projection.weight.clone()
    result = CliRunner().invoke(main, ["train", run])
    assert result.exit_code == 0, result.stderr
    assert (Path(run) / "checkpoints" / "step-2").is_dir()
    after = load_model(Path(run)).model.student.image_projection.weight
    assert 0 < float((after - before).detach().abs().max()) < 1e-3  # two small steps away from the imported weights
