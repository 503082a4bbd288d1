"""What GPUs hold and can do: the numbers that plans and MFU divide by."""

import dataclasses

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Gpu:
  """One card.

  Attributes:
    name: what `plan --device` takes.
    device_kinds: what `jax.Device.device_kind` says.
    peak_flops: dense bfloat16 FLOP/s, summed in float32.
    memory_bytes: of the card, as nvidia-smi shows it, ECC as it is shipped.
    capability: CUDA compute capability.

  Source: NVIDIA's data sheets of A100, H100, H200, L4, L40S and RTX A6000,
  white papers of GA102 and of AD102 (RTX 4090); printed outputs of nvidia-smi
  for the memory.
  """

  name: str
  device_kinds: tuple[str, ...]
  peak_flops: float
  memory_bytes: int
  capability: str


_GPUS = (
  Gpu(
    *("a100-40", ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB")),
    *(312e12, 40960 * MIB, "8.0"),
  ),
  Gpu(
    *("a100-80", ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe")),
    *(312e12, 81920 * MIB, "8.0"),
  ),
  Gpu(
    *("h100", ("NVIDIA H100 80GB HBM3",)),  # SXM; not the PCIe card's clocks
    *(989e12, 81559 * MIB, "9.0"),
  ),
  Gpu("h200", ("NVIDIA H200",), 989e12, 143771 * MIB, "9.0"),
  Gpu("l4", ("NVIDIA L4",), 121e12, 23034 * MIB, "8.9"),
  Gpu(
    *("rtx4090", ("NVIDIA GeForce RTX 4090",)),
    *(165.2e12, 24564 * MIB, "8.9"),
  ),
  Gpu("l40s", ("NVIDIA L40S",), 362.05e12, 46068 * MIB, "8.9"),
  Gpu("a6000", ("NVIDIA RTX A6000",), 154.8e12, 49140 * MIB, "8.6"),
)
GPUS = {gpu.name: gpu for gpu in _GPUS}


def find_gpu(device_kind: str) -> Gpu | None:
  """The card that a `device_kind` names, None if it is not in the table."""
  for gpu in _GPUS:
    if device_kind in gpu.device_kinds:
      return gpu
  return None
