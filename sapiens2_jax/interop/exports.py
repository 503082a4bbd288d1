"""Directories of weights for PyTorch, with a note of where they came from."""

import pathlib

from sapiens2_jax.interop import directories, transformers_config
from sapiens2_jax.interop.convert import tensors_from_params
from sapiens2_jax.interop.tensors import SINGLE_NAME, write_safetensors
from sapiens2_jax.interop.weights import Found, Weights

FORMATS = ("reference", "transformers")
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
  """Writes the whole directory; returns the name of the weights file."""
  arch, is_reference = weights.architecture, request["format"] == "reference"
  tensors = tensors_from_params(
    weights.params,
    arch,
    dtype=request["dtype"],
    with_periods=is_reference,
  )
  dtype = tensors["cls_token"].dtype.name
  name = SINGLE_NAME
  if is_reference:
    name = f"sapiens2_{arch.name}_pretrain.safetensors"
  with directories.replaced(output) as path:
    sha256 = write_safetensors(path / name, tensors, {"format": "pt"})
    if not is_reference:
      config = transformers_config.model_config(
        arch,
        image_size=weights.image_size,
        layer_scale_init=weights.layer_scale_init,
        dtype=dtype,
      )
      preprocessor = transformers_config.preprocessor_config(weights.image_size)
      directories.write_json(path / "config.json", config)
      directories.write_json(path / "preprocessor_config.json", preprocessor)
    marker = {
      "kind": KIND,
      "format": request["format"],
      "architecture": arch.name,
      "step": found.step,
      "weights": found.weights,
      "dtype": dtype,
      "sha256": {name: sha256},
      "files": {p.name: p.stat().st_size for p in sorted(path.iterdir())},
      "request": request,
    }
    directories.write_json(path / MARKER, marker)
  return name
