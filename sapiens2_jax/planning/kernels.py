"""What the attention kernel costs: the compiler does not look inside.

Its products have the head's width as one side. A matrix unit of 128 x 128 is
half busy with heads of 64; how much of its peak the kernel reaches on products
padded to the unit stands in the compiler's schedule of it.
"""

import dataclasses

from sapiens2_jax.chips import Chip
from sapiens2_jax.planning import hlo

# Fraction of the peak, on padded products: forward with up to 896 keys, forward
# with more, backward. Cycles of the ideal over VLIW bundles that the compiler
# scheduled for a block (libtpu 0.0.52, `benchmarks/kernels.py`): a bundle a
# cycle, the kernel never waiting for memory. Not measured on a chip.
EFFICIENCY = {
  "v4": (0.41, 0.51, 0.74),
  "v5e": (0.55, 0.76, 0.92),
  "v5p": (0.56, 0.76, 0.90),
  "v6e": (0.45, 0.53, 0.80),
}
SHORT = 896  # keys
# Products of (queries x keys x head width) in each kernel: forward has q k and
# weights v; backward computes the weights again, and dv, dp, dq, dk.
_PRODUCTS = {"splash_mha_fwd": 2, "splash_mha_dkv": 5}


@dataclasses.dataclass(frozen=True)
class KernelCost:
  """One run of a kernel."""

  flops: int  # as multiplied
  head_dim: int
  num_keys: int  # padded
  is_backward: bool  # the kernel of the gradients

  def seconds(self, chip: Chip) -> float:
    """Estimated time on a chip, heads padded to its matrix unit."""
    padded = -(-self.head_dim // chip.matrix_unit) * chip.matrix_unit
    short, long, backward = EFFICIENCY[chip.name]
    reached = short if self.num_keys <= SHORT else long
    reached = backward if self.is_backward else reached
    busy = reached * self.head_dim / padded
    return self.flops / (chip.peak_flops * busy)


def kernel_cost(name: str, operands: list[tuple[hlo.Array, ...]]) -> KernelCost:
  """Cost of a splash attention kernel from its operands' shapes.

  Args:
    name: of the operation, as the compiler records it.
    operands: of the custom call; queries (b, h, e, n), then keys.

  Raises:
    ValueError: it is no kernel that is known here.
  """
  known = [kernel for kernel in _PRODUCTS if kernel in name]
  if not known:
    raise ValueError(f"{name}: no cost is known for this kernel.")
  four = [a for arrays in operands for a in arrays if len(a.dims) == 4]
  b, h, e, n = four[0].dims
  m = four[1].dims[3]
  flops = 2 * _PRODUCTS[known[0]] * b * h * n * m * e
  return KernelCost(flops, e, m, is_backward=known[0].endswith("dkv"))
