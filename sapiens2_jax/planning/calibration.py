"""How far estimates lie from measurements, chip by chip.

Of training runs whose speed is published, planned by the same account
(`benchmarks/calibration.py`). Those runs and their sources stand in
docs/calibration.jsonl; a test holds the numbers here against it.
"""

import dataclasses
import statistics
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Spread:
  """Measured over estimated seconds of a step: lowest, median, highest."""

  low: float
  median: float
  high: float


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Of one chip, for each account."""

  chip: str  # or ANY, of a chip that has no run
  runs: int
  roofline: Spread  # peak and bandwidth
  # Of the runs whose code was compiled, None if none was:
  cycles: Spread | None  # the compiler's own
  mixed: Spread | None  # cycles for products, bandwidth for the rest

  def correct(self, roofline: float) -> Spread:
    """Seconds of a step, from those by peak and bandwidth.

    Not by cycles: the compiler takes work that only moves bytes for 2.4 to 2.8
    times as long as HBM needs for them. Language models have little of it.
    """
    ratios = dataclasses.astuple(self.roofline)
    return Spread(*(roofline * ratio for ratio in ratios))


ANY = "any"
_FEW = 3
CALIBRATIONS = {
  found.chip: found
  for found in (
    Calibration("v6e", 4, Spread(1.156, 1.198, 1.257), None, None),
    Calibration(
      ANY,
      12,
      Spread(1.011, 1.156, 1.27),
      Spread(0.806, 0.879, 0.951),
      Spread(0.937, 0.966, 0.994),
    ),
    Calibration(
      "v5e",
      3,
      Spread(1.068, 1.109, 1.176),
      Spread(0.951, 0.951, 0.951),
      Spread(0.994, 0.994, 0.994),
    ),
    Calibration(
      "v5p",
      3,
      Spread(1.011, 1.051, 1.08),
      Spread(0.806, 0.806, 0.806),
      Spread(0.937, 0.937, 0.937),
    ),
    Calibration("tpu7x", 2, Spread(1.262, 1.266, 1.27), None, None),
  )
}


def find_calibration(chip: str) -> Calibration:
  """Of a chip; of all runs together where it has none.

  Where it has fewer than three, its range is at least as wide as that of all.
  """
  every = CALIBRATIONS[ANY]
  found = CALIBRATIONS.get(chip, every)
  if found.runs >= _FEW:
    return found
  own, wide = found.roofline, every.roofline
  roofline = Spread(
    min(own.low, own.median * wide.low / wide.median),
    own.median,
    max(own.high, own.median * wide.high / wide.median),
  )
  return dataclasses.replace(found, roofline=roofline)


def summarize(rows: Iterable[dict]) -> dict[str, Calibration]:
  """Rows of docs/calibration.jsonl -> chip, or ANY -> how its runs spread.

  Ratios are rounded to three digits.
  """
  by_chip: dict[str, list[dict]] = {}
  for row in rows:
    for chip in (row["chip"], ANY):
      by_chip.setdefault(chip, []).append(row)
  return {
    chip: Calibration(
      chip,
      len(found),
      *(
        _spread(
          row["measured_seconds"] / row[name] for row in found if row[name]
        )
        for name in ("estimated_seconds", "scheduled_seconds", "mixed_seconds")
      ),
    )
    for chip, found in by_chip.items()
  }


def _spread(ratios: Iterable[float]) -> Spread | None:
  ratios = sorted(ratios)
  if not ratios:
    return None
  values = (ratios[0], statistics.median(ratios), ratios[-1])
  return Spread(*(round(value, 3) for value in values))
