"""What a TPU chip can do: the numbers that plans and MFU divide by."""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One device, as JAX shows it: a chip, or what is a part of one.

  Attributes:
    name: as in a topology, e.g. "v5p".
    device_kinds: what `jax.Device.device_kind` says.
    peak_flops: dense bfloat16 FLOP/s.
    hbm_bytes: that a program may use; a little below the data sheet's. As the
      compiler's own message says when a program is too large (libtpu 0.0.52).
    hbm_bandwidth: bytes/s.
    link_bandwidth: bytes/s of one link between chips, one direction.
    dcn_bandwidth: bytes/s of one chip's share to other slices.
    frequency: cycles/s, for the compiler's cycle counts.
    matrix_unit: side of its square of multipliers.
    wraps_from: side of a slice from which its links close a ring.
    devices: that JAX shows of one chip; all numbers are of one of them.

  Source: cloud.google.com/tpu/docs (peaks, HBM); "How to Scale Your Model",
  jax-ml.github.io/scaling-book (links, data-centre network).
  """

  name: str
  device_kinds: tuple[str, ...]
  peak_flops: float
  hbm_bytes: float
  hbm_bandwidth: float
  link_bandwidth: float
  dcn_bandwidth: float
  frequency: float
  matrix_unit: int
  wraps_from: int
  devices: int = 1


_CHIPS = (
  Chip(
    "v4",
    ("TPU v4",),
    *(275e12, 30.75 * GIB, 1.228e12, 4.5e10, 3.1e9, 1.05e9, 128, 4),
  ),
  Chip(
    "v5e",
    ("TPU v5 lite", "TPU v5e"),
    *(197e12, 15.75 * GIB, 0.819e12, 4.5e10, 3.1e9, 1.5e9, 128, 16),
  ),
  Chip(
    "v5p",
    ("TPU v5", "TPU v5p"),
    *(459e12, 95.73 * GIB, 2.765e12, 9e10, 6.25e9, 1.75e9, 128, 4),
  ),
  Chip(
    "v6e",
    ("TPU v6 lite", "TPU v6e"),
    *(918e12, 31.24 * GIB, 1.64e12, 9e10, 12.5e9, 1.75e9, 256, 16),
  ),
  Chip(  # Half of one: JAX shows each of its two as a device.
    "tpu7x",
    ("TPU7x",),
    *(1153.5e12, 94.74 * GIB, 3.69e12, 9e10, 6.25e9, 2.2e9, 256, 4, 2),
  ),
)
CHIPS = {chip.name: chip for chip in _CHIPS}


def find_chip(device_kind: str) -> Chip | None:
  """The chip that a `device_kind` names, None if it is not in the table."""
  for chip in _CHIPS:
    if device_kind in chip.device_kinds:
      return chip
  return None
