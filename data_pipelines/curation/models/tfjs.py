"""TensorFlow.js graph models of detectors as ONNX.

Only the network is converted, up to named nodes: looking for peaks and boxes
in what it puts out is up to the scorer. Layouts stay TensorFlow's, channels
last; ONNX Runtime removes the transpositions around convolutions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.common import packages

_OPSET, _IR = 17, 8  # Stated, so that the file does not depend on the package.
_INWARD, _OUTWARD = [0, 3, 1, 2], [0, 2, 3, 1]
_SAME_NAME = {
  "Add": "Add",
  "AddV2": "Add",
  "Identity": "Identity",
  "Mul": "Mul",
  "Relu": "Relu",
  "Sigmoid": "Sigmoid",
}


def convert_members(
  members: Mapping[str, bytes], outputs: Sequence[str]
) -> bytes:
  """As `convert`, of the two files in a package, .json and .bin."""
  (graph,) = (data for name, data in members.items() if name.endswith(".json"))
  (weights,) = (data for name, data in members.items() if name.endswith(".bin"))
  return convert(json.loads(graph), weights, outputs)


def read_weights(manifest: Sequence[dict], data: bytes) -> dict:
  """Name -> array; float16 is made float32.

  Raises:
    ValueError: the sizes do not add up, or a weight is quantised otherwise.
  """
  weights, start = {}, 0
  for entry in (entry for group in manifest for entry in group["weights"]):
    stored = entry.get("quantization", entry)
    if "scale" in stored:
      raise ValueError(f"{entry['name']}: quantised with a scale.")
    dtype = np.dtype(stored["dtype"])
    count = int(np.prod(entry["shape"], dtype=np.int64))
    if start + count * dtype.itemsize > len(data):
      raise ValueError(f"{entry['name']}: the weights end before it.")
    array = np.frombuffer(data, dtype, count, start).reshape(entry["shape"])
    weights[entry["name"]] = array.astype(entry["dtype"])
    start += count * dtype.itemsize
  if start != len(data):
    raise ValueError(f"weights have {len(data)} bytes, expected {start}.")
  return weights


def convert(model: dict, data: bytes, outputs: Sequence[str]) -> bytes:
  """Converts a graph of convolutions, additions and the like.

  Args:
    model: the JSON file: nodes, and which weights there are.
    data: the weights.
    outputs: names of nodes; what only others need is left out.

  Returns:
    The ONNX file, the same bytes for the same input; its input is "image".

  Raises:
    ValueError: an operation, or a setting of one, that is not known.
    MissingExtra: the package onnx is not installed.
  """
  return _Converter(model, data).convert(outputs)


class _Converter:
  """Goes over the nodes once and writes ONNX nodes."""

  def __init__(self, model: dict, data: bytes):
    self._onnx = packages.require("onnx", "curation")
    self._weights = read_weights(model["weightsManifest"], data)
    self._graph = {n["name"]: n for n in model["modelTopology"]["node"]}
    self._nodes: list = []
    self._constants: dict[str, np.ndarray] = {}

  def convert(self, outputs: Sequence[str]) -> bytes:
    helper, kinds = self._onnx.helper, self._onnx.TensorProto
    needed = _order(self._graph, outputs)
    for node in needed:
      self._add(node)
    for output in outputs:
      self._emit("Identity", [output], f"{output}:out")
    (image,) = (n for n in needed if n["op"] == "Placeholder")
    sides = image["attr"]["shape"]["shape"]["dim"]
    shape = [int(side["size"]) for side in sides]
    graph = helper.make_graph(
      self._nodes,
      "detector",
      [helper.make_tensor_value_info("image", kinds.FLOAT, shape)],
      [
        helper.make_tensor_value_info(f"{name}:out", kinds.FLOAT, [None] * 4)
        for name in outputs
      ],
      [
        self._onnx.numpy_helper.from_array(array, name)
        for name, array in self._constants.items()
      ],
    )
    versions = [helper.make_opsetid("", _OPSET)]
    made = helper.make_model(graph, opset_imports=versions, ir_version=_IR)
    self._onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)

  def _emit(self, op: str, inputs: list[str], output: str, **settings) -> None:
    make = self._onnx.helper.make_node
    self._nodes.append(make(op, inputs, [output], output, **settings))

  def _emit_inside(
    self, op: str, inputs: list[str], name: str, **settings
  ) -> None:
    """An operation that ONNX does with the channels first."""
    first, *rest = inputs
    self._emit("Transpose", [first], f"{name}:in", perm=_INWARD)
    self._emit(op, [f"{name}:in", *rest], f"{name}:made", **settings)
    self._emit("Transpose", [f"{name}:made"], name, perm=_OUTWARD)

  def _constant(self, name: str, array: np.ndarray) -> str:
    self._constants[name] = np.ascontiguousarray(array)
    return name

  def _operand(self, name: str) -> str:
    if name in self._weights:
      self._constant(name, self._weights[name])
    return name

  def _numbers(self, name: str) -> list[int]:
    return [int(value) for value in np.ravel(self._weights[name])]

  def _add(self, node: dict) -> None:
    op, name, inputs = node["op"], node["name"], node.get("input", [])
    if op == "Const":
      return
    if op == "Placeholder":
      self._emit("Identity", ["image"], name)
    elif op in _SAME_NAME:
      self._emit(_SAME_NAME[op], [self._operand(i) for i in inputs], name)
    elif "Conv2" in op or "Conv2d" in op:
      self._add_convolution(node)
    elif op == "Relu6":
      limits = ("zero", np.float32(0)), ("six", np.float32(6))
      bounds = [self._constant(*limit) for limit in limits]
      self._emit("Clip", [*inputs, *bounds], name)
    elif op == "LeakyRelu":
      self._emit(op, inputs, name, alpha=node["attr"]["alpha"]["f"])
    elif op == "Mean":
      axes = self._numbers(inputs[1])
      self._emit("ReduceMean", inputs[:1], name, axes=axes, keepdims=1)
    elif op == "ConcatV2":
      (axis,) = self._numbers(inputs[-1])
      self._emit("Concat", inputs[:-1], name, axis=axis)
    elif op == "Transpose":
      self._emit(op, inputs[:1], name, perm=self._numbers(inputs[1]))
    elif op in ("Pad", "PadV2"):
      self._add_padding(node)
    elif op == "MaxPool":
      settings = _window(node, ("strides", "ksize"))
      strides, kernel = settings["strides"], settings["ksize"]
      self._emit_inside(
        op,
        inputs,
        name,
        auto_pad=settings["auto_pad"],
        strides=strides,
        kernel_shape=kernel,
      )
    elif op == "ResizeBilinear":
      self._add_resize(node)
    else:
      raise ValueError(f"{name}: the operation {op} is not known.")

  def _add_convolution(self, node: dict) -> None:
    name = node["name"]
    source, kernel, *bias = node["input"]
    weight = self._weights[kernel]
    groups = 1
    if "Depthwise" in node["op"]:
      groups = weight.shape[2]
      weight = weight.reshape(*weight.shape[:2], 1, -1)
    settings = _window(node, ("strides", "dilations"))
    after = node["attr"].get("fused_ops", {}).get("list", {}).get("s", [])
    after = [base64.b64decode(text).decode() for text in after]
    if after not in ([], ["BiasAdd"], ["BiasAdd", "Relu"]):
      raise ValueError(f"{name}: a convolution followed by {after}.")
    if settings["dilations"] != [1, 1]:
      raise ValueError(f"{name}: dilated convolutions are not known.")
    inputs = [source, self._constant(kernel, weight.transpose(3, 2, 0, 1))]
    self._emit_inside(
      "Conv",
      inputs + [self._operand(b) for b in bias],
      f"{name}:sum" if after[1:] else name,
      group=groups,
      kernel_shape=list(weight.shape[:2]),
      **settings,
    )
    if after[1:]:
      self._emit("Relu", [f"{name}:sum"], name)

  def _add_padding(self, node: dict) -> None:
    source, widths, *value = node["input"]
    # Of each axis before and after; ONNX wants all before first.
    before_after = np.int64(self._weights[widths]).T.ravel()
    inputs = [source, self._constant(widths, before_after)]
    self._emit("Pad", inputs + [self._operand(v) for v in value], node["name"])

  def _add_resize(self, node: dict) -> None:
    name, attributes = node["name"], node["attr"]
    if attributes["align_corners"]["b"]:
      raise ValueError(f"{name}: align_corners is not known.")
    centers = attributes["half_pixel_centers"]["b"]
    source, size = node["input"]
    self._emit("Transpose", [source], f"{name}:in", perm=_INWARD)
    self._emit("Shape", [f"{name}:in"], f"{name}:shape", start=0, end=2)
    sides = self._constant(f"{name}:sides", np.int64(self._weights[size]))
    self._emit("Concat", [f"{name}:shape", sides], f"{name}:size", axis=0)
    self._emit(
      "Resize",
      [f"{name}:in", "", "", f"{name}:size"],
      f"{name}:made",
      mode="linear",
      coordinate_transformation_mode=(
        "half_pixel" if centers else "asymmetric"
      ),
    )
    self._emit("Transpose", [f"{name}:made"], name, perm=_OUTWARD)


def _window(node: dict, keys: Sequence[str]) -> dict:
  """Padding, and pairs of rows and columns, of what slides over an image."""
  attributes = node["attr"]
  padding = base64.b64decode(attributes["padding"]["s"]).decode()
  pairs = {k: [int(v) for v in attributes[k]["list"]["i"]] for k in keys}
  return {
    "auto_pad": "SAME_UPPER" if padding == "SAME" else padding,
    **{key: values[1:3] for key, values in pairs.items()},
  }


def _order(nodes: Mapping[str, dict], outputs: Sequence[str]) -> list[dict]:
  """The nodes that the outputs need, inputs first."""
  done: dict[str, dict] = {}

  def visit(name: str) -> None:
    if name in done:
      return
    for source in nodes[name].get("input", []):
      visit(source)
    done[name] = nodes[name]

  for output in outputs:
    visit(output)
  return list(done.values())
