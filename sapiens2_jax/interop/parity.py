"""Outputs of an exported model beside ours in JAX."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data_pipelines.common import directories
from sapiens2_jax import errors
from sapiens2_jax.interop.head_keys import releases
from sapiens2_jax.interop.transformers_config import ENCODER_CLASS
from sapiens2_jax.models.encoder import Encoder

# Images (b, h, w, 3) to named arrays, channels last.
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]


def _encoded(model, outputs, grid: tuple[int, int]) -> dict:
  tokens = outputs.last_hidden_state
  prefix = 1 + model.config.num_register_tokens
  patches = tokens[:, prefix:]
  return {
    "cls": tokens[:, 0],
    "registers": tokens[:, 1:prefix],
    "patches": patches.reshape(len(patches), *grid, -1),
  }


def _outputs(outputs, names: Mapping[str, tuple[str, ...]]) -> dict:
  """Outputs of a task model under our names, channels last."""
  import torch

  found = {}
  for ours, theirs in names.items():
    joined = torch.cat([outputs[name] for name in theirs], dim=1)
    found[ours] = joined.movedim(1, -1) if joined.ndim == 4 else joined[:, 0]
  return found


DIFFERENCE = "_max_abs_difference"
RELATIVE = "_relative_difference"


def torch_forward(directory: str) -> tuple[Forward, dict[str, list[str]]]:
  """Loads a transformers directory, from disk only, in float32.

  Returns:
    A function images (b, h, w, 3) -> features, or outputs of the head; and
    the keys that did not fit: "missing", "unexpected" and "mismatched".

  Raises:
    ModuleNotFoundError: if torch or transformers is not installed.
    ValueError: if transformers cannot load the directory.
  """
  import torch
  import transformers

  config = directories.read_marker(directory, "config.json") or {}
  (name,) = config.get("architectures") or (ENCODER_CLASS,)
  heads = (kind.transformers for kind in releases().values())
  classes = {head.class_name: head.outputs for head in heads if head}
  names = errors.lookup(
    {ENCODER_CLASS: None, **classes}, name, f"class in {directory}/config.json"
  )
  try:
    loader = name if names else "AutoModel"  # as people load an encoder
    model, info = getattr(transformers, loader).from_pretrained(
      directory,
      dtype=torch.float32,
      local_files_only=True,
      output_loading_info=True,
    )
  except (OSError, RuntimeError) as error:
    raise ValueError(
      f"{directory}: transformers cannot load it: {error}"
    ) from error
  model.eval()
  patch = model.config.patch_size

  def forward(images: np.ndarray) -> dict[str, np.ndarray]:
    grid = tuple(side // patch for side in images.shape[1:3])
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with torch.inference_mode():
      found = model(torch.from_numpy(channels_first))
      found = _outputs(found, names) if names else _encoded(model, found, grid)
      return {name: x.numpy() for name, x in found.items()}

  kinds = ("missing", "unexpected", "mismatched")
  return forward, {
    kind: sorted(map(str, info[f"{kind}_keys"])) for kind in kinds
  }


def outputs(
  encoder: Encoder,
  head: nn.Module | None,
  params: Mapping[str, Any],
  images: Float[Array, "b h w 3"],
) -> dict[str, Array]:
  """Features, or outputs of the head if there is one, by name."""
  if head is None:
    out = encoder.apply({"params": params}, images)
    return {"cls": out.cls, "registers": out.registers, "patches": out.patches}
  out = encoder.apply({"params": params["encoder"]}, images)
  return head.apply({"params": params["head"]}, out.patches)


def jax_forward(
  encoder: Encoder, params: Mapping[str, Any], head: nn.Module | None = None
) -> Forward:
  """Our encoder, or task model if there is a head, in full float32."""
  apply = jax.jit(functools.partial(outputs, encoder, head))

  def forward(images: np.ndarray) -> dict[str, np.ndarray]:
    with jax.default_matmul_precision("highest"):
      return jax.device_get(apply(params, jnp.asarray(images)))

  return forward


def compare(ours: Forward, theirs: Forward, images: np.ndarray) -> dict:
  """Largest absolute difference of each output, and largest value.

  The relative difference is that of the absolute one to the output's largest
  value, or to 1 if that is larger.

  Args:
    ours: from `jax_forward`.
    theirs: from `torch_forward` or `onnx_export.forward`.
    images: (b, h, w, 3) float32, ImageNet-normalised.
  """
  a, b = ours(images), theirs(images)
  result = {"size": list(images.shape[1:3]), "images": len(images)}
  largest = {name: float(np.max(np.abs(x))) for name, x in a.items()}
  for name in a:
    difference = float(np.max(np.abs(a[name] - b[name])))
    result[f"{name}{DIFFERENCE}"] = difference
    result[f"{name}{RELATIVE}"] = difference / max(largest[name], 1)
  result["max_abs_output"] = max(largest.values())
  return result
