"""The picture of a sweep: curves of a metric, and where each point ends."""

import dataclasses
import math
from collections.abc import Iterator

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from sapiens2_jax.report import curves, metrics
from sapiens2_jax.report.colors import GRAY
from sapiens2_jax.sweep.points import Point, show_value, varying_fields
from sapiens2_jax.sweep.ranking import Place, Ranking
from sapiens2_jax.training import writers

# From one end of the swept values to the other: readable on white throughout.
_COLORS = LinearSegmentedColormap.from_list(
  "sweep", ("#2b4c9b", "#2a8c9c", "#7da544", "#d98a2b", "#b5382e")
)
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = "osD^v"


@dataclasses.dataclass(frozen=True)
class Axis:
  """The field along the x axis of the right panel, which also colours."""

  field: str  # dotted name
  values: list  # sorted, each once
  is_log: bool  # drawn on a logarithmic scale

  @property
  def is_number(self) -> bool:
    return all(_is_number(value) for value in self.values)

  def position(self, value) -> float:
    """Where a value stands; names stand at 0, 1, 2."""
    return value if self.is_number else self.values.index(value)

  def color(self, value):
    ends_and_value = self.values[0], self.values[-1], value
    low, high, x = map(self.position, ends_and_value)
    if self.is_log:
      low, high, x = map(math.log, (low, high, x))
    return _COLORS(0.5 if high == low else (x - low) / (high - low))


def _is_number(value) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def choose_axis(points: list[Point], fields: list[str]) -> Axis:
  """The varying field with the most values, numbers first."""

  def values(field: str) -> list:
    return list(dict.fromkeys(point.values.get(field) for point in points))

  def rank(field: str) -> tuple:
    return all(map(_is_number, values(field))), len(values(field))

  field = max(fields, key=rank)
  found = values(field)
  is_log = False
  if all(map(_is_number, found)):
    found.sort()
    is_log = found[0] > 0 and found[-1] >= 5 * found[0]
  return Axis(field, found, is_log)


def _leaf(field: str) -> str:
  return field.rpartition(".")[2]


def _series_name(point: Point, others: list[str]) -> str:
  return ", ".join(
    f"{_leaf(f)} {show_value(point.values.get(f, 'as it is'))}" for f in others
  )


@dataclasses.dataclass(frozen=True)
class Mark:
  """A point as it is drawn."""

  name: str
  x: float
  color: tuple[float, ...]
  series: int  # number of its series
  curve: tuple[list[int], list[float]]  # steps, values
  place: Place


def draw(points: list[Point], ranking: Ranking) -> bytes:
  """PNG file with both panels; notes name the points without a value."""
  fields = varying_fields([point.values for point in points])
  fields = fields or list(points[0].values) or ["seed"]
  axis = choose_axis(points, fields)
  others = [field for field in fields if field != axis.field]
  series = [_series_name(point, others) for point in points]
  names = list(dict.fromkeys(series))
  marks = []
  for point, place, name in zip(points, ranking.places, series):
    rows = writers.read_metrics(point.workdir)
    value = point.values.get(axis.field)
    mark = Mark(
      point.name,
      axis.position(value),
      axis.color(value),
      names.index(name),
      metrics.series(rows, ranking.goal.name),
      place,
    )
    marks.append(mark)
  with matplotlib.rc_context(curves.STYLE):
    figure = Figure(figsize=(9.6, 3.7))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    figure.subplots_adjust(
      left=0.055, right=0.985, bottom=0.17, top=0.83, wspace=0.17
    )
    _draw_curves(left, marks, ranking)
    _draw_finals(right, marks, axis, ranking)
    _draw_color_key(left, axis)
    if others:
      _draw_series_key(right, names)
    figure.text(0.055, 0.02, "     ".join(_notes(marks)), fontsize=7)
  return curves.to_png(figure)


def _style(ax: Axes, title: str, x_label: str) -> None:
  ax.set_title(title, loc="left", fontsize=9, pad=20)
  ax.set_xlabel(x_label, labelpad=2)
  curves.style_panel(ax, 5)


def _dashes(series: int):
  return _DASHES[series % len(_DASHES)]


def _marker(series: int) -> str:
  return _MARKERS[series % len(_MARKERS)]


def _draw_curves(ax: Axes, marks: list[Mark], ranking: Ranking) -> None:
  _style(ax, f"{ranking.goal.name}, as it was logged", "step")
  for mark in marks:
    dashes = _dashes(mark.series)
    ax.plot(*mark.curve, color=mark.color, linestyle=dashes, linewidth=1.3)
  ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  ax.margins(x=0.01)


def _draw_finals(
  ax: Axes, marks: list[Mark], axis: Axis, ranking: Ranking
) -> None:
  goal = ranking.goal
  title = f"{goal.name} at the end ({ranking.better} is better)"
  _style(ax, title, axis.field)
  found = [mark for mark in marks if mark.place.value is not None]
  # What is on its way is not compared with what has ended.
  done = [mark for mark in found if mark.place.number]
  for series in sorted({mark.series for mark in marks}):
    for mark in found:
      if mark.series == series:
        ax.plot(
          mark.x,
          mark.place.value,
          _marker(series),
          color=mark.color,
          markersize=6,
          markerfacecolor=mark.color if mark.place.number else "white",
        )
    line = sorted((m.x, m.place.value) for m in done if m.series == series)
    dashes = _dashes(series)
    ax.plot(*zip(*line), color=GRAY, linewidth=1, linestyle=dashes, zorder=1)
  if done:
    best = min(done, key=lambda mark: mark.place.number)
    ax.annotate(
      f"{best.place.value:.4g}",
      (best.x, best.place.value),
      xytext=(0, 6 * goal.sign),
      textcoords="offset points",
      ha="center",
      va="bottom" if goal.sign > 0 else "top",
      color=best.color,
    )
  if axis.is_log:
    ax.set_xscale("log")
  ticks = [axis.position(value) for value in axis.values]
  ax.set_xticks(ticks, [show_value(value) for value in axis.values])
  ax.xaxis.set_minor_locator(NullLocator())
  ax.margins(x=0.1, y=0.14)


def _draw_color_key(ax: Axes, axis: Axis) -> None:
  """The values in their colours, in a row above the curves."""
  key = [(f"{_leaf(axis.field)}  ", GRAY)]
  key += [(f"{show_value(v)}  ", axis.color(v)) for v in axis.values]
  text = None
  for label, color in key:
    text = ax.annotate(
      label,
      (1, 0) if text else (0, 1.025),
      xycoords=text or "axes fraction",
      color=color,
      fontweight="normal" if color is GRAY else "bold",
      va="bottom",
    )


def _draw_series_key(ax: Axes, names: list[str]) -> None:
  look = {"color": GRAY, "linewidth": 1, "markersize": 4.5}
  handles = [
    Line2D([], [], linestyle=_dashes(i), marker=_marker(i), **look)
    for i in range(len(names))
  ]
  ax.legend(
    handles,
    names,
    loc="lower left",
    bbox_to_anchor=(-0.01, 0.99),
    ncols=min(3, len(names)),
    frameon=False,
    borderpad=0,
    handlelength=2.8,
    columnspacing=1.2,
    labelcolor=GRAY,
  )


def _notes(marks: list[Mark]) -> Iterator[str]:
  """What is not drawn, or not as the rest."""
  missing = [mark.name for mark in marks if mark.place.value is None]
  if any(
    mark.place.value is not None and not mark.place.number for mark in marks
  ):
    yield "hollow: not all steps are done"
  if missing:
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    yield f"no value: {'; '.join(missing[:3])}{more}"
