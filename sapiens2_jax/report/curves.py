"""Curves of runs, a small plot for each metric, and how our plots look."""

import dataclasses
import io
import statistics
from collections.abc import Mapping, Sequence

from data_pipelines.common import packages

packages.require("matplotlib", "report")

import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import (  # noqa: E402
  LogLocator,
  MaxNLocator,
  NullLocator,
  StrMethodFormatter,
)

from sapiens2_jax.report.colors import BLUE, GRAY, ORANGE  # noqa: E402
from sapiens2_jax.report.metrics import Group, Note, Rows, series  # noqa: E402

STYLE = {
  "font.family": "DejaVu Sans",
  "font.size": 8,
  "axes.edgecolor": GRAY,
  "axes.labelcolor": GRAY,
  "axes.titlecolor": GRAY,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.linewidth": 0.7,
  "xtick.color": GRAY,
  "ytick.color": GRAY,
  "xtick.major.width": 0.7,
  "ytick.major.width": 0.7,
  "text.color": GRAY,
  "svg.hashsalt": "sapiens2_jax",
  "svg.fonttype": "none",  # Text as text: smaller, and sharp at any size.
}
PANELS_A_ROW = 4
_WIDTH, _HEIGHT = 11.2, 2.15  # inches of a row
_ABOVE, _BELOW = 0.28, 0.39  # of them around a panel
_SMALL = (3.3, 1.9)  # inches of a plot of its own
# A logarithmic axis if the largest is so many times the median.
_LOG_RANGE = 8


@dataclasses.dataclass(frozen=True)
class Curve:
  """The values of a metric in one run."""

  steps: Sequence[int]
  values: Sequence[float]
  name: str = ""  # short, at its end
  color: str = BLUE


def draw_metric(curves: Sequence[Curve], note: Note) -> bytes:
  """One metric of one run or several as a small SVG file."""
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=_SMALL)
    ax = figure.subplots()
    # By hand: the automatic layouts draw everything twice.
    figure.subplots_adjust(left=0.15, right=0.94, bottom=0.2, top=0.89)
    ax.set_xlabel("step", fontsize=7, labelpad=1)
    _draw_panel(ax, note, curves)
  return to_svg(figure)


def describe(curve: Curve, note: Note) -> str:
  """The same curve in words."""
  if not curve.values:
    return "not recorded"
  said = (
    f"{note.form.format(curve.values[0])} at step {curve.steps[0]:,}, "
    f"{note.form.format(curve.values[-1])} at step {curve.steps[-1]:,}"
  )
  if len(curve.values) > 2:
    low, high = map(note.form.format, (min(curve.values), max(curve.values)))
    said += f", between {low} and {high}"
  return said + (f"; dashed: {note.label}" if note.label else "")


def draw_group(
  rows: Rows, group: Group, keys: list[str], notes: Mapping[str, Note]
) -> Figure:
  """A panel for each metric of a group; one without data says so."""
  count = -(-len(keys) // PANELS_A_ROW)
  height = count * _HEIGHT
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.subplots(count, PANELS_A_ROW, squeeze=False)
    # By hand: the automatic layouts draw everything twice.
    figure.subplots_adjust(
      left=0.04,
      right=0.995,
      bottom=_BELOW / height,
      top=1 - _ABOVE / height,
      wspace=0.24,
      hspace=(_ABOVE + _BELOW) / (_HEIGHT - _ABOVE - _BELOW),
    )
    for ax in axes.flat[len(keys) :]:
      ax.set_visible(False)
    for ax, key in zip(axes.flat, keys):
      note = notes.get(key, Note())
      ax.set_title(group.title(key), loc="left", fontsize=9)
      ax.set_xlabel("step", fontsize=7, labelpad=1)
      _draw_panel(ax, note, [Curve(*series(rows, key))])
  return figure


def style_panel(ax: Axes, num_ticks: int) -> None:
  """Few ticks, and faint lines behind the curves."""
  ax.yaxis.set_major_locator(MaxNLocator(num_ticks))
  ax.grid(axis="y", color=GRAY, alpha=0.18, linewidth=0.6)
  ax.set_axisbelow(True)


def _draw_panel(ax: Axes, note: Note, curves: Sequence[Curve]) -> None:
  curves = [curve for curve in curves if curve.values]
  if not curves:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, "not recorded", ha="center", transform=ax.transAxes)
    return
  for curve in curves:
    steps, last, color = curve.steps, curve.values[-1], curve.color
    ax.plot(steps, curve.values, color=color, linewidth=1.4)
    ax.plot(steps[-1:], [last], "o", color=color, markersize=3.5)
    if curve.name:
      ax.annotate(
        curve.name,
        (steps[-1], last),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
        fontsize=8,
        fontweight="bold",
      )
  ax.margins(x=0.03, y=0.16)
  style_panel(ax, 4)
  ticks = {"%": "{x:.1%}", "e": "{x:g}"}.get(note.form[-2])
  values = [value for curve in curves for value in curve.values]
  if min(values) > 0 and max(values) > _LOG_RANGE * statistics.median(values):
    ax.set_yscale("log")  # Else a start far above makes all of it flat.
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.yaxis.set_minor_locator(NullLocator())
    ticks = ticks or "{x:g}"
  if ticks:
    ax.yaxis.set_major_formatter(StrMethodFormatter(ticks))
  ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
  if len(curves) == 1:
    ax.text(
      1.0,
      1.04,
      note.form.format(curves[0].values[-1]),
      color=curves[0].color,
      transform=ax.transAxes,
      ha="right",
      va="bottom",
      fontsize=9,
    )
  if note.reference is not None:
    _draw_reference(ax, note, sum(values) / len(values))


def _draw_reference(ax: Axes, note: Note, mean: float) -> None:
  """A dashed line and what it is, on the side where the curve is not."""
  ax.axhline(note.reference, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)))
  low, high = ax.get_ylim()
  has_room = high - note.reference >= 0.1 * (high - low)
  is_above = mean < note.reference and has_room
  ax.annotate(
    note.label,
    (1.0, note.reference),
    xycoords=("axes fraction", "data"),
    xytext=(0, 3 if is_above else -3),
    textcoords="offset points",
    ha="right",
    va="bottom" if is_above else "top",
    color=ORANGE,
    fontsize=7,
  )


def to_svg(figure: Figure) -> bytes:
  """SVG file with a transparent background; the same bytes each time."""
  return _save(figure, "svg", transparent=True, metadata={"Date": None})


def to_png(figure: Figure) -> bytes:
  """PNG file on white."""
  return _save(figure, "png", facecolor="white", dpi=160)


def _save(figure: Figure, kind: str, **options) -> bytes:
  buffer = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(buffer, format=kind, **options)
  return buffer.getvalue()
