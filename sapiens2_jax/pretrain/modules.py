"""The decoder and the projection head that a config describes; their FLOPs."""

import dataclasses
import itertools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.decoder import Decoder
from sapiens2_jax.models.from_config import block_settings, compute_dtype
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.models.projection_head import ProjectionHead
from sapiens2_jax.training import flops


class Sizes(NamedTuple):
  """Counts that FLOPs are made of, for one image.

  Attributes:
    num_global, num_local: views.
    patches, visible, masked: tokens of a global view.
  """

  num_global: int
  num_local: int
  patches: int
  visible: int
  masked: int


class Learned(NamedTuple):
  """A module and the shapes of what it is called with, to draw parameters."""

  module: nn.Module
  inputs: tuple


def build_decoder(config: ConfigDict) -> Learned:
  """Predicts the masked patches of a global view."""
  model = config.model
  grid = token_grid(get_architecture(model.size), tuple(config.data.image_size))
  decoder = Decoder(
    patch_dim=grid.output_dim,
    embed_dim=model.decoder_dim,
    num_layers=model.decoder_layers,
    num_heads=model.decoder_heads,
    **block_settings(model),
  )
  ids = jnp.zeros((1, 1), jnp.int32)
  one = dataclasses.replace(grid, rows=1, cols=1)
  return Learned(decoder, (_features(config), ids, ids, one))


def build_head(config: ConfigDict) -> Learned:
  """From features to prototype logits."""
  model = config.model
  head = ProjectionHead(
    num_prototypes=model.prototypes,
    hidden_dim=model.head_hidden_dim,
    bottleneck_dim=model.bottleneck_dim,
    dtype=compute_dtype(model),
  )
  return Learned(head, (_features(config),))


def _features(config: ConfigDict) -> Float[Array, "1 1 d"]:
  return jnp.zeros((1, 1, get_architecture(config.model.size).embed_dim))


def head_flops(config: ConfigDict) -> int:
  """Forward pass of the projection head on one token."""
  model, hidden = config.model, config.model.head_hidden_dim
  embed_dim = get_architecture(model.size).embed_dim
  widths = embed_dim, hidden, hidden, model.bottleneck_dim, model.prototypes
  return 2 * sum(a * b for a, b in itertools.pairwise(widths))


def decoder_flops(config: ConfigDict, sizes: Sizes) -> int:
  """Forward pass of the decoder on one global view."""
  model, width = config.model, config.model.decoder_dim
  embed_dim = get_architecture(model.size).embed_dim
  output_dim = build_decoder(config).module.patch_dim
  block = (width, *(model.decoder_heads,) * 2, sizes.patches)
  blocks = (model.decoder_layers - 1) * flops.block_flops(*block, sizes.patches)
  blocks += flops.block_flops(*block, sizes.masked)
  linear = embed_dim * sizes.visible + output_dim * sizes.masked
  return 2 * width * linear + blocks
