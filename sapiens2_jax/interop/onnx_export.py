"""Encoders and task models as ONNX files, and run in ONNX Runtime.

The graph is traced from our own JAX model, so that every architecture and
every task has one. All is float32, the table of positions too.
"""

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.common import files, packages
from sapiens2_jax.interop import load, parity
from sapiens2_jax.interop.weights import Weights

MODEL_NAME = "model.onnx"
DATA_NAME = "model.onnx.data"
INPUT_NAME = "images"

_INLINE = 1024  # bytes of a constant that still stands in the graph
_ALIGNMENT = 4096  # of the others, so that they can be mapped into memory


def check(dtype: str | None) -> None:
  """Says what is missing before weights are read.

  Raises:
    ValueError: a dtype that the graph has not, or onnx is not installed.
  """
  if dtype not in (None, "float32"):
    raise ValueError(
      f"--dtype {dtype}: an ONNX export is float32; leave --dtype out"
    )
  packages.require("onnx", "onnx")


def _program(weights: Weights) -> Callable[[Any, Any], dict[str, Any]]:
  """The model: parameters and (b, 3, h, w) to arrays, channels first."""
  head = None
  if weights.task is None:
    encoder = load.build_encoder(weights, rope_dtype="float32")
  else:
    given = {"rope_dtype": "float32", "dtype": "float32"}
    model = load.build_task(weights, **given)
    encoder, head = model.encoder, model.head
  encoder = encoder.clone(attention_backend="xla")

  def program(params, images):
    images = jnp.moveaxis(images, 1, -1)
    found = parity.outputs(encoder, head, params, images)
    return {
      name: jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x
      for name, x in found.items()
    }

  return program


def write(directory: pathlib.Path, weights: Weights) -> dict[str, Any]:
  """Writes the graph, and beside it the weights: a graph ends at 2 GB.

  Returns:
    What `export.json` says of it: "sha256" of both files, "opset", and sizes
    of "inputs" and "outputs".

  Raises:
    ValueError: the model computes what the export does not know.
  """
  from sapiens2_jax.interop import onnx_graph  # It needs the extra.
  from sapiens2_jax.interop.onnx_rules import RULES

  onnx = onnx_graph.onnx
  digest = hashlib.sha256()
  with files.whole_file(directory / DATA_NAME) as file:

    def append(data: Any) -> None:
      digest.update(data)
      file.write(data)

    def store(name: str, array: np.ndarray) -> Any:
      if array.nbytes <= _INLINE:
        return onnx.numpy_helper.from_array(array, name)
      append(bytes(-file.tell() % _ALIGNMENT))
      tensor = onnx.TensorProto(
        name=name,
        dims=array.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
      )
      place = {"offset": file.tell(), "length": array.nbytes}
      for key, value in {"location": DATA_NAME, **place}.items():
        tensor.external_data.add(key=key, value=str(value))
      append(array.reshape(-1).view(np.uint8).data)
      return tensor

    model = onnx_graph.make_model(
      _program(weights),
      jax.tree.map(lambda x: np.asarray(x, np.float32), weights.params),
      INPUT_NAME,
      (3, *weights.image_size),
      rules=RULES,
      store=store,
    )
  data = model.SerializeToString()
  files.write_file(directory / MODEL_NAME, data)
  return {
    "sha256": {
      MODEL_NAME: hashlib.sha256(data).hexdigest(),
      DATA_NAME: digest.hexdigest(),
    },
    "opset": onnx_graph.OPSET,
    "inputs": _sizes(model.graph.input),
    "outputs": _sizes(model.graph.output),
  }


def _sizes(values: Any) -> dict[str, list[int | str]]:
  """Of inputs or outputs; the batch is a name."""
  return {
    value.name: [
      size.dim_param or size.dim_value
      for size in value.type.tensor_type.shape.dim
    ]
    for value in values
  }


def forward(directory: str) -> parity.Forward:
  """Runs an export in ONNX Runtime, on CPU.

  Raises:
    ValueError: the files cannot be loaded, or onnxruntime is not installed.
  """
  runtime = packages.require("onnxruntime", "onnx")
  path = pathlib.Path(directory) / MODEL_NAME
  try:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
  except Exception as error:  # Its errors have no class in common but this.
    raise ValueError(f"{path}: ONNX Runtime cannot load it: {error}") from error
  names = [output.name for output in session.get_outputs()]

  def run(images: np.ndarray) -> dict[str, np.ndarray]:
    images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    found = zip(names, session.run(names, {INPUT_NAME: images}))
    return {
      name: np.moveaxis(x, 1, -1) if x.ndim == 4 else x for name, x in found
    }

  return run
