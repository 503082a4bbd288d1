"""The converter from TensorFlow.js, on a small graph of all operations."""

import base64

import numpy as np
import onnxruntime
import pytest

from data_pipelines.curation.models import tfjs

OUTPUTS = ("first", "second")


def attribute(text):
  return {"s": base64.b64encode(text.encode()).decode()}


def node(op, name, *inputs, **attributes):
  return {"op": op, "name": name, "input": [*inputs], "attr": attributes}


def convolution(op, name, *inputs, stride=1, fused=()):
  return node(
    op,
    name,
    *inputs,
    padding=attribute("SAME"),
    strides={"list": {"i": ["1", str(stride), str(stride), "1"]}},
    dilations={"list": {"i": ["1"] * 4}},
    fused_ops={"list": {"s": [attribute(f)["s"] for f in fused]}},
  )


def make_model(nodes, weights):
  entries = [
    {"name": n, "shape": [*w.shape], "dtype": str(w.dtype)}
    for n, w in weights.items()
  ]
  sides = [{"size": str(s)} for s in (1, 6, 4, 3)]
  image = node("Placeholder", "pixels", shape={"shape": {"dim": sides}})
  consts = [node("Const", name) for name in weights]
  model = {
    "modelTopology": {"node": [image, *consts, *nodes]},
    "weightsManifest": [{"weights": entries}],
  }
  return model, b"".join(w.tobytes() for w in weights.values())


def convolve(image, kernel, stride):
  """TensorFlow's SAME: the odd row of padding lies below and right."""
  rows, cols = kernel.shape[:2]
  size = [-(-side // stride) for side in image.shape[:2]]
  need = [
    max((s - 1) * stride + k - side, 0)
    for s, k, side in zip(size, (rows, cols), image.shape)
  ]
  image = np.pad(image, [*((n // 2, n - n // 2) for n in need), (0, 0)])
  out = np.zeros((*size, kernel.shape[3]))
  for y, x in np.ndindex(*size):
    part = image[y * stride :, x * stride :][:rows, :cols]
    out[y, x] = np.tensordot(part, kernel, 3)
  return out


def run(model, data, image):
  session = onnxruntime.InferenceSession(tfjs.convert(model, data, OUTPUTS))
  return [out[0] for out in session.run(None, {"image": image[None]})]


def test_all_operations_agree_with_numpy():
  rng = np.random.default_rng(0)
  weights = {
    "kernel": rng.normal(size=(3, 3, 3, 4)).astype(np.float32),
    "bias": rng.normal(size=4).astype(np.float32),
    "depth": rng.normal(size=(3, 3, 4, 1)).astype(np.float32),
    "three": np.float32(3),
    "axes": np.int32([1, 2]),
    "axis": np.int32(3),
    "sides": np.int32([6, 4]),
  }
  fused = ("BiasAdd", "Relu")
  resize = {"align_corners": {"b": False}, "half_pixel_centers": {"b": False}}
  inputs = ("pixels", "kernel", "bias")
  nodes = [
    convolution("_FusedConv2D", "a", *inputs, stride=2, fused=fused),
    convolution("DepthwiseConv2dNative", "b", "a", "depth"),
    node("Add", "c", "b", "three"),
    node("Relu6", "d", "c"),
    node("Mean", "mean", "d", "axes"),
    node("Sigmoid", "e", "mean"),
    node("Mul", "f", "d", "e"),
    node("ConcatV2", "g", "f", "a", "axis"),
    node("ResizeBilinear", "h", "g", "sides", **resize),
    node("Identity", OUTPUTS[0], "h"),
    node("Relu", OUTPUTS[1], "b"),
  ]
  image = rng.normal(size=(6, 4, 3)).astype(np.float32)
  heat, wh = run(*make_model(nodes, weights), image)

  a = np.maximum(convolve(image, weights["kernel"], 2) + weights["bias"], 0)
  b = np.concatenate(
    [
      convolve(a[..., i : i + 1], weights["depth"][:, :, i : i + 1], 1)
      for i in range(4)
    ],
    -1,
  )
  d = np.clip(b + 3, 0, 6)
  f = d / (1 + np.exp(-d.mean((0, 1))))
  g = np.concatenate([f, a], -1)
  ys, xs = np.minimum(np.arange(6) / 2, 2), np.minimum(np.arange(4) / 2, 1)
  rows = [np.interp(ys, range(3), column) for column in g.reshape(3, -1).T]
  rows = np.array(rows).T.reshape(6, 2, 8)
  cols = [np.interp(xs, range(2), r[:, i]) for r in rows for i in range(8)]
  h = np.array(cols).reshape(6, 8, 4).transpose(0, 2, 1)
  np.testing.assert_allclose(heat, h, atol=1e-5)
  np.testing.assert_allclose(wh, np.maximum(b, 0), atol=1e-5)


def test_an_operation_that_is_not_known_is_named():
  nodes = [node("Tanh", name, "pixels") for name in OUTPUTS]
  with pytest.raises(ValueError, match="the operation Tanh is not known"):
    tfjs.convert(*make_model(nodes, {}), OUTPUTS)


def test_weights_of_another_length_are_an_error():
  manifest = [{"weights": [{"name": "w", "shape": [2], "dtype": "float32"}]}]
  with pytest.raises(ValueError, match="w: the weights end before it"):
    tfjs.read_weights(manifest, bytes(7))
  with pytest.raises(ValueError, match="9 bytes, expected 8"):
    tfjs.read_weights(manifest, bytes(9))


def test_half_precision_becomes_single():
  entry = {"name": "w", "shape": [], "dtype": "float32"}
  entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
  data = np.float16(0.5).tobytes()
  weight = tfjs.read_weights([{"weights": [entry]}], data)["w"]
  assert weight.dtype == np.float32 and weight == 0.5
