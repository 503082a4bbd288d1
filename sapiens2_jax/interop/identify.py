"""Which architecture a set of tensors is, and what is wrong with it."""

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from sapiens2_jax.architectures import ARCHITECTURES, Architecture
from sapiens2_jax.interop import keys
from sapiens2_jax.interop.tensors import DTYPES, LazyTensor, shorten
from sapiens2_jax.models.rope import bfloat16_periods


@dataclasses.dataclass(frozen=True)
class Identified:
  """Tensors that are known to be whole.

  Attributes:
    architecture: that they fit.
    style: of their keys, one of `keys.STYLES`.
    tensors: without prefix and without the buffer of RoPE periods.
  """

  architecture: Architecture
  style: str
  tensors: Mapping[str, LazyTensor]


def identify(tensors: Mapping[str, LazyTensor], origin: str) -> Identified:
  """Finds architecture and key style from names and shapes; reads no weights.

  The width names the size: a file as wide as a known size must be all of it.
  Other widths are accepted if the blocks fit together.

  Args:
    tensors: of one encoder, in either key style, with or without one prefix
      on every key.
    origin: file name for messages.

  Raises:
    ValueError: lists missing, unexpected and wrongly shaped keys.
  """
  for prefix in keys.PREFIXES:
    if tensors and all(key.startswith(prefix) for key in tensors):
      tensors = {key[len(prefix) :]: x for key, x in tensors.items()}
  _refuse_other_models(tensors, origin)
  style = _style(tensors, origin)
  arch = _architecture(tensors, style, origin)
  expected = {
    key: shape
    for slot in keys.slots(arch)
    for key, shape in slot.keys(style).items()
  }
  allowed = {**expected, keys.PERIODS_KEY: (arch.head_dim // 4,)}
  problems = {
    "missing": [key for key in expected if key not in tensors],
    "unexpected": [key for key in tensors if key not in allowed],
    "wrong shape": [
      f"{key} {x.shape} should be {allowed[key]}"
      for key, x in tensors.items()
      if key in allowed and x.shape != allowed[key]
    ],
    "unsupported dtype": [
      f"{key} {x.dtype}" for key, x in tensors.items() if x.dtype not in _KNOWN
    ],
  }
  if any(problems.values()):
    lines = [f"{origin}: does not fit {arch.name} ({style} keys)"]
    for what, found in problems.items():
      if found:
        lines.append(f"  {what} ({len(found)}): {shorten(found)}")
    raise ValueError("\n".join(lines))
  _check_periods(tensors, arch, origin)
  return Identified(arch, style, {key: tensors[key] for key in expected})


_KNOWN = set(DTYPES.values())


def _refuse_other_models(tensors: Mapping[str, LazyTensor], origin: str):
  kinds = {
    "tokenizer.": "the 4K variant with a tokenizer, which is not supported yet",
    "decode_head.": "a task model with a head; only encoders are supported",
  }
  for part, kind in kinds.items():
    if any(key.startswith((part, f"backbone.{part}")) for key in tensors):
      raise ValueError(f"{origin}: {kind} (keys {part}*)")


def _style(tensors: Mapping[str, LazyTensor], origin: str) -> str:
  known = {
    style: sum(keys.parse(key, style) is not None for key in tensors)
    for style in keys.STYLES
  }
  style = max(known, key=known.get)
  if not known[style]:
    raise ValueError(
      f"{origin}: not a Sapiens2 encoder; none of its {len(tensors)} keys is "
      f"known: {shorten(list(tensors), 3)}"
    )
  return style


def _architecture(
  tensors: Mapping[str, LazyTensor], style: str, origin: str
) -> Architecture:
  parsed = {key: keys.parse(key, style) for key in tensors}
  widths, head_dims, kv_dims, blocks = Counter(), Counter(), {}, [-1]
  for key, found in parsed.items():
    if found is None:
      continue
    (entry, block), shape = found, tensors[key].shape
    if entry.shape == ("c",):
      widths[shape] += 1
    elif entry.shape == ("e",):
      head_dims[shape] += 1
    elif entry.shape == ("kv", "c") and len(shape) == 2:
      kv_dims[block] = min(kv_dims.get(block, shape[0]), shape[0])
    if block is not None:
      blocks.append(block)
  width = _one_axis(widths)
  for arch in ARCHITECTURES.values():
    if arch.embed_dim == width:
      return arch
  head_dim, num_layers = _one_axis(head_dims), max(blocks) + 1
  if not width or not head_dim or width % head_dim or not num_layers:
    raise ValueError(
      f"{origin}: cannot tell the size from its {len(tensors)} keys "
      f"(width {width or '-'}, head width {head_dim or '-'}, "
      f"{num_layers} blocks)"
    )
  full = [kv_dims.get(i, width) == width for i in range(num_layers)]
  first = next((i for i, x in enumerate(full) if not x), num_layers)
  last = next((i for i, x in enumerate(full[::-1]) if not x), 0)
  return Architecture(
    name=f"custom_{width}x{num_layers}",
    embed_dim=width,
    num_layers=num_layers,
    num_heads=width // head_dim,
    num_full_first=first,
    num_full_last=last,
  )


def _one_axis(shapes: Counter) -> int | None:
  """The length of the most frequent shape of one axis."""
  for shape, _ in shapes.most_common():
    if len(shape) == 1:
      return shape[0]
  return None


def _check_periods(tensors, arch: Architecture, origin: str) -> None:
  if keys.PERIODS_KEY not in tensors:
    return
  found = tensors[keys.PERIODS_KEY].load().astype(np.float32)
  expected = bfloat16_periods(arch.head_dim).astype(np.float32)
  # One part in 128: either number format, and its rounding, passes.
  if not np.allclose(found, expected, rtol=2**-7, atol=0):
    raise ValueError(
      f"{origin}: {keys.PERIODS_KEY} is not that of Sapiens2 (base 100): "
      f"{found.tolist()}"
    )
