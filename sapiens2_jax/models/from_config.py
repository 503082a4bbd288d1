"""What every objective builds from the config group `model`."""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.encoder import Encoder

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def compute_dtype(model: ConfigDict) -> Any:
  """What `model.dtype` names.

  Raises:
    ValueError: it is unknown.
  """
  return errors.lookup(DTYPES, model.dtype, "model.dtype")


def block_settings(model: ConfigDict) -> dict[str, Any]:
  """Arguments that encoder and decoder share."""
  return {
    "rope_dtype": model.rope_dtype,
    "dtype": compute_dtype(model),
    "scan": model.scan,
    "remat": model.remat,
    "attention_backend": model.attention_backend,
  }


def build_encoder(model: ConfigDict, size: str = "") -> Encoder:
  """The encoder that a config describes; of another `size` if one is given."""
  return Encoder(
    get_architecture(size or model.size),
    layer_scale_init=model.layer_scale_init,
    window_chunk=model.window_chunk,
    **block_settings(model),
  )
