"""The size table: what each member of the Sapiens2 family is made of."""

import dataclasses
import itertools
import re

from sapiens2_jax import errors


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One size of the encoder.

  Block i has `num_heads` key/value heads if it is among the first
  `num_full_first` or the last `num_full_last` blocks, otherwise half as many.

  In the 4K variant a window of `window_size` x `window_size` patches becomes
  one token in a local stage of `num_window_layers` blocks (`models.windows`).

  Source: arXiv 2604.21681 table 1 and the public model card; `toy` and
  `toy_large`, its teacher, are ours.
  """

  name: str
  embed_dim: int
  num_layers: int
  num_heads: int
  num_full_first: int = 8
  num_full_last: int = 8
  patch_size: int = 16
  num_registers: int = 8
  window_size: int = 1
  num_window_layers: int = 0

  @property
  def has_windows(self) -> bool:
    """Whether it is of the 4K variant."""
    return self.window_size > 1

  @property
  def hidden_dim(self) -> int:
    """Width of the feed-forward layer."""
    return 4 * self.embed_dim

  @property
  def head_dim(self) -> int:
    return self.embed_dim // self.num_heads

  @property
  def num_prefix_tokens(self) -> int:
    """[cls] and the registers, which stand before the patches."""
    return 1 + self.num_registers

  @property
  def num_kv_heads(self) -> tuple[int, ...]:
    """Key/value heads of every block, in order."""
    last = self.num_layers - self.num_full_last
    return tuple(
      self.num_heads
      if i < self.num_full_first or i >= last
      else self.num_heads // 2
      for i in range(self.num_layers)
    )

  @property
  def segments(self) -> tuple[tuple[int, int], ...]:
    """Runs of equal blocks as (number of blocks, key/value heads)."""
    runs = itertools.groupby(self.num_kv_heads)
    return tuple((len(list(run)), kv_heads) for kv_heads, run in runs)

  @property
  def num_params(self) -> int:
    """Learned parameters of the encoder, from the shapes alone."""
    d = self.embed_dim
    total = self.patch_size**2 * 3 * d + d + self.num_prefix_tokens * d + d
    for kv_heads in self.num_kv_heads:
      kv_dim = kv_heads * self.head_dim
      attention = 2 * (d * d + d) + 2 * (d * kv_dim + kv_dim)
      scales = 2 * self.head_dim + 3 * d  # q/k norm; two norms, LayerScale
      feed_forward = 3 * d * self.hidden_dim + 2 * self.hidden_dim + d
      total += attention + scales + feed_forward
    if self.has_windows:
      feed_forward = 3 * d * self.hidden_dim + 2 * self.hidden_dim + d
      block = 4 * (d * d + d) + 2 * d + feed_forward
      # A window's own token, and positions of it and its patches.
      total += (2 + self.window_size**2) * d + self.num_window_layers * block
    return total


def _with_windows(size: Architecture, num_window_layers: int) -> Architecture:
  return dataclasses.replace(
    size,
    name=f"{size.name}_4k",
    window_size=4,
    num_window_layers=num_window_layers,
  )


_SIZES = (
  # ours: all three segments, small enough for a laptop
  Architecture("toy", 192, 4, 4, num_full_first=1, num_full_last=1),
  Architecture("toy_large", 288, 6, 6, num_full_first=1, num_full_last=1),
  Architecture("0.1b", 768, 12, 12),
  Architecture("0.4b", 1024, 24, 16),
  Architecture("0.8b", 1280, 32, 16),
  Architecture("1b", 1536, 40, 24),
  Architecture("5b", 2432, 56, 32),
)
_WINDOW_LAYERS = (2, 2, 2, 2, 3, 4, 6)
ARCHITECTURES = {
  size.name: size
  for size in (*_SIZES, *map(_with_windows, _SIZES, _WINDOW_LAYERS))
}


# Width, blocks, heads, blocks with all key/value heads at both ends; windows.
_CUSTOM = "custom_{}x{}_h{}_f{}_l{}_w{}_s{}"
_CUSTOM_NAME = re.compile(_CUSTOM.replace("{}", "([0-9]{1,6})"))


def custom_architecture(
  embed_dim: int,
  num_layers: int,
  num_heads: int,
  num_full_first: int = 8,
  num_full_last: int = 8,
  window_size: int = 1,
  num_window_layers: int = 0,
) -> Architecture:
  """One that is not in the table; `get_architecture` knows its name."""
  sizes = (
    *(embed_dim, num_layers, num_heads, num_full_first, num_full_last),
    *(window_size, num_window_layers),
  )
  return Architecture(
    _CUSTOM.format(*sizes),
    *sizes[:5],
    window_size=window_size,
    num_window_layers=num_window_layers,
  )


def get_architecture(name: str) -> Architecture:
  """Looks a size up by name, which may be that of a custom one.

  Raises:
    ValueError: if the name is unknown; lists the known ones.
  """
  if found := _CUSTOM_NAME.fullmatch(name):
    return custom_architecture(*map(int, found.groups()))
  return errors.lookup(ARCHITECTURES, name, "architecture")
