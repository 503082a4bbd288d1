r"""Peak learning rate x mask ratio, at the toy size.

Run:    sapiens2 sweep --config sweeps/learning_rate \
          --output runs/lr --config.data.path=runs/quickstart/corpus
Needs:  two CPU cores, about five minutes a point [measured: quickstart]
"""

from collections.abc import Iterator

BASE = "pretrain:size=toy"


def get_sweep() -> Iterator[dict[str, object]]:
  """Yields the overrides of each point; they are run in this order."""
  # A masked global view must have as many visible patches as a local view:
  # 12 or 24 of 48.
  for mask_ratio, local_size in ((0.75, (64, 48)), (0.5, (96, 64))):
    for peak_lr in (5e-4, 1e-3, 2e-3, 4e-3):
      yield {
        "optim.peak_lr": peak_lr,
        "masking.mask_ratio": mask_ratio,
        "data.local_size": local_size,
      }
