"""The picture of a sweep: loss curves, and the final loss of each point."""

import dataclasses
import math

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, NullLocator

from sapiens2_jax.report import curves, metrics
from sapiens2_jax.report.curves import GRAY
from sapiens2_jax.sweep import results
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.points import Point, show_value, varying_fields
from sapiens2_jax.training import writers

_METRIC = "loss"
# From one end of the swept values to the other: readable on white throughout.
_COLORS = LinearSegmentedColormap.from_list(
  "sweep", ("#2b4c9b", "#2a8c9c", "#7da544", "#d98a2b", "#b5382e")
)
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = "osD^v"


@dataclasses.dataclass(frozen=True)
class Axis:
  """The field along the x axis of the right panel, which also colours.

  Attributes:
    field: dotted name.
    values: sorted, each once.
    is_log: whether to draw them on a logarithmic scale.
  """

  field: str
  values: list
  is_log: bool

  @property
  def is_number(self) -> bool:
    return all(_is_number(value) for value in self.values)

  def position(self, value) -> float:
    """Where a value stands; names stand at 0, 1, 2."""
    return value if self.is_number else self.values.index(value)

  def color(self, value):
    places = [self.position(v) for v in self.values]
    low, high, place = places[0], places[-1], self.position(value)
    if self.is_log:
      low, high, place = map(math.log, (low, high, place))
    return _COLORS(0.5 if high == low else (place - low) / (high - low))


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


def draw(points: list[Point], states: list[str]) -> bytes:
  """PNG file with both panels; notes name the points without a loss."""
  fields = varying_fields([point.values for point in points])
  fields = fields or list(points[0].values) or ["seed"]
  axis = choose_axis(points, fields)
  others = [field for field in fields if field != axis.field]
  names = list(dict.fromkeys(_series_name(p, others) for p in points))
  with matplotlib.rc_context(curves.STYLE):
    figure, (left, right) = plt.subplots(
      1, 2, figsize=(9.6, 3.7), gridspec_kw={"width_ratios": (1.5, 1)}
    )
    figure.subplots_adjust(
      left=0.055, right=0.985, bottom=0.17, top=0.83, wspace=0.17
    )
    _draw_curves(left, points, axis, others, names)
    _draw_finals(right, points, states, axis, others, names)
    _draw_color_key(left, axis)
    if others:
      _draw_series_key(right, names)
    _draw_notes(figure, points, states)
  png = curves.to_png(figure)
  curves.close(figure)
  return png


def _style(ax: Axes, title: str) -> None:
  ax.set_title(title, loc="left", fontsize=9, pad=20)
  curves.style_panel(ax, 5)


def _draw_curves(ax: Axes, points, axis: Axis, others, names) -> None:
  _style(ax, "loss of each logged step")
  for point in points:
    value = point.values.get(axis.field)
    steps, losses = metrics.series(writers.read_metrics(point.workdir), _METRIC)
    number = names.index(_series_name(point, others))
    ax.plot(
      steps,
      losses,
      color=axis.color(value),
      linestyle=_DASHES[number % len(_DASHES)],
      linewidth=1.3,
    )
  ax.set_xlabel("step", labelpad=2)
  ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  ax.margins(x=0.01)


def _final_losses(points, states) -> list[tuple[Point, float, bool]]:
  """Points that have a loss: it, and whether all steps are done."""
  found = []
  for point, state in zip(points, states):
    rows = writers.read_metrics(point.workdir)
    loss = results.final_value(rows, _METRIC)
    if loss is not None:
      found.append((point, loss, state == status_lib.DONE))
  return found


def _draw_finals(ax: Axes, points, states, axis: Axis, others, names) -> None:
  _style(ax, "final loss (mean of the last tenth)")
  found = _final_losses(points, states)
  for number, name in enumerate(names):
    line = []
    for point, loss, is_done in found:
      if _series_name(point, others) != name:
        continue
      value = point.values.get(axis.field)
      color = axis.color(value)
      ax.plot(
        axis.position(value),
        loss,
        _MARKERS[number % len(_MARKERS)],
        color=color,
        markersize=6,
        markerfacecolor=color if is_done else "white",
      )
      # A loss on the way is not compared with those at the end.
      if is_done:
        line.append((axis.position(value), loss))
    ax.plot(
      *zip(*sorted(line)),
      color=GRAY,
      linewidth=1,
      linestyle=_DASHES[number % len(_DASHES)],
      zorder=1,
    )
  _label_lowest(ax, axis, found)
  ax.set_xlabel(axis.field, labelpad=2)
  if axis.is_log:
    ax.set_xscale("log")
  places = [axis.position(value) for value in axis.values]
  ax.set_xticks(places, [show_value(value) for value in axis.values])
  ax.xaxis.set_minor_locator(NullLocator())
  ax.margins(x=0.1, y=0.14)


def _label_lowest(ax: Axes, axis: Axis, found) -> None:
  done = [(loss, point) for point, loss, is_done in found if is_done]
  if not done:
    return
  loss, point = min(done, key=lambda item: item[0])
  value = point.values.get(axis.field)
  ax.annotate(
    f"{loss:.3f}",
    (axis.position(value), loss),
    xytext=(0, -6),
    textcoords="offset points",
    ha="center",
    va="top",
    color=axis.color(value),
  )


def _draw_color_key(ax: Axes, axis: Axis) -> None:
  """The values in their colours, in a row above the curves."""
  key = [(f"{_leaf(axis.field)}  ", GRAY)]
  key += [(f"{show_value(v)}  ", axis.color(v)) for v in axis.values]
  text = None
  for label, color in key:
    where = (0, 1.025) if text is None else (1, 0)
    text = ax.annotate(
      label,
      where,
      xycoords="axes fraction" if text is None else text,
      color=color,
      fontweight="normal" if color is GRAY else "bold",
      va="bottom",
    )


def _draw_series_key(ax: Axes, names: list[str]) -> None:
  handles = [
    plt.Line2D(
      [],
      [],
      color=GRAY,
      linewidth=1,
      linestyle=_DASHES[i % len(_DASHES)],
      marker=_MARKERS[i % len(_MARKERS)],
      markersize=4.5,
    )
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


def _draw_notes(figure, points: list[Point], states: list[str]) -> None:
  """What is not drawn, or not as the rest."""
  found = _final_losses(points, states)
  drawn = {point.name for point, _, _ in found}
  missing = [point.name for point in points if point.name not in drawn]
  notes = []
  if not all(is_done for _, _, is_done in found):
    notes.append("hollow: not all steps are done")
  if missing:
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    notes.append(f"no loss yet: {'; '.join(missing[:3])}{more}")
  figure.text(0.055, 0.02, "     ".join(notes), fontsize=7)
