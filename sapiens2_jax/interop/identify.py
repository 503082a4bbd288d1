"""Which architecture a set of tensors is, and what is wrong with it."""

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from sapiens2_jax.architectures import (
  ARCHITECTURES,
  Architecture,
  custom_architecture,
)
from sapiens2_jax.interop import head_keys, keys
from sapiens2_jax.interop.head_keys import ENCODER_PREFIX, Head
from sapiens2_jax.interop.identify_head import (
  HEAD_PREFIXES,
  find_head,
  has_head,
)
from sapiens2_jax.interop.tensors import DTYPES, LazyTensor, Tensors, shorten
from sapiens2_jax.models.rope import bfloat16_periods, float32_periods


@dataclasses.dataclass(frozen=True)
class Identified:
  """Tensors that are known to be whole.

  Attributes:
    architecture: that they fit.
    style: of their keys, one of `keys.STYLES`.
    head: of a task model; None for an encoder.
    tensors: without the buffer of RoPE periods; those of an encoder without
      prefix.
    removed: what was taken off the keys: prefixes, names of wrappers.
    rope_dtype: of the rotations, as the buffer of RoPE periods tells; None
      without one.
  """

  architecture: Architecture
  style: str
  head: Head | None
  tensors: Tensors
  removed: tuple[str, ...] = ()
  rope_dtype: str | None = None


def identify(
  tensors: Tensors, origin: str, labels: Mapping[str, str] | None = None
) -> Identified:
  """Finds architecture and key style from names and shapes; reads no weights.

  The width names the size: a file as wide as a known size must be all of it.
  Other widths are accepted if the blocks fit together.

  Args:
    tensors: of one encoder, in either key style, or of one encoder and one
      head; with or without prefixes on every key and names of wrappers.
    origin: file name for messages.
    labels: by task, those of `Head` that are noted beside the tensors.

  Raises:
    ValueError: lists missing, unexpected and wrongly shaped keys.
  """
  tensors, removed = _unwrap(tensors, origin)
  style, encoder = _encoder(tensors, origin)
  arch = _architecture(encoder, style, origin)
  head = None
  if has_head(tensors):
    head = find_head(tensors, style, origin, labels or {})
  expected = {
    key: shape
    for slot in head_keys.slots(arch, head)
    for key, shape in slot.keys(style).items()
  }
  periods_key = head_keys.periods_key(head)
  allowed = {**expected, periods_key: (arch.head_dim // 4,)}
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
    model = f"{arch.name}, {head.task}" if head else arch.name
    lines = [f"{origin}: does not fit {model} ({style} keys)"]
    for what, found in problems.items():
      if found:
        lines.append(f"  {what} ({len(found)}): {shorten(found)}")
    raise ValueError("\n".join(lines))
  rope_dtype = None
  if periods_key in tensors:
    rope_dtype = _rope_dtype(periods_key, tensors[periods_key], arch, origin)
  known = {key: tensors[key] for key in expected}
  return Identified(arch, style, head, known, removed, rope_dtype)


_KNOWN = set(DTYPES.values())
# Modules of PyTorch that hold a model: compiled, on several devices, sharded.
_WRAPPERS = (
  *("_orig_mod.", "module.", "_fsdp_wrapped_module."),
  "_checkpoint_wrapped_module.",
)
_WRAPPER = re.compile(rf"(?<![^.])(?:{'|'.join(map(re.escape, _WRAPPERS))})")


def _unwrap(tensors: Tensors, origin: str) -> tuple[Tensors, tuple[str, ...]]:
  """Keys without wrappers, anywhere, and prefixes; and which there were."""
  removed = dict.fromkeys(x for key in tensors for x in _WRAPPER.findall(key))
  names = {key: _WRAPPER.sub("", key) for key in tensors}
  if twice := [key for key, n in Counter(names.values()).items() if n > 1]:
    raise ValueError(
      f"{origin}: keys that differ only in {', '.join(removed)} "
      f"({len(twice)}): {shorten(twice)}"
    )
  prefixes = {*keys.PREFIXES}
  while found := [
    prefix
    for prefix in prefixes
    if names and all(name.startswith(prefix) for name in names.values())
  ]:
    (prefix,) = found
    prefixes.remove(prefix)
    removed[prefix] = None
    names = {key: name[len(prefix) :] for key, name in names.items()}
  # A module of another name, such as `net.`.
  common = os.path.commonprefix([*names.values()]).rpartition(".")
  prefix = "".join(common[:2])
  cut = {key: name.removeprefix(prefix) for key, name in names.items()}
  if any(map(_is_known, cut.values())) > any(map(_is_known, names.values())):
    removed[prefix] = None
    names = cut
  return {names[key]: x for key, x in tensors.items()}, tuple(removed)


def _is_known(key: str) -> bool:
  """Whether a key without wrappers is one of an encoder or a task model."""
  return key.startswith((*ENCODER_PREFIX.values(), *HEAD_PREFIXES)) or any(
    keys.parse(key, style) for style in keys.STYLES
  )


def _encoder(tensors: Tensors, origin: str) -> tuple[str, Tensors]:
  """Key style of the encoder, and its tensors without their prefix."""
  if not has_head(tensors):
    return _style(tensors, origin), tensors
  for style, prefix in ENCODER_PREFIX.items():
    found = {
      key.removeprefix(prefix): x
      for key, x in tensors.items()
      if key.startswith(prefix)
    }
    if found:
      return style, found
  raise ValueError(
    f"{origin}: a head without an encoder; none of its {len(tensors)} keys "
    f"begins with {' or '.join(ENCODER_PREFIX.values())}"
  )


def _style(tensors: Tensors, origin: str) -> str:
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


def _architecture(tensors: Tensors, style: str, origin: str) -> Architecture:
  widths, head_dims, kv_dims, blocks = Counter(), Counter(), {}, [-1]
  window_layers, window_size = 0, 1
  for key, tensor in tensors.items():
    if (found := keys.parse(key, style)) is None:
      continue
    (entry, block), shape = found, tensor.shape
    if key.startswith(keys.WINDOW_PREFIX):
      if "w" in entry.shape and len(shape) == 3:
        # Positions of the window's own token and of its patches.
        window_size = math.isqrt(max(shape[1] - 1, 0))
      elif block is not None:
        window_layers = max(window_layers, block + 1)
      continue
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
    if arch.embed_dim == width and arch.has_windows == (window_layers > 0):
      return arch
  head_dim, num_layers = _one_axis(head_dims), max(blocks) + 1
  if max(num_layers, window_layers) > len(tensors):
    raise ValueError(
      f"{origin}: a key names block {max(num_layers, window_layers) - 1}, of "
      f"{len(tensors)} tensors in all"
    )
  if not width or not head_dim or width % head_dim or not num_layers:
    raise ValueError(
      f"{origin}: cannot tell the size from its {len(tensors)} keys "
      f"(width {width or '-'}, head width {head_dim or '-'}, "
      f"{num_layers} blocks)"
    )
  full = [kv_dims.get(i, width) == width for i in range(num_layers)]
  first = next((i for i, x in enumerate(full) if not x), num_layers)
  last = next((i for i, x in enumerate(full[::-1]) if not x), 0)
  return custom_architecture(
    embed_dim=width,
    num_layers=num_layers,
    num_heads=width // head_dim,
    num_full_first=first,
    num_full_last=last,
    window_size=window_size,
    num_window_layers=window_layers,
  )


def _one_axis(shapes: Counter) -> int | None:
  """The length of the most frequent shape of one axis."""
  found = (shape[0] for shape, _ in shapes.most_common() if len(shape) == 1)
  return next(found, None)


def _rope_dtype(
  key: str, tensor: LazyTensor, arch: Architecture, origin: str
) -> str:
  """What the model computes rotations in: as the reference, or in float32."""
  found = tensor.load().astype(np.float32)
  # Computed in either number format, and saved in any. Those of bfloat16 are
  # up to one part in 85 off, as their exponents are rounded.
  rounded = bfloat16_periods(arch.head_dim).astype(np.float32)
  exact = float32_periods(arch.head_dim)
  if not any(np.allclose(found, x, 2**-8, 0) for x in (rounded, exact)):
    raise ValueError(
      f"{origin}: {key} is not that of Sapiens2 (base 100): {found.tolist()}"
    )
  is_exact = tensor.dtype == np.float32 and np.allclose(found, exact, 1e-5, 0)
  return "float32" if is_exact else "bfloat16"
