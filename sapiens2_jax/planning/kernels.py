"""What the attention kernel costs: the compiler does not look inside.

Its products have the head's width as one side. A matrix unit of 128 x 128 is
half busy with heads of 64; how much of its peak the kernel reaches on products
padded to the unit stands in the compiler's schedule of it.
"""

import dataclasses
import json
import math

from sapiens2_jax.chips import Chip
from sapiens2_jax.models.attention_kernel import LANES
from sapiens2_jax.planning import hlo

# Fraction of the peak, on padded products, of JAX's splash kernels: forward
# with up to 896 keys and with more, backward with both. Cycles of the ideal
# over VLIW bundles that the compiler scheduled for a block (libtpu 0.0.52): a
# bundle a cycle, the kernel never waiting for memory. Not measured on a chip.
# `benchmarks/kernels.py` found these before it knew the model's own kernels.
SPLASH = {
  "v4": (0.41, 0.51, 0.74, 0.74),
  "v5e": (0.55, 0.76, 0.92, 0.92),
  "v5p": (0.56, 0.76, 0.90, 0.90),
  "v6e": (0.45, 0.53, 0.80, 0.80),
  "tpu7x": (0.40, 0.53, 0.80, 0.80),
}
# The same of the model's own kernels (models/attention_kernel.py), by
# `benchmarks/kernels.py`; above 1 products run beside each other. Heads
# narrower than 128, then others.
NARROW = {
  "v4": (0.71, 0.69, 0.95, 1.06),
  "v5e": (1.03, 1.05, 1.37, 1.18),
  "v5p": (1.01, 1.06, 1.30, 1.29),
  "v6e": (0.80, 0.78, 1.18, 0.93),
  "tpu7x": (0.84, 0.79, 1.18, 0.93),
}
WIDE = {
  "v4": (0.66, 0.66, 0.83, 0.83),
  "v5e": (0.86, 0.86, 0.94, 0.94),
  "v5p": (0.89, 0.89, 0.88, 0.88),
  "v6e": (0.65, 0.65, 0.88, 0.88),
  "tpu7x": (0.67, 0.67, 0.90, 0.90),
}
SHORT = 896  # keys
# Products of (queries x keys x head width) in each kernel: forward has q k and
# weights v; backward computes q k again, and dv, dp, dk; dq in the same kernel
# or, with q k and dp, in one of its own.
_SPLASH_PRODUCTS = {
  "splash_mha_fwd": 2,
  "splash_mha_dkv": 4,
  "splash_mha_dq": 3,
}
_TILES = {
  "splash_mha_fwd": "",
  "splash_mha_dkv": "_dkv",
  "splash_mha_dq": "_dq",
}
# Of the model's own, by kind.
PRODUCTS = {"forward": 2, "backward": 5}
_HEADS_LAST = 1  # `QKVLayout.HEAD_DIM_MINOR`; else tokens lie last.


@dataclasses.dataclass(frozen=True)
class KernelCost:
  """One run of a kernel."""

  flops: int  # as multiplied
  head_dim: int
  num_keys: int  # padded
  is_backward: bool  # the kernel of the gradients
  is_own: bool = False  # of the model, not of JAX

  def seconds(self, chip: Chip) -> float:
    """Estimated time on a chip, heads padded to its matrix unit."""
    padded = -(-self.head_dim // chip.matrix_unit) * chip.matrix_unit
    table = SPLASH
    if self.is_own:
      table = NARROW if self.head_dim < LANES else WIDE
    is_long = self.num_keys > SHORT
    reached = table[chip.name][2 * self.is_backward + is_long]
    busy = reached * self.head_dim / padded
    return self.flops / (chip.peak_flops * busy)


def kernel_cost(item: hlo.Instruction) -> KernelCost:
  """Cost of an attention kernel: of the tiles that no mask leaves out.

  A mask that the kernel computes itself is taken as causal; one of another
  kind, or that is read, is nowhere in these programs.

  Raises:
    ValueError: it is no kernel that is known here.
  """
  name = item.attribute(r'op_name="([^"]*)"') or item.name
  arrays = [array for operand in item.operands for array in operand.result]
  for kind, products in PRODUCTS.items():
    if f"attention_{kind}" in name:
      *batch, e, _ = arrays[0].dims
      n, m = (-(-a.dims[-1] // LANES) * LANES for a in arrays[:2])
      flops = 2 * products * math.prod(batch) * n * m * e
      return KernelCost(flops, e, m, kind == "backward", is_own=True)
  known = [kernel for kernel in _SPLASH_PRODUCTS if kernel in name]
  if not known:
    raise ValueError(f"{name}: no cost is known for this kernel.")
  sizes = _read_sizes(item)
  queries, keys = [
    a.dims for a in arrays if len(a.dims) > 2 and a.dtype != "s8"
  ][:2]
  heads_last = sizes.get("q_layout") == _HEADS_LAST
  n, e = queries[-2:] if heads_last else queries[:-3:-1]
  m = keys[-2] if sizes.get("k_layout") == _HEADS_LAST else keys[-1]
  weights = n * m
  positions = any(a.dtype == "s32" and len(a.dims) == 2 for a in arrays)
  if positions and "segmented" not in name:
    tile = [sizes[f"block_{side}{_TILES[known[0]]}"] for side in ("q", "kv")]
    weights = _causal_weights(n, m, *tile)
  products = _SPLASH_PRODUCTS[known[0]]
  if known[0].endswith("dkv") and sizes.get("use_fused_bwd_kernel", True):
    products += 1  # dq, of which the other kernel would compute all anew.
  flops = 2 * products * math.prod(queries[:-2]) * weights * e
  return KernelCost(flops, e, m, is_backward=not known[0].endswith("fwd"))


def _read_sizes(item: hlo.Instruction) -> dict:
  """Tiles and layouts, which JAX writes beside the kernel."""
  text = item.attribute(r'"xprof_metadata":"(\{.*?\})"')
  return json.loads(text.replace('\\"', '"')) if text else {}


def _causal_weights(n: int, m: int, block_q: int, block_kv: int) -> int:
  """Weights in tiles that have at least one key before a query."""
  ends = range(block_q, n + block_q, block_q)
  keys = (-(-min(end, m) // block_kv) * block_kv for end in ends)
  return block_q * sum(keys)
