"""Directories of weights for others, with a note of where they came from."""

import pathlib

from data_pipelines.common import directories, files
from sapiens2_jax.interop import onnx_export, transformers_config
from sapiens2_jax.interop.convert import tensors_from_params
from sapiens2_jax.interop.tensors import SINGLE_NAME, write_safetensors
from sapiens2_jax.interop.weights import Found, Weights

FORMATS = ("reference", "transformers", "onnx")
MARKER = "export.json"
KIND = "sapiens2_jax export"


def is_done(output: str, request: dict) -> bool:
  """Whether `output` holds what `request` asks for, whole."""
  marker = directories.read_marker(output, MARKER)
  if marker is None or marker.get("request") != request:
    return False
  path = pathlib.Path(output)
  return all(
    (path / name).is_file() and (path / name).stat().st_size == size
    for name, size in marker["files"].items()
  )


def write_export(
  output: str, found: Found, weights: Weights, request: dict
) -> str:
  """Writes the whole directory; returns the name of the file to load.

  Raises:
    ValueError: the format has no place for the head.
  """
  arch, head = weights.architecture, weights.head
  if request["format"] == "onnx":
    with directories.replaced(output) as path:
      facts = {"dtype": "float32", **onnx_export.write(path, weights)}
      _write_marker(path, found, weights, request, facts)
    return onnx_export.MODEL_NAME
  is_reference = request["format"] == "reference"
  _check_head(weights, request["format"])
  tensors = tensors_from_params(
    weights.params,
    arch,
    head,
    # Both styles are read. In its keys the number of layers is free, and
    # AutoModel finds the encoder of a task model.
    style="transformers" if head and not is_reference else "reference",
    dtype=request["dtype"],
    with_periods=is_reference,
  )
  dtype = next(iter(tensors.values())).dtype.name
  name = SINGLE_NAME
  if is_reference:
    name = f"sapiens2_{arch.name}_{weights.task or 'pretrain'}.safetensors"
  with directories.replaced(output) as path:
    sha256 = write_safetensors(path / name, tensors, {"format": "pt"})
    if not is_reference:
      config = transformers_config.model_config(
        arch,
        image_size=weights.image_size,
        layer_scale_init=weights.layer_scale_init,
        dtype=dtype,
        head=head,
      )
      preprocessor = transformers_config.preprocessor_config(
        weights.image_size, head and head.kind.transformers
      )
      files.write_json(path / "config.json", config)
      files.write_json(path / "preprocessor_config.json", preprocessor)
    facts = {"dtype": dtype, "sha256": {name: sha256}}
    _write_marker(path, found, weights, request, facts)
  return name


def _write_marker(
  path: pathlib.Path,
  found: Found,
  weights: Weights,
  request: dict,
  facts: dict,
) -> None:
  """Says what the files in `path` are; `facts` are those of the format."""
  marker = {
    "kind": KIND,
    "format": request["format"],
    "architecture": weights.architecture.name,
    "task": weights.task,
    "image_size": list(weights.image_size),
    "step": found.step,
    "weights": found.weights,
    **facts,
    "files": {p.name: p.stat().st_size for p in sorted(path.iterdir())},
    "request": request,
  }
  files.write_json(path / MARKER, marker)


def _check_head(weights: Weights, kind: str) -> None:
  task = weights.task
  if kind == "transformers" and weights.architecture.has_windows:
    raise ValueError(
      f"{weights.architecture.name}: transformers has no local stage for 4K; "
      "use --format reference or onnx"
    )
  if task is None:
    return
  if weights.head is None:
    raise ValueError(f"task {task} has no release format; use --format onnx")
  if kind != "transformers":
    return
  if weights.head.kind.transformers is None:
    raise ValueError(
      f"transformers has no class for task {task}; use --format reference "
      "or onnx"
    )
  hidden = weights.head.scale_hidden
  if weights.head.scale_channels and len(hidden) != 2:
    raise ValueError(
      f"transformers has no scale with head.scale_hidden={hidden}, only with "
      "two widths; use --format reference or onnx"
    )
