"""Features of an exported encoder in PyTorch beside ours in JAX."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sapiens2_jax.models.encoder import Encoder

PARTS = ("cls", "registers", "patches")
# Images (b, h, w, 3) to an array for each of `PARTS`.
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]


def torch_forward(directory: str) -> tuple[Forward, dict[str, list[str]]]:
  """Loads a transformers directory, from disk only, in float32.

  Returns:
    A function images (b, h, w, 3) -> features, and the keys that did not fit:
    "missing", "unexpected" and "mismatched".

  Raises:
    ModuleNotFoundError: if torch or transformers is not installed.
    ValueError: if transformers cannot load the directory.
  """
  import torch
  from transformers import AutoModel

  try:
    model, info = AutoModel.from_pretrained(
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
  prefix = 1 + model.config.num_register_tokens
  patch = model.config.patch_size

  def forward(images: np.ndarray) -> dict[str, np.ndarray]:
    batch, height, width, _ = images.shape
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with torch.inference_mode():
      tokens = model(torch.from_numpy(channels_first)).last_hidden_state.numpy()
    grid = (height // patch, width // patch)
    return {
      "cls": tokens[:, 0],
      "registers": tokens[:, 1:prefix],
      "patches": tokens[:, prefix:].reshape(batch, *grid, -1),
    }

  keys = {
    "missing": sorted(map(str, info["missing_keys"])),
    "unexpected": sorted(map(str, info["unexpected_keys"])),
    "mismatched": sorted(map(str, info["mismatched_keys"])),
  }
  return forward, keys


def jax_forward(encoder: Encoder, params: Mapping[str, Any]) -> Forward:
  """Our encoder on the CPU, in full float32."""
  apply = jax.jit(lambda params, x: encoder.apply({"params": params}, x))

  def forward(images: np.ndarray) -> dict[str, np.ndarray]:
    with jax.default_matmul_precision("highest"):
      out = apply(params, jnp.asarray(images))
    return {part: np.asarray(getattr(out, part)) for part in PARTS}

  return forward


def compare(ours: Forward, theirs: Forward, images: np.ndarray) -> dict:
  """Largest absolute difference of each output, and largest value.

  Args:
    ours: from `jax_forward`.
    theirs: from `torch_forward`.
    images: (b, h, w, 3) float32, ImageNet-normalised.
  """
  a, b = ours(images), theirs(images)
  result = {"size": list(images.shape[1:3]), "images": len(images)}
  for part in PARTS:
    difference = np.max(np.abs(a[part] - b[part]))
    result[f"{part}_max_abs_difference"] = float(difference)
  result["max_abs_feature"] = float(np.max(np.abs(a["patches"])))
  return result
