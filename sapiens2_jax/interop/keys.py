"""The one table of tensor names and layouts: reference, transformers, ours.

Shapes are those of the reference, in letters: c embed_dim, kv key/value
width, e head_dim, f hidden_dim, g = 2 f, r registers, p patch size, w tokens of
a window with its own.

Source: state dict of the public Sapiens2 release; names of the Hugging Face
transformers port.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator

import numpy as np

from sapiens2_jax.architectures import Architecture
from sapiens2_jax.interop.copies import in_order

PERIODS_KEY = "rope_embed.periods"  # a buffer, computed; not learned
PREFIXES = ("backbone.", "model.")  # a task model's encoder
STYLES = ("reference", "transformers")


@dataclasses.dataclass(frozen=True)
class Layout:
  """How one array differs between the reference and our tree.

  Attributes:
    to_ours: reference layout to ours.
    to_reference: exact inverse.
  """

  to_ours: Callable[[np.ndarray], np.ndarray]
  to_reference: Callable[[np.ndarray], np.ndarray]


def _patch_to_ours(x: np.ndarray) -> np.ndarray:
  # (d, channel, row, col) -> (row col channel, d)
  return x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])


def _patch_to_reference(x: np.ndarray) -> np.ndarray:
  size = math.isqrt(x.shape[0] // 3)
  return x.reshape(size, size, 3, -1).transpose(3, 2, 0, 1)


def _gated_to_ours(x: np.ndarray) -> np.ndarray:
  # (gate rows, then up rows; d) -> (2, d, f)
  return x.reshape(2, -1, x.shape[1]).transpose(0, 2, 1)


def _gated_to_reference(x: np.ndarray) -> np.ndarray:
  return in_order(x.transpose(0, 2, 1)).reshape(-1, x.shape[1])


SAME = Layout(lambda x: x, lambda x: x)
LINEAR = Layout(np.transpose, np.transpose)
TOKENS = Layout(lambda x: x[0], lambda x: x[None])
PATCH = Layout(_patch_to_ours, _patch_to_reference)
GATED = Layout(_gated_to_ours, _gated_to_reference)
GATED_BIAS = Layout(lambda x: x.reshape(2, -1), lambda x: x.reshape(-1))


@dataclasses.dataclass(frozen=True)
class Entry:
  """One parameter, or one parameter of every block.

  Attributes:
    reference: key; `{n}` stands for the block.
    transformers: its keys, equal parts of the reference array on axis 0.
    path: in our tree; in a block relative to its segment.
    shape: of the reference array, in letters and numbers.
    layout: change between the reference array and ours.
  """

  reference: str
  transformers: tuple[str, ...]
  path: tuple[str, ...]
  shape: tuple[str | int, ...]
  layout: Layout = SAME

  @property
  def is_in_block(self) -> bool:
    return "{n}" in self.reference

  def names(self, style: str) -> tuple[str, ...]:
    """The keys that hold the array in a file of `style`."""
    return (self.reference,) if style == "reference" else self.transformers

  def below(self, reference: str, transformers: str) -> "Entry":
    """The entry with prefixes before its names."""
    theirs = tuple(transformers + name for name in self.transformers)
    name = reference + self.reference
    return dataclasses.replace(self, reference=name, transformers=theirs)


def layer(
  reference: str,
  transformers: str,
  path: tuple[str, ...],
  shape: tuple[str | int, ...],
  layout: Layout = LINEAR,
  has_bias: bool = True,
) -> Iterator[Entry]:
  """Kernel and bias of a linear layer or a convolution."""
  names = f"{reference}.weight", (f"{transformers}.weight",)
  yield Entry(*names, (*path, "kernel"), shape, layout)
  if has_bias:
    names = f"{reference}.bias", (f"{transformers}.bias",)
    yield Entry(*names, (*path, "bias"), shape[:1])


def _tensor(name, theirs, path, shape, layout=SAME) -> Entry:
  """Of texts that hold several names, a path, a shape: blanks between."""
  sizes = (int(size) if size.isdigit() else size for size in shape.split())
  names = tuple(theirs.split())
  return Entry(name, names, tuple(path.split()), tuple(sizes), layout)


def _linear(name, theirs, path, shape) -> Iterator[Entry]:
  return layer(name, theirs, tuple(path.split()), tuple(shape.split()))


def _norm(name, theirs, path, size="c") -> Entry:
  return _tensor(f"{name}.weight", f"{theirs}.weight", f"{path} scale", size)


_STEM = (
  _tensor("cls_token", "embeddings.cls_token", "cls_token", "1 1 c", TOKENS),
  _tensor(
    "storage_tokens", "embeddings.register_tokens", "registers", "1 r c", TOKENS
  ),
  *layer(
    "patch_embed.projection",
    "embeddings.patch_embeddings",
    ("patch_embed",),
    ("c", 3, "p", "p"),
    PATCH,
  ),
  _norm("ln1", "norm", "norm"),
)


def _full_heads(shape: tuple[str | int, ...]) -> tuple[str | int, ...]:
  return tuple("c" if size == "kv" else size for size in shape)


_W12, _B12 = (
  " ".join(f"mlp.{name}_proj.{part}" for name in ("gate", "up"))
  for part in ("weight", "bias")
)
_BLOCK = (
  _norm("ln1", "norm1", "norm1"),
  *_linear("attn.wq", "attention.q_proj", "attention q", "c c"),
  *_linear("attn.wk", "attention.k_proj", "attention k", "kv c"),
  *_linear("attn.wv", "attention.v_proj", "attention v", "kv c"),
  _norm("attn.q_norm", "attention.q_norm", "attention q_norm", "e"),
  _norm("attn.k_norm", "attention.k_norm", "attention k_norm", "e"),
  *_linear("attn.proj", "attention.o_proj", "attention proj", "c c"),
  _tensor("attn.gamma.weight", "layer_scale1.lambda1", "gamma", "c"),
  _norm("ln2", "norm2", "norm2"),
  _tensor("ffn.w12.weight", _W12, "ffn w12", "g c", GATED),
  _tensor("ffn.w12.bias", _B12, "ffn b12", "g", GATED_BIAS),
  *_linear("ffn.w3", "mlp.down_proj", "ffn w3", "c f"),
)
_BLOCK_PREFIX = {"reference": "blocks.{n}.", "transformers": "model.layer.{n}."}

# The local stage of the 4K variant, which transformers does not have.
_WINDOW = (
  _tensor("w_cls", "", "window_token", "1 1 c", TOKENS),
  _tensor("local_pos_embed", "", "window_positions", "1 w c", TOKENS),
)
_WINDOW_BLOCK = tuple(
  dataclasses.replace(entry, transformers=(), shape=_full_heads(entry.shape))
  for entry in _BLOCK
  if not {"q_norm", "k_norm", "gamma"} & set(entry.path)
)
WINDOW_PREFIX = "tokenizer."

TABLE = (*_STEM, *(entry.below(**_BLOCK_PREFIX) for entry in _BLOCK))
WINDOW_TABLE = (
  *(entry.below(WINDOW_PREFIX, "") for entry in _WINDOW),
  *(
    entry.below(f"{WINDOW_PREFIX}blocks.{{n}}.", "") for entry in _WINDOW_BLOCK
  ),
)


@dataclasses.dataclass(frozen=True)
class Slot:
  """An `Entry` of one architecture, in one block.

  Attributes:
    entry: of the table.
    block: number of the block, None outside the blocks.
    path: in our tree.
    row: of the array at `path`, None outside the blocks.
    num_rows: that the array has, None outside the blocks.
    shape: of the reference array.
  """

  entry: Entry
  block: int | None
  path: tuple[str, ...]
  row: int | None
  num_rows: int | None
  shape: tuple[int, ...]

  def keys(self, style: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes in a file of `style`."""
    names = self.entry.names(style)
    shape = (self.shape[0] // len(names), *self.shape[1:])
    return {name.format(n=self.block): shape for name in names}


def slots(arch: Architecture) -> Iterator[Slot]:
  """Every array of an architecture, stem first, block by block."""
  sizes = {
    "c": arch.embed_dim,
    "e": arch.head_dim,
    "f": arch.hidden_dim,
    "g": 2 * arch.hidden_dim,
    "r": arch.num_registers,
    "p": arch.patch_size,
    "w": 1 + arch.window_size**2,
  }

  def make(entry, block=None, kv_heads=0, segment=(), row=None, rows=None):
    known = {**sizes, "kv": kv_heads * arch.head_dim}
    shape = tuple(known.get(size, size) for size in entry.shape)
    return Slot(entry, block, (*segment, *entry.path), row, rows, shape)

  yield from (make(entry) for entry in TABLE if not entry.is_in_block)
  if arch.has_windows:
    stage, rows = ("window_stage",), arch.num_window_layers
    for entry in WINDOW_TABLE:
      if not entry.is_in_block:
        yield make(entry, segment=stage)
    for row in range(rows):
      for entry in WINDOW_TABLE:
        if entry.is_in_block:
          segment = (*stage, "blocks", "segment_0")
          yield make(entry, row, 0, segment, row, rows)
  block = 0
  for i, (num_layers, kv_heads) in enumerate(arch.segments):
    segment = ("blocks", f"segment_{i}")
    for row in range(num_layers):
      for entry in TABLE:
        if entry.is_in_block:
          yield make(entry, block, kv_heads, segment, row, num_layers)
      block += 1


_NUMBER = "(0|[1-9][0-9]{0,3})"  # of a block


@functools.cache
def _patterns(style: str) -> tuple[tuple[re.Pattern, Entry], ...]:
  return tuple(
    (re.compile(re.escape(name).replace(r"\{n\}", _NUMBER)), entry)
    for entry in (*TABLE, *WINDOW_TABLE)
    for name in entry.names(style)
  )


def parse(key: str, style: str) -> tuple[Entry, int | None] | None:
  """The entry and block that `key` names, None if it names nothing."""
  for pattern, entry in _patterns(style):
    match = pattern.fullmatch(key)
    if match:
      return entry, int(match[1]) if match.groups() else None
  return None
