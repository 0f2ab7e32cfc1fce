"""From an exported bundle to vectors, codes and scores: numpy, onnxruntime, tokenizers and Pillow, never torch."""
