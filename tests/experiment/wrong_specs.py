"""Specs with mistakes, by name. What cbalign says of each is in golden/NAME.txt."""

from __future__ import annotations

from dataclasses import dataclass, field

HEAD = "cbalign: 1\nname: wrong\ndata:\n  train: {source: openmoji, split: train}\n"


@dataclass(frozen=True)
class Wrong:
    """A spec, what stands beside it, and what it is loaded with."""

    text: str | bytes
    overrides: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


WRONG = {
    # Not a spec at all.
    "empty": Wrong(""),
    "only_comments": Wrong("# nothing\n\n---\n"),
    "a_list": Wrong("- cbalign: 1\n- name: x\n"),
    "a_sentence": Wrong("hello world\n"),
    "utf16": Wrong("cbalign: 1\n".encode("utf-16")),
    "latin1": Wrong("cbalign: 1\nname: x\ndescription: caf\xe9\n".encode("latin-1")),
    "control_character": Wrong(HEAD + "description: 'a\x07b'\n"),
    "two_documents": Wrong(HEAD + "---\nname: second\n"),
    "too_long": Wrong("#" * 300_000),
    # YAML that went wrong.
    "tab_indent": Wrong("cbalign: 1\ntrain:\n\tseed: 1\n"),
    "unclosed_bracket": Wrong(HEAD + "export: {precisions: [fp32\n"),
    "unclosed_quote": Wrong(HEAD + "description: 'it is\n"),
    "colon_in_text": Wrong(HEAD + "description: this: that\n"),
    "bad_indent": Wrong("cbalign: 1\ntrain:\n    seed: 1\n  batch_size: 2\n"),
    "no_space_after_colon": Wrong(HEAD + "train: {seed:1}\n"),
    "no_space_in_block": Wrong(HEAD + "train:\n  seed:1\n  batch_size: 2\n"),
    "percent_at_start": Wrong(HEAD + "train:\n  schedule: {warmup: %5}\n"),
    "duplicate_key": Wrong(HEAD + "train:\n  seed: 1\n  batch_size: 2\n  seed: 3\n"),
    "duplicate_key_in_line": Wrong(HEAD + "train: {seed: 1, seed: 1}\n"),
    "tag": Wrong(HEAD + "train: {seed: !!python/object/apply:os.system [ls]}\n"),
    "string_tag": Wrong(HEAD + "description: !!str 5\n"),
    "merge_key": Wrong(HEAD + "model:\n  vision: &v {layers: 2}\n  text:\n    <<: *v\n"),
    "unknown_alias": Wrong(HEAD + "train: {seed: *other}\n"),
    "recursive_alias": Wrong(HEAD + "evaluate: &e [*e]\n"),
    "alias_bomb": Wrong(
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcde", "bcdef"))
    ),
    "too_deep": Wrong(HEAD + "evaluate: " + "[" * 5000 + "]" * 5000 + "\n"),
    "half_a_character": Wrong(HEAD + 'description: "\\ud83d"\n'),
    "complex_key": Wrong(HEAD + "? [a, b]\n: 1\n"),
    "infinity": Wrong(HEAD + "train: {optimizer: {lr: .inf, weight_decay: .nan, eps: 1e999}}\n"),
    "endless_hexadecimal": Wrong(HEAD + f"train: {{seed: 0x{'f' * 5000}, optimizer: {{lr: 0o{'7' * 500}}}}}\n"),
    "endless_number": Wrong(HEAD + f"train: {{seed: {'9' * 5000}}}\n"),
    # The best checkpoint.
    "best_of_no_metric": Wrong(
        HEAD + "  validation: {source: openmoji, split: validation}\ntrain: {keep_best: validation/accuracy}\n"
        "evaluate: [{on: validation, protocols: [dual, code]}]\n"
    ),
    "best_of_several_metrics": Wrong(
        HEAD + "  validation: {source: openmoji, split: validation}\ntrain: {keep_best: r1}\n"
        "evaluate: [{on: validation}]\n"
    ),
    "best_of_nothing": Wrong(HEAD + "train: {keep_best: validation/dual/image_to_text/r1}\n"),
    # Keys.
    "misspelt_key": Wrong(HEAD + "train:\n  optimizer: {lerning_rate: 1e-4}\n  sed: 3\n"),
    "key_of_another_section": Wrong(HEAD + "train:\n  lr: 1e-4\nmomentum: 0.9\n"),
    "key_of_another_tool": Wrong(HEAD + "schedular: {}\ntrain:\n  epochs: 30\n  max_grad_norm: 1.0\n"),
    "key_of_another_kind": Wrong(HEAD + "train:\n  schedule: {kind: constant, final_lr: 0.0}\n"),
    "key_that_is_a_number": Wrong(HEAD + "1: one\n"),
    "nested_extends": Wrong(HEAD + "train: {extends: base.yaml}\n"),
    "missing_keys": Wrong("name: x\ntrain: {seed: 1}\n"),
    "missing_split": Wrong("cbalign: 1\nname: x\ndata:\n  train: {source: openmoji}\n"),
    "missing_source": Wrong("cbalign: 1\nname: x\ndata:\n  train: {split: train}\n"),
    "other_format": Wrong("cbalign: 2\nname: x\nnew: thing\n"),
    "format_as_text": Wrong("cbalign: one\nname: x\ndata: {train: {source: openmoji, split: train}}\n"),
    # Values.
    "number_as_text": Wrong(HEAD + "train:\n  optimizer: {lr: '1e-4'}\n  seed: 1_000\n"),
    "text_as_number": Wrong(HEAD + "model:\n  text: {architecture: 5}\ndescription: 12\n"),
    "yes_for_true": Wrong(HEAD + "objectives: {contrastive: {intra_modal: yes}}\n"),
    "fraction": Wrong(HEAD + "train: {batch_size: 64.0, seed: 0.5}\n"),
    "out_of_range": Wrong(HEAD + "train: {batch_size: 0}\nmodel: {text: {dropout: 1.5, max_tokens: 1000}}\n"),
    "duration_without_unit": Wrong(HEAD + "train: {duration: 30, schedule: {warmup: 5 minutes}}\n"),
    "wrong_choice": Wrong(HEAD + "train: {precision: BF16}\nobjectives: {codebook: {target: crossed}}\n"),
    "not_a_typing_error": Wrong(HEAD + "model: {text: {tokenizer: trained, init: random}}\n"),
    "wrong_kind": Wrong(HEAD + "train: {schedule: {kind: cosin}}\nmodel: {codebook: {transport: {solver: [ipot]}}}\n"),
    "wrong_device": Wrong(HEAD + "train: {device: gpu}\n"),
    "list_for_value": Wrong(HEAD + "train: {seed: [1, 2, 3], batch_size: {a: 1}}\n"),
    "value_for_list": Wrong(HEAD + "export: {graphs: image, precisions: fp32}\nevaluate: retrieval\n"),
    "section_for_list": Wrong(HEAD + "evaluate:\n  kind: retrieval\n  on: test\n"),
    "list_of_values": Wrong(HEAD + "evaluate: [5]\n"),
    "misspelt_shorthand": Wrong(
        HEAD + "model: {codebook: {transport: sinkhorm}}\ntrain: {schedule: constnt}\nexport: {targets: [tritn]}\n"
    ),
    "shorthand_of_what_has_no_kinds": Wrong(HEAD + "model: {fusion: deep, queue: long}\n"),
    "unknown_parts": Wrong(
        HEAD + "objectives: {sigmoid: {weight: 1.0}}\nlog: {to: [wandb]}\nexport: {precisions: [fp8]}\n"
        "model: {codebook: {transport: {solver: gromov}}}\n"
    ),
    "missing_plugin": Wrong(
        HEAD + 'requires: [cbalign-nowhere>=1.0, "not a thing!"]\nobjectives: {nowhere: {weight: 1.0}}\n'
    ),
    "requires_no_text": Wrong(HEAD + "requires: [1.0]\n"),
    "value_for_section": Wrong(HEAD + "train: fast\n"),
    "empty_section": Wrong(HEAD + "train:\n  # seed: 1\nmodel:\n"),
    "empty_list": Wrong(HEAD + "export: {precisions: []}\n"),
    "wrong_item": Wrong(HEAD + "export: {graphs: [image, txt], precisions: [fp32, fp17]}\n"),
    "wrong_length": Wrong(HEAD + "train: {optimizer: {betas: [0.9]}}\n"),
    "too_many": Wrong(HEAD + "train: {optimizer: {betas: [0.9, 0.99, 0.999]}}\n"),
    "bad_name": Wrong("cbalign: 1\nname: my experiment\ndata: {train: {source: openmoji, split: train}}\n"),
    "long_delimiter": Wrong(
        "cbalign: 1\nname: x\ndata:\n  train: {source: csv, files: [pairs.csv], delimiter: '||'}\n",
        files={"pairs.csv": "image,caption\n"},
    ),
    "wide_characters": Wrong(HEAD + "description: 日本語 # 説明\ntrain: {precision: 半精度}\n"),
    "graph_of_another_task": Wrong(HEAD + "export: {graphs: [image, text, answer]}\n"),
    "long_line": Wrong(HEAD + f"description: {'long ' * 60}\nexport: {{graphs: all, {' ' * 130}opst: 5}}\n"),
    # Rules between settings.
    "patch_of_the_architecture": Wrong(HEAD + "model:\n  vision: {image_size: 225}\n"),
    "batch_not_multiple": Wrong(HEAD + "train:\n  batch_size: 48\n  global_batch_size: 512\n"),
    "heads_not_divisor": Wrong(HEAD + "model:\n  vision:\n    width: 100\n    heads: 3\n"),
    "patch_not_divisor": Wrong(HEAD + "model: {vision: {image_size: 250, patch_size: 16}}\n"),
    "stem_of_an_odd_patch": Wrong(
        HEAD + "model: {vision: {image_size: 252, patch_size: 12, stem: convolutions, init: random}}\n"
    ),
    "stem_without_weights": Wrong(HEAD + "model: {vision: {stem: convolutions}}\n"),
    "pretrained_but_changed": Wrong(HEAD + "model: {text: {width: 128}}\n"),
    "warmup_too_long": Wrong(HEAD + "train: {duration: 100 steps}\n"),
    "zero_duration": Wrong(HEAD + "train: {log_every: 0 steps}\n"),
    "nothing_to_learn": Wrong(
        HEAD
        + "objectives:\n"
        + "".join(f"  {n}: {{weight: 0}}\n" for n in ("contrastive", "codebook", "matching", "masked_language"))
    ),
    "classes_without_templates": Wrong(HEAD + "evaluate:\n  - {kind: zero_shot, on: train, classes: [cat, dog]}\n"),
    "template_without_class": Wrong(HEAD + "evaluate:\n  - {kind: zero_shot, on: train, templates: [a photo]}\n"),
    "foils_of_a_source_without": Wrong(HEAD + "evaluate:\n  - {kind: compositional, on: train}\n"),
    "foils_without_images": Wrong(
        HEAD + "evaluate:\n  - {kind: compositional, foils: foils.json, images: gone}\n", files={"foils.json": "[]"}
    ),
    "evaluation_of_another_task": Wrong(HEAD + "evaluate:\n  - {kind: vqa, on: train}\n"),
    "evaluates_missing_split": Wrong(HEAD + "evaluate:\n  - {kind: retrieval, on: test}\n"),
    "reranks_without_head": Wrong(
        HEAD + "  validation: {source: openmoji, split: validation}\nobjectives: {matching: {weight: 0}}\n"
        "evaluate:\n  - {kind: retrieval, protocols: [dual, rerank]}\n"
    ),
    "other_items": Wrong(HEAD + "task: {kind: nlvr2}\n"),
    "other_evaluation": Wrong(
        HEAD + "  validation: {source: openmoji, split: validation}\nevaluate: [{kind: accuracy}]\n"
    ),
    "no_start": Wrong(HEAD + "init: {}\n"),
    "no_such_run": Wrong(HEAD + "init: {run: runs/gone}\n"),
    "crop_scale_falls": Wrong(HEAD + "  augmentation: {crop_scale: [1.0, 0.2]}\n"),
    # Files.
    "missing_files": Wrong(
        "cbalign: 1\nname: x\ndata:\n  train:\n    source: json\n"
        "    files: [trian.json, gone/val.json]\n    root: pictures\n",
        files={"train.json": "[]"},
    ),
    "missing_shards": Wrong(
        "cbalign: 1\nname: x\ndata:\n  train: {source: webdataset, shards: ['{00..09}.tar', x.tar]}\n",
        files={"03.tar": ""},
    ),
    "shard_ranges": Wrong(
        "cbalign: 1\nname: x\ndata:\n  train:\n    source: webdataset\n"
        "    shards: ['{9..1}.tar', '{0..999999999999}.tar', '{000..999}/{000..999}.tar']\n"
    ),
    "missing_weights": Wrong(HEAD + "model: {vision: {init: ./deit.pth}}\n"),
    "extends_missing": Wrong("extends: bsae.yaml\nname: x\n", files={"base.yaml": HEAD}),
    "extends_circle": Wrong(
        "extends: a.yaml\nname: x\n", files={"a.yaml": "extends: b.yaml\n", "b.yaml": "extends: a.yaml\n"}
    ),
    "extends_conflict_of_lists": Wrong(
        "extends: [a.yaml, b.yaml]\nname: x\n",
        files={name: HEAD + f"evaluate: [{{on: train, top_k: {k}}}]\n" for name, k in (("a.yaml", 1), ("b.yaml", 2))},
    ),
    "extends_number": Wrong("extends: [5]\nname: x\n"),
    "extends_conflict": Wrong(
        "extends: [a.yaml, b.yaml]\nname: x\n",
        files={
            "a.yaml": HEAD + "train: {seed: 1, batch_size: 8}\n",
            "b.yaml": HEAD + "train: {seed: 2, batch_size: 8}\n",
        },
    ),
    "mistake_in_base": Wrong("extends: base.yaml\nname: x\n", files={"base.yaml": HEAD + "train: {sede: 1}\n"}),
    "broken_base": Wrong("extends: base.yaml\nname: x\n", files={"base.yaml": "a: [\n"}),
    # Changes from outside.
    "set_unknown": Wrong(HEAD, overrides=("train.optimzer.lr=1", "tran.seed=3")),
    "set_wrong_type": Wrong(HEAD, overrides=("train.seed=many", "train.optimizer.lr=[1]")),
    "set_and_written": Wrong(
        HEAD + "train: {sede: 1}\n", overrides=("train.optimzer.lr", "~train.precison", "train.seed=x")
    ),
    "set_malformed": Wrong(HEAD, overrides=("train.seed", "=5", "a..b=1", "~train.seed=1", "train.seed=[1")),
    "set_no_such_item": Wrong(
        HEAD,
        overrides=("evaluate.0.top_k=5", "evaluate.first.top_k=5", "+train.seed=5", "~train.sede"),
    ),
    "env_unset": Wrong(HEAD + "description: ${env:HOSTNAME_OF_MINE}\ntrain: {seed: '${SEED}'}\n"),
    "env_wrong_type": Wrong(HEAD + "train: {seed: '${env:SEED}'}\n", environment={"SEED": "1"}),
    "no_such_profile": Wrong(HEAD + "profiles:\n  debug: {train: {batch_size: 2}}\n", profiles=("debg",)),
    "profile_without_settings": Wrong(HEAD + "profiles: {debug: 5}\n"),
    # What the reader refuses in a file is refused in a variable.
    "infinite_variable": Wrong(
        HEAD + "train:\n  clip_norm: ${env:NORM}\n  optimizer:\n    lr: ${env:NORM}\n", environment={"NORM": "1e400"}
    ),
    "endless_variable": Wrong(HEAD + "train:\n  seed: ${env:SEED}\n", environment={"SEED": "1" * 45}),
    "variable_unset_in_many_places": Wrong(
        HEAD.replace(
            "{source: openmoji, split: train}",
            "{source: json, files: ['${env:D}/a.json', '${env:D}/b.json'], root: '${env:D}'}",
        )
        + "description: ${env:D}\n"
    ),
    # Numbers that nothing can have as many of.
    "too_large_for_a_computer": Wrong(HEAD + "model: {joint_dim: 9223372036854775808, text: {layers: 100000000}}\n"),
    "latin1_in_the_middle": Wrong(b"cbalign: 1\nname: x\ndata:\n  train: {source: openmoji, root: caf\xe9}\n"),
    # Paths that no file has.
    "empty_paths": Wrong(
        "cbalign: 1\nname: x\ndata:\n  train: {source: webdataset, shards: ['']}\n"
        "  test: {source: json, files: [''], root: ''}\n"
    ),
    "zero_character_in_a_path": Wrong('cbalign: 1\nname: x\ndata:\n  train: {source: webdataset, shards: ["a\\0b"]}\n'),
    "path_in_an_undecodable_folder": Wrong(
        HEAD, overrides=("data.train={source: json, files: [a.json], root: caf\udce9}",)
    ),
    "undecodable_override": Wrong(HEAD, overrides=("description=caf\udce9",)),
    "extends_an_endless_name": Wrong("extends: " + "x" * 300 + "\ncbalign: 1\nname: x\n"),
    "endless_name": Wrong(HEAD.replace("wrong", "n" * 201)),
    # Values that Python calls equal to 1.
    "format_true": Wrong(HEAD.replace("cbalign: 1", "cbalign: true")),
    "format_with_a_fraction": Wrong(HEAD.replace("cbalign: 1", "cbalign: 1e0")),
    "device_in_other_digits": Wrong(HEAD + "train: {device: 'cuda:\u0661'}\n"),
    "misspelt_source": Wrong("cbalign: 1\nname: x\ndata:\n  train:\n    sorce: json\n    files: [a.json]\n"),
    "position_in_a_section": Wrong(HEAD, overrides=("~train.optimizer.0",)),
    "endless_position": Wrong(HEAD, overrides=(f"evaluate.{'9' * 5000}.top_k=1",)),
    "endless_override_path": Wrong(HEAD, overrides=(".".join("a" * 2000) + "=1",)),
    "hundreds_of_unknown_keys": Wrong(HEAD + "".join(f"key{number}: 1\n" for number in range(300))),
}
