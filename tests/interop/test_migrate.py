"""Conversion of other tools' configurations and of older specs."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cbalign.cli import main
from cbalign.experiment.load import load_experiment

RECIPE = """
optimizer: {opt: adamW, lr: 1e-5, weight_decay: 0.02}
schedular: {sched: cosine, lr: 1e-5, epochs: 10, min_lr: 1e-6, decay_rate: 1, warmup_lr: 1e-5, warmup_epochs: 1,
            cooldown_epochs: 0}
"""
ALBEF = {
    "pretrain": "train_file: [coco.json, vg.json]\nbert_config: c.json\nimage_res: 256\n"
    "vision_width: 768\nembed_dim: 256\n"
    "batch_size: 64\ntemp: 0.07\nmlm_probability: 0.15\nqueue_size: 65536\nmomentum: 0.995\nalpha: 0.4\n"
    "optimizer: {opt: adamW, lr: 1e-4, weight_decay: 0.02}\n"
    "schedular: {sched: cosine, lr: 1e-4, epochs: 30, min_lr: 1e-5, decay_rate: 1, warmup_lr: 1e-5, warmup_epochs: 20,"
    " cooldown_epochs: 0}\n",
    "retrieval": "train_file: [t.json]\nval_file: v.json\ntest_file: s.json\n"
    "image_root: /pictures/\nbert_config: c.json\n"
    "image_res: 384\nbatch_size_train: 32\nbatch_size_test: 64\nqueue_size: 65536\nmomentum: 0.995\nvision_width: 768\n"
    f"embed_dim: 256\ntemp: 0.07\nk_test: 128\nalpha: 0.4\ndistill: True\nwarm_up: True\n{RECIPE}",
    "vqa": "train_file: [vqa_train.json]\ntest_file: [vqa_test.json]\nanswer_list: a.json\nvqa_root: /v\nvg_root: /g\n"
    f"image_res: 384\nbatch_size_train: 32\nbatch_size_test: 16\nk_test: 128\nalpha: 0.4\n"
    f"distill: True\neos: '[SEP]'\n{RECIPE}",
    "nlvr": "train_file: [nlvr_train.json]\nval_file: [nlvr_dev.json]\ntest_file: [nlvr_test.json]\nimage_root: /n\n"
    f"image_res: 384\nbatch_size: 16\nalpha: 0.4\ndistill: True\nwarm_up: True\neval_ema: False\n{RECIPE}",
    "ve": "train_file: ve_train.json\nval_file: ve_dev.json\ntest_file: ve_test.json\nimage_root: /f\nimage_res: 384\n"
    f"batch_size_train: 32\nbatch_size_test: 64\nalpha: 0.4\ndistill: True\nwarm_up: False\n{RECIPE}",
    "grounding": "train_file: [r.json]\ntest_file: [s.json]\nrefcoco_data: d\ndet_file: d.json\ncoco_file: c.json\n"
    f"image_root: /c\nimage_res: 384\nbatch_size: 32\nqueue_size: 65536\nmomentum: 0.995\nalpha: 0.4\n{RECIPE}",
}
LAVIS = """
model: {arch: albef_retrieval, model_type: flickr, load_finetuned: False, queue_size: 65536}
datasets:
  flickr30k: # a builder
    vis_processor: {train: {name: blip_image_train, image_size: 384}}
    text_processor: {train: {name: blip_caption}}
run:
  task: retrieval
  lr_sched: linear_warmup_cosine_lr
  init_lr: 1e-5
  min_lr: 1e-6
  warmup_lr: 1e-6
  warmup_steps: 300
  weight_decay: 0.02
  max_epoch: 10
  batch_size_train: 32
  batch_size_eval: 64
  valid_splits: [val, test]
  test_splits: [test]
  device: cuda
  world_size: 1
  k_test: 128
  output_dir: output/x
"""
PARAMS = """\
accum_freq: 2
aug_cfg: {'scale': (0.8, 1.0)}
batch_size: 256
beta1: 0.9
beta2: 0.98
checkpoint_path: ./logs/x
dataset_type: webdataset
epochs: 32
eps: 1e-06
grad_clip_norm: None
lock_image: True
lr: 0.0005
lr_scheduler: cosine
model: ViT-B-16
name: 2026_01_01 b
precision: amp
train_data: /data/{00000..00331}.tar::/more/{00..12}.tar
val_data: /val.tar
warmup: 2000
wd: 0.2
world_size: 4
"""
FLAGS = """\
torchrun --nproc_per_node 4 -m open_clip_train.main \\
    --train-data="/data/cc.csv" --csv-separator , --csv-caption-key caption \\
    --lr=1e-3 --batch-size 128 \\
    --model RN50 --siglip  # a comment
"""
VIT = json.dumps(
    {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    }
)
OLD = """\
# yaml-language-server: $schema=x.json
# Mine, long ago.
name: mine  # a name
data: {train: {source: openmoji, split: train}}
train:
  # how long
  epochs: 30  # enough
  lr: 1e-4  # found by search
  batch_size: 8
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def migrate(text, *arguments, file="config.yaml"):
    Path(file).write_text(text)
    return CliRunner().invoke(main, ["migrate", file, *arguments])


def migrated(text, **extra):
    """The experiment that comes out, and the account."""
    result = migrate(text, "--output", "spec.yaml", "--force", **extra)
    assert (result.exit_code, result.stdout) == (0, "spec.yaml\n"), result.output
    return load_experiment("spec.yaml", check_files=False).experiment, result.stderr


@pytest.mark.parametrize(
    "text", [*ALBEF.values(), LAVIS, PARAMS, FLAGS, VIT, OLD], ids=[*ALBEF, "lavis", "params", "flags", "json", "old"]
)
def test_what_comes_out_is_a_spec_and_stdout_holds_nothing_else(text):
    Path("spec.yaml").write_text(migrate(text).stdout)
    load_experiment("spec.yaml", check_files=False)


def test_albefs_warm_up_is_counted_in_hundreds_of_steps():
    spec, account = migrated(ALBEF["pretrain"])
    assert spec.train.schedule.model_dump() == {
        "kind": "cosine", "warmup": "2000 steps", "warmup_lr": 1e-5, "final_lr": 1e-5, "updates": "epoch",
    }  # fmt: skip
    assert "schedular.warmup_epochs 20 → train.schedule.warmup: 2000 steps (ALBEF's unit is 100 steps" in account


def test_albefs_pretraining_is_the_recipe_of_the_paper():
    spec, account = migrated(ALBEF["pretrain"])
    recipe = load_experiment("paper/pretrain-4m-albef", check_files=False).experiment
    assert spec.model == recipe.model
    assert (spec.train.optimizer, spec.train.schedule) == (recipe.train.optimizer, recipe.train.schedule)
    assert spec.data.augmentation == recipe.data.augmentation
    assert spec.objectives.contrastive.model_dump(exclude={"reduction"}) == recipe.objectives.contrastive.model_dump(
        exclude={"reduction"}
    )
    assert spec.objectives.matching == recipe.objectives.matching
    assert "vision_width" not in account


def test_albefs_retrieval_is_measured_by_its_protocol():
    spec, _ = migrated(ALBEF["retrieval"])
    assert [(e.on, e.protocols, e.top_k, e.batch_size) for e in spec.evaluate] == [
        ("validation", ("dual", "rerank"), 128, 64), ("test", ("dual", "rerank"), 128, 64),
    ]  # fmt: skip
    assert (spec.objectives.masked_language.weight, spec.objectives.contrastive.positives) == (0, "image")
    assert spec.data.validation.root == "/pictures"


@pytest.mark.parametrize(("name", "left"), [("vqa", "eos"), ("nlvr", "eval_ema"), ("grounding", "det_file")])
def test_what_has_no_place_is_said_with_its_line(name, left):
    _, account = migrated(ALBEF[name].replace("eval_ema: False", "eval_ema: True"))
    line = ALBEF[name].splitlines().index(next(t for t in ALBEF[name].splitlines() if t.startswith(left))) + 1
    assert f"config.yaml:{line}  {left}" in account.partition("not converted:")[2]


@pytest.mark.parametrize(
    ("name", "kind", "source", "measured"),
    [
        ("retrieval", "retrieval", "json", [("retrieval", "validation"), ("retrieval", "test")]),
        ("vqa", "vqa", "albef-vqa", [("vqa", "test")]),
        ("nlvr", "nlvr2", "nlvr2", [("accuracy", "validation"), ("accuracy", "test")]),
        ("ve", "entailment", "snli-ve", [("accuracy", "validation"), ("accuracy", "test")]),
    ],
)
def test_albefs_fine_tuning_is_the_task_it_is(name, kind, source, measured):
    spec, account = migrated(ALBEF[name])
    assert (spec.task.kind, spec.data.train.source) == (kind, source)
    assert [(e.kind, e.on) for e in spec.evaluate] == measured
    assert "cbalign has no" not in account


def test_every_line_says_where_it_is_from():
    text = migrate(ALBEF["pretrain"]).stdout
    assert "length: 65536                     " in text
    assert "# config.yaml:9 queue_size" in text
    assert "# ALBEF's code: no codebook" in text


def test_an_optimiser_that_cbalign_lacks_is_not_passed_over():
    _, account = migrated(ALBEF["pretrain"].replace("adamW", "lamb").replace("sched: cosine", "sched: step"))
    dropped = account.partition("not converted:")[2]
    assert "optimizer.opt lamb: cbalign trains with AdamW" in dropped
    assert "schedular.sched step: cbalign has cosine" in dropped


def test_lavis_sections_are_read_and_its_splits_measured():
    spec, account = migrated(LAVIS)
    assert (spec.train.schedule.warmup, spec.train.schedule.warmup_lr) == ("300 steps", 1e-6)
    assert (spec.model.vision.image_size, spec.model.text.closing_sep, spec.model.teacher.ramp_epochs) == (384, True, 2)
    assert [evaluation.on for evaluation in spec.evaluate] == ["validation", "test"]
    assert "run.output_dir output/x: an option of the command" in account


def test_lavis_models_that_are_no_albef_are_refused():
    result = migrate(LAVIS.replace("albef_retrieval", "blip2_opt"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cbalign cannot train LAVIS's model.arch blip2_opt" in result.stderr


def test_open_clips_params_are_read_as_python_wrote_them():
    spec, account = migrated(PARAMS, file="params.txt")
    assert spec.name == "2026_01_01-b"
    assert spec.train.global_batch_size == 256 * 2 * 4
    assert spec.data.train.shards[1].endswith("/more/{00..12}.tar")
    assert spec.data.augmentation.crop_scale == (0.8, 1.0)
    assert (spec.train.optimizer.betas, spec.train.clip_norm, spec.train.duration) == ((0.9, 0.98), None, "32 epochs")
    assert (spec.model.vision.layers, spec.model.text.width, spec.model.joint_dim) == (12, 512, 512)
    assert "lock_image true: no counterpart in cbalign" in account


def test_open_clips_flags_are_read_from_a_command_line_with_their_defaults():
    spec, account = migrated(FLAGS, file="train.sh")
    assert (spec.data.train.caption, spec.data.train.delimiter, spec.data.train.image) == ("caption", ",", "filepath")
    assert (spec.train.optimizer.lr, spec.train.optimizer.weight_decay, spec.train.batch_size) == (1e-3, 0.2, 128)
    assert spec.train.optimizer.betas == (0.9, 0.999)
    assert "train.sh:4  siglip true: cbalign's contrastive loss is a softmax" in account


def test_open_clips_model_configuration_gives_the_towers():
    spec, _ = migrated(VIT, file="ViT-B-16.json")
    vision, text = spec.model.vision, spec.model.text
    assert (vision.layers, vision.width, vision.heads, vision.patch_size) == (12, 768, 12, 16)
    assert (text.layers, text.width, text.intermediate, text.max_tokens) == (12, 512, 2048, 77)


def test_an_older_spec_keeps_its_comments_and_its_layout():
    assert migrate(OLD).stdout.splitlines() == [
        "# yaml-language-server: $schema=x.json",
        "# Mine, long ago.",
        "cbalign: 1",
        "name: mine  # a name",
        "data: {train: {source: openmoji, split: train}}",
        "train:",
        "  # how long",
        "  duration: 30 epochs # enough",
        "  optimizer:",
        "    lr: 1e-4 # found by search",
        "  batch_size: 8",
    ]


def test_a_spec_of_this_format_is_left_alone_byte_for_byte():
    text = "cbalign:   1\nname: x\ndata: {train: {source: openmoji, split: train}}  # why\n"
    result = migrate(text)
    assert result.stdout == text
    assert "already has the newest format" in result.stderr


def test_without_ruamel_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    result = migrate(OLD)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pip install 'cbalign[migrate]'" in result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\n", "is neither a configuration of ALBEF, LAVIS or open_clip nor a spec"),
        ("- a\n", "contains no settings"),
        ("train_file: [a\nb: 1\n", "a list that began with `[` is not closed"),
        ("cbalign: 7\n", "the spec has format 7"),
        ("cbalign: x\n", "`cbalign` must be the number of a format"),
        (f"{OLD}  duration: 3 epochs\n", "both train.epochs and train.duration are set"),
        (f"{OLD}  sede: 3\n", "has no setting `sede`"),
        (ALBEF["pretrain"].replace("image_res: 256", "image_res: 250"), "image_size 250 is not a multiple"),
        (ALBEF["pretrain"].replace("epochs: 30", "epochs: many"), "not converted"),
    ],
)
def test_what_cannot_be_migrated_is_one_message(text, told):
    result = migrate(text)
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert result.exit_code == (0 if told == "not converted" else 2)


def test_nothing_is_overwritten_unasked():
    Path("spec.yaml").write_text("mine")
    assert migrate(VIT, "--output", "spec.yaml").exit_code == 2
    assert Path("spec.yaml").read_text() == "mine"
    assert migrate(ALBEF["pretrain"].replace("256", "250"), "--output", "spec.yaml", "--force").exit_code == 2
    assert Path("spec.yaml").read_text() == "mine"


def test_json_is_one_document_with_the_spec_and_the_account():
    document = json.loads(migrate(ALBEF["pretrain"], "--json", "--name", "mine").stdout)
    warmup = next(line for line in document["carried"] if line["key"] == "schedular.warmup_epochs")
    assert {key: warmup[key] for key in ("file", "given", "path", "value")} == {
        "file": "config.yaml", "given": 20, "path": "train.schedule.warmup", "value": "2000 steps",
    }  # fmt: skip
    assert "name: mine" in document["spec"]
    assert (document["tool"], document["output"]) == ("albef", None)


@pytest.mark.parametrize("name", ["convnext_tiny", "EVA02-B-16", "ViT-SO400M-14-SigLIP-384", "ViTamin-S"])
def test_image_towers_of_timm_in_open_clip_can_be_built(name, tmp_path):
    import open_clip
    import torch

    config = Path(open_clip.__path__[0]) / "model_configs" / f"{name}.json"
    result = CliRunner().invoke(main, ["migrate", str(config), "--output", str(tmp_path / "m.yaml")])
    assert result.exit_code == 0, result.stderr
    vision = load_experiment(tmp_path / "m.yaml", check_files=False).experiment.model.vision
    with torch.device("meta"):
        assert vision.build(False).image_size == vision.image_size


@pytest.mark.parametrize(("name", "architecture"), [("RN50", "resnet50_clip"), ("RN101-quickgelu", "resnet101_clip")])
def test_a_resnet_stays_a_resnet(name, architecture):
    import open_clip

    result = CliRunner().invoke(main, ["migrate", str(Path(open_clip.__path__[0]) / "model_configs" / f"{name}.json")])
    assert result.exit_code == 0, result.stderr
    assert f"architecture: {architecture}" in result.stdout
    assert "patch_size" not in result.stdout


def test_the_folder_of_an_older_spec_is_not_written_to(tmp_path, monkeypatch):
    (tmp_path / "m.yaml").write_text(OLD)
    before = tmp_path.stat().st_mtime_ns
    result = CliRunner().invoke(main, ["migrate", str(tmp_path / "m.yaml")])
    assert result.exit_code == 0, result.stderr
    assert tmp_path.stat().st_mtime_ns == before
