"""The section on balance: scale, view, head pose, light; before and after."""

import numpy as np

from sapiens2_jax.audit import choosing, drawing
from sapiens2_jax.audit.curation import Curation
from sapiens2_jax.report.page import Figure, Section, Table

# Title, its columns, what is made of them, edges of the bins.
_AXES = (
  (
    "scale: short side of the largest person by that of the image",
    ("person_short_side", "height", "width"),
    lambda side, height, width: np.where(
      side > 0, side / np.minimum(height, width), np.nan
    ),
    np.linspace(0, 1, 11),
  ),
  (
    "view: yaw of the largest face, degrees",
    ("face_yaw",),
    lambda yaw: yaw,
    np.linspace(-90, 90, 13),
  ),
  (
    "head pose: pitch of the largest face, degrees",
    ("face_pitch",),
    lambda pitch: pitch,
    np.linspace(-60, 60, 13),
  ),
  (
    "light: mean level of 255",
    ("quality_brightness",),
    lambda level: level,
    np.linspace(0, 255, 11),
  ),
)


def show_balance(curation: Curation) -> Section:
  """Of what there are scores for; the rest is named."""
  known = {*curation.score_columns, "height", "width"}
  figures, rows, missing = [], [], []
  for title, columns, make, edges in _AXES:
    if not {*columns} <= known:
      missing.append(f"{title.partition(':')[0]} ({columns[0]})")
      continue
    values = make(*map(curation.numbers, columns))
    bins = choosing.Bins(edges)
    counts = bins.count(values), bins.count(values[curation.is_kept])
    drawn = drawing.before_after(bins, *counts)
    alt = f"shares before and after, of {title}"
    figures.append(Figure(drawn, alt, "", title, is_small=True))
    even = (f"{choosing.count_even(count):.1f}" for count in counts)
    totals = (f"{count.sum():,}" for count in counts)
    rows.append([title.partition(":")[0], *totals, *even, str(len(edges) - 1)])
  text = [
    "Bars: shares of the images of the pool that have the score; the line: "
    "of those in the corpus. A scorer of a later pass sees what the limits "
    "before it have kept. Even over 6.5 bins: as even as if 6.5 bins held "
    "the same each, and the others nothing."
  ]
  if missing:
    text.append(f"Not scored: {', '.join(missing)}.")
  header = ("", "images before", "after", "even over", "after", "of bins")
  return Section(
    "balance",
    "Balance",
    text=text,
    figures=figures,
    tables=[Table(rows, header)] if rows else [],
  )
