"""The decoder and the projection head that a config describes; their FLOPs."""

from typing import NamedTuple

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


def build_decoder(config: ConfigDict) -> Decoder:
  """Predicts the masked patches of a global view."""
  model = config.model
  grid = token_grid(get_architecture(model.size), tuple(config.data.image_size))
  return Decoder(
    patch_dim=grid.output_dim,
    embed_dim=model.decoder_dim,
    num_layers=model.decoder_layers,
    num_heads=model.decoder_heads,
    **block_settings(model),
  )


def build_head(config: ConfigDict) -> ProjectionHead:
  """From features to prototype logits."""
  model = config.model
  return ProjectionHead(
    num_prototypes=model.prototypes,
    hidden_dim=model.head_hidden_dim,
    bottleneck_dim=model.bottleneck_dim,
    dtype=compute_dtype(model),
  )


def head_flops(config: ConfigDict) -> int:
  """Forward pass of the projection head on one token."""
  model = config.model
  embed_dim = get_architecture(model.size).embed_dim
  widths = (
    embed_dim,
    model.head_hidden_dim,
    model.head_hidden_dim,
    model.bottleneck_dim,
    model.prototypes,
  )
  return 2 * sum(a * b for a, b in zip(widths, widths[1:]))


def decoder_flops(config: ConfigDict, sizes: Sizes) -> int:
  """Forward pass of the decoder on one global view."""
  model, width = config.model, config.model.decoder_dim
  embed_dim = get_architecture(model.size).embed_dim
  output_dim = build_decoder(config).patch_dim
  queries = [sizes.patches] * (model.decoder_layers - 1) + [sizes.masked]
  blocks = sum(
    flops.block_flops(
      width, model.decoder_heads, model.decoder_heads, sizes.patches, count
    )
    for count in queries
  )
  linear = embed_dim * sizes.visible + output_dim * sizes.masked
  return 2 * width * linear + blocks
