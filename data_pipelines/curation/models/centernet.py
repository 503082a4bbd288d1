"""CenterNet, a TensorFlow.js graph model, as ONNX.

The network ends where its heatmap and box sizes are; peaks are looked for by
the scorer. Images of (1, 512, 512, 3) go in as they came, RGB in [0, 255];
inside, the layout is channels first.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.common import packages

OUTPUTS = ("tower_0/keypoints", "tower_0/wh")
_OPSET, _IR = 17, 8  # Stated, so that the file does not depend on the package.
_CHANNELS = {0: 0, 1: 2, 2: 3, 3: 1, -1: 1}  # An axis, channels first.


def convert_members(members: Mapping[str, bytes]) -> bytes:
  """Converts the two files of the package, by their names in it."""
  (graph,) = (data for name, data in members.items() if name.endswith(".json"))
  (weights,) = (data for name, data in members.items() if name.endswith(".bin"))
  return convert(json.loads(graph), weights)


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


def convert(model: dict, data: bytes) -> bytes:
  """Converts a graph of convolutions, additions and the like.

  Args:
    model: the JSON file: nodes in an order that can be computed, and which
      weights there are.
    data: the weights.

  Returns:
    The ONNX file, the same bytes for the same input.

  Raises:
    ValueError: an operation, or a setting of one, that is not known.
    MissingExtra: the package onnx is not installed.
  """
  return _Converter(model, data).convert()


class _Converter:
  """Goes over the nodes once and writes ONNX nodes."""

  def __init__(self, model: dict, data: bytes):
    self._onnx = packages.require("onnx", "curation")
    self._weights = read_weights(model["weightsManifest"], data)
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    self._needed = _order(nodes, OUTPUTS)
    self._nodes: list = []
    self._constants: dict = {}

  def convert(self) -> bytes:
    helper, kinds = self._onnx.helper, self._onnx.TensorProto
    for node in self._needed:
      self._add(node)
    (image,) = (n for n in self._needed if n["op"] == "Placeholder")
    sides = image["attr"]["shape"]["shape"]["dim"]
    shape = [int(side["size"]) for side in sides]
    for output in OUTPUTS:
      self._emit("Transpose", [output], f"{output}:out", perm=[0, 2, 3, 1])
    graph = helper.make_graph(
      self._nodes,
      "centernet",
      [helper.make_tensor_value_info("image", kinds.FLOAT, shape)],
      [
        helper.make_tensor_value_info(f"{name}:out", kinds.FLOAT, [None] * 4)
        for name in OUTPUTS
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

  def _constant(self, name: str, array: np.ndarray) -> str:
    self._constants[name] = np.ascontiguousarray(array)
    return name

  def _add(self, node: dict) -> None:
    op, name, inputs = node["op"], node["name"], node.get("input", [])
    if op == "Const":
      return
    if op == "Placeholder":
      self._emit("Transpose", ["image"], name, perm=[0, 3, 1, 2])
    elif "Conv2" in op or "Conv2d" in op:
      self._add_convolution(node)
    elif op in ("Add", "Mul"):
      self._emit(op, [self._operand(i) for i in inputs], name)
    elif op in ("Relu", "Sigmoid", "Identity"):
      self._emit(op, inputs, name)
    elif op == "Relu6":
      self._emit_relu6(inputs[0], name)
    elif op == "Mean":
      axes = [_CHANNELS[int(a)] for a in self._weights[inputs[1]]]
      self._emit("ReduceMean", inputs[:1], name, axes=axes, keepdims=1)
    elif op == "ConcatV2":
      axis = _CHANNELS[int(self._weights[inputs[-1]])]
      self._emit("Concat", inputs[:-1], name, axis=axis)
    elif op == "ResizeBilinear":
      self._add_resize(node)
    else:
      raise ValueError(f"{name}: the operation {op} is not known.")

  def _operand(self, name: str) -> str:
    """A weight lies along the last axis there; scalars need no care."""
    if name not in self._weights:
      return name
    weight = self._weights[name]
    if weight.size > 1:
      raise ValueError(f"{name}: expected a scalar, found {weight.shape}.")
    return self._constant(name, weight)

  def _emit_relu6(self, source: str, name: str) -> None:
    low = self._constant("zero", np.float32(0))
    high = self._constant("six", np.float32(6))
    self._emit("Clip", [source, low, high], name)

  def _add_convolution(self, node: dict) -> None:
    name, attributes = node["name"], node["attr"]
    source, kernel, *bias = node["input"]
    weight = self._weights[kernel]
    groups = 1
    if "Depthwise" in node["op"]:
      groups = weight.shape[2]
      weight = weight.reshape(*weight.shape[:2], 1, -1)
    padding = base64.b64decode(attributes["padding"]["s"]).decode()
    if _sides(attributes["dilations"]) != [1, 1]:
      raise ValueError(f"{name}: dilated convolutions are not known.")
    after = attributes.get("fused_ops", {}).get("list", {}).get("s", [])
    after = [base64.b64decode(text).decode() for text in after]
    if after not in ([], ["BiasAdd"], ["BiasAdd", "Relu"]):
      raise ValueError(f"{name}: a convolution followed by {after}.")
    inputs = [source, self._constant(kernel, weight.transpose(3, 2, 0, 1))]
    inputs += [self._constant(b, self._weights[b]) for b in bias]
    self._emit(
      "Conv",
      inputs,
      f"{name}:conv" if after[1:] else name,
      auto_pad="SAME_UPPER" if padding == "SAME" else padding,
      strides=_sides(attributes["strides"]),
      group=groups,
      kernel_shape=list(weight.shape[:2]),
    )
    if after[1:]:
      self._emit("Relu", [f"{name}:conv"], name)

  def _add_resize(self, node: dict) -> None:
    """To a size, with pixels' corners as their places."""
    name, attributes = node["name"], node["attr"]
    for key in ("align_corners", "half_pixel_centers"):
      if attributes[key]["b"]:
        raise ValueError(f"{name}: {key} is not known.")
    sides = self._weights[node["input"][1]].astype(np.int64)
    source = node["input"][0]
    self._emit("Shape", [source], f"{name}:shape", start=0, end=2)
    size = self._constant(f"{name}:sides", sides)
    self._emit("Concat", [f"{name}:shape", size], f"{name}:size", axis=0)
    self._emit(
      "Resize",
      [source, "", "", f"{name}:size"],
      name,
      mode="linear",
      coordinate_transformation_mode="asymmetric",
    )


def _sides(attribute: dict) -> list[int]:
  _, rows, cols, _ = (int(value) for value in attribute["list"]["i"])
  return [rows, cols]


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
