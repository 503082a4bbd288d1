"""The parts of the PyTorch peer: encoder, decoder and projection head.

Blocks, norms, embeddings and RoPE are transformers' Sapiens2 layers.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.sapiens2.configuration_sapiens2 import Sapiens2Config
from transformers.models.sapiens2.modeling_sapiens2 import (
  Sapiens2Layer,
  Sapiens2RMSNorm,
  Sapiens2RopePositionEmbedding,
)

NUM_REGISTERS = 8
NUM_PREFIX = 1 + NUM_REGISTERS


def sapiens2_config(
  *, embed_dim, num_layers, num_heads, hidden_dim, num_kv_heads, patch_size,
  image_size, layer_scale_init,
):  # fmt: skip
  """A transformers config with every field the layers read made explicit."""
  config = Sapiens2Config(
    hidden_size=embed_dim,
    num_hidden_layers=num_layers,
    num_attention_heads=num_heads,
    intermediate_size=hidden_dim,
    num_key_value_heads_per_layer=list(num_kv_heads),
    patch_size=patch_size,
    image_size=list(image_size),
    num_register_tokens=NUM_REGISTERS,
    layerscale_value=layer_scale_init,
    pos_embed_rescale=None,  # the default augments positions in training
    use_gated_mlp=True,
    use_qk_norm=True,
  )
  config._attn_implementation = "sdpa"
  return config


def rope_table(config, image_size):
  """(cos, sin) of a full grid, each (rows * cols, head_dim)."""
  rope = Sapiens2RopePositionEmbedding(config)
  return rope(torch.zeros(1, 3, *image_size))


def patchify(images, patch_size):
  """(b, h, w, c) -> (b, n, p * p * c), in row, column, channel order."""
  b, h, w, c = images.shape
  p = patch_size
  x = images.reshape(b, h // p, p, w // p, p, c).permute(0, 1, 3, 2, 4, 5)
  return x.reshape(b, (h // p) * (w // p), p * p * c)


def take(tokens, ids):
  """Rows `ids` (b, m) of `tokens` (b, n, d) -> (b, m, d)."""
  return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))


class Decoder(nn.Module):
  """Predicts the pixels of every patch from the visible ones."""

  def __init__(self, config, embed_dim, patch_size):
    super().__init__()
    width = config.hidden_size
    self.embed = nn.Linear(embed_dim, width)
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
    self.layer = nn.ModuleList(
      Sapiens2Layer(config, layer_idx=i)
      for i in range(config.num_hidden_layers)
    )
    self.norm = Sapiens2RMSNorm(width, eps=config.rms_norm_eps)
    self.output = nn.Linear(width, patch_size * patch_size * 3)

  def forward(self, visible, visible_ids, num_patches, rope):
    x = self.embed(visible)
    full = self.mask_token.to(x.dtype)  # Of autocast, where that is on.
    full = full.expand(x.shape[0], num_patches, x.shape[-1])
    ids = visible_ids[..., None].expand(-1, -1, x.shape[-1])
    x = full.scatter(1, ids, x)
    for layer in self.layer:
      x = layer(x, position_embeddings=rope)
    return self.output(self.norm(x))


class ProjectionHead(nn.Module):
  """[cls] -> L2-normalised bottleneck -> prototype logits."""

  def __init__(self, embed_dim, hidden, bottleneck, prototypes):
    super().__init__()
    self.fc1 = nn.Linear(embed_dim, hidden)
    self.fc2 = nn.Linear(hidden, hidden)
    self.fc3 = nn.Linear(hidden, bottleneck)
    self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)

  def forward(self, cls):
    x = F.gelu(self.fc1(cls))
    x = F.gelu(self.fc2(x))
    x = F.normalize(self.fc3(x), dim=-1, eps=1e-12)
    return self.prototypes(x)


def encode(backbone, patches, rope):
  """Patch pixels (b, n, p*p*3) -> normalised tokens (b, 9 + n, d)."""
  embeddings = backbone.embeddings
  conv = embeddings.patch_embeddings
  kernel = conv.weight.permute(0, 2, 3, 1).flatten(1)
  x = F.linear(patches, kernel, conv.bias)
  b = x.shape[0]
  cls = embeddings.cls_token.expand(b, -1, -1)
  registers = embeddings.register_tokens.expand(b, -1, -1)
  x = torch.cat([cls, registers, x], dim=1)
  for layer in backbone.model.layer:
    x = layer(x, position_embeddings=rope)
  return backbone.norm(x)
