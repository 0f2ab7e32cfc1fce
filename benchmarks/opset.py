"""Compare opset 23's Attention with opset 20's decomposed attention in onnxruntime, on this CPU.

    python benchmarks/opset.py

Writes a ViT-B/16 and a text tower of six BERT-base layers in both, runs them in turns, and prints the speedup of the
fused one and the difference of the outputs. This is why `cbalign.exporting.opset` prefers 23 where it runs.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from cbalign.exporting.graph import write_graph
from cbalign.exporting.opset import ATTENTION_OPSET, PLAIN_OPSET
from cbalign.lab.benchmark.timing import interleaved
from cbalign.models.bert import BertConfig, FusionEncoder, TextTower
from cbalign.models.graphs import ImageGraph, TextGraph
from cbalign.models.towers import Towers
from cbalign.models.vision import VisionTower
from cbalign.runtime.machine import cores
from cbalign.tasks.align.runtime import SIGNATURES

BERT = BertConfig(vocabulary=1000, width=768, layers=12, heads=12, intermediate=3072)
OPSETS = (PLAIN_OPSET, ATTENTION_OPSET)


def inputs(graph: str, batch: int) -> tuple[torch.Tensor, ...]:
    if graph == "image":
        return (torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8),)
    length = 25
    mask = (torch.arange(length) < torch.randint(3, length + 1, (batch, 1))).long()
    return torch.randint(0, BERT.vocabulary, (batch, length)), mask


def main() -> None:
    torch.manual_seed(0)
    vision, text = VisionTower("vit_base_patch16_224", 224), TextTower(BERT, 6, 0.0)
    towers = Towers(vision, text, FusionEncoder(BERT, 1, 768, 0.0), None, 256, "cls").eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    with tempfile.TemporaryDirectory() as scratch:
        for graph, module in (("image", ImageGraph(towers)), ("text", TextGraph(towers))):
            sessions = {}
            for opset in OPSETS:
                path = Path(scratch) / f"{graph}-{opset}.onnx"
                write_graph(module, SIGNATURES[graph], inputs(graph, 3), path, opset=opset, metadata={})
                sessions[str(opset)] = onnxruntime.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
            for batch in (1, 8):
                feed = dict(zip(SIGNATURES[graph].input_names, (t.numpy() for t in inputs(graph, batch))))
                plain, fused = (session.run(["embedding"], feed)[0] for session in sessions.values())
                calls = {n: lambda s=s, feed=feed: s.run(None, feed) for n, s in sessions.items()}
                seconds = interleaved(calls, rounds=7)
                ratio = np.divide(*(statistics.median(times) for times in seconds.values()))
                print(
                    f"{graph}, batch {batch}: opset {OPSETS[1]} is {ratio:.2f} times as fast as {OPSETS[0]}, "
                    f"embeddings differ by {np.abs(plain - fused).max():.1g}"
                )


if __name__ == "__main__":
    main()
