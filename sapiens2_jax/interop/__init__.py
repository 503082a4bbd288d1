"""Weights in and out: released files, transformers directories, our runs.

`keys` holds the one table of names and layouts. `convert` applies it to
`tensors` (safetensors files) and parameter trees; `weights` finds and reads
every kind of source; `load` and `exports` are what people call; `onnx_export`
has our models traced (`onnx_graph`, `onnx_rules`); `parity` and `verification`
compare with PyTorch and ONNX Runtime.
"""
