"""Counts as SVG: histograms with thresholds, before and after, clusters."""

from collections.abc import Sequence

import numpy as np

from sapiens2_jax.audit.choosing import Bins
from sapiens2_jax.report.colors import BLUE, GRAY, ORANGE, RED
from sapiens2_jax.report.page import Element, render_svg

KEPT, REJECTED, LINE = BLUE, ORANGE, RED
_LEFT, _RIGHT, _TOP, _BELOW = 46, 12, 22, 24  # Around a panel, in pixels.
_GAP = 0.12  # Of a bar.
_CUT = 4  # A bar is cut off that is so many times the third.
WIDTH = 1072  # Of the page.
SMALL = (340, 150)  # (width, height) of what others stand beside


def _text(
  x: float, y: float, text: str, anchor: str = "start", fill: str = GRAY
) -> Element:
  place = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
  return "text", {**place, "fill": fill, "text-anchor": anchor}, text


def _rect(
  x: float, y: float, width: float, height: float, fill: str, opacity: float = 1
) -> Element:
  sides = {"x": x, "y": y, "width": width, "height": max(height, 0)}
  shape = {name: f"{value:.1f}" for name, value in sides.items()}
  return "rect", {**shape, "fill": fill, "fill-opacity": opacity}, ""


def _line(
  x1: float, y1: float, x2: float, y2: float, stroke: str, **more: float
) -> Element:
  ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
  shape = {name: f"{value:.1f}" for name, value in ends.items()}
  others = {f"stroke-{name}": value for name, value in more.items()}
  return "line", {**shape, "stroke": stroke, **others}, ""


def _ticks(bins: Bins, count: int) -> list[float]:
  """A few round values of an axis."""
  low, high = bins.edges[0], bins.edges[-1]
  if bins.is_log:
    tens = range(int(np.floor(np.log10(low))), int(np.log10(high)) + 2)
    values = [m * 10.0**ten for ten in tens for m in (1, 2, 5)]
    values = [v for v in values if low <= v <= high]
    return values[:: -(-len(values) // count)] if values else []
  rough = (high - low) / count
  ten = 10.0 ** np.floor(np.log10(rough))
  step = next(ten * m for m in (1, 2, 5, 10) if ten * m >= rough)
  start = np.ceil(low / step) * step
  return [round(v, 12) + 0.0 for v in np.arange(start, high + step / 1e6, step)]


def _grid(width: float, bottom: float, high: float, top: float, form: str):
  """Faint lines with their values, at nothing, half and all of the height."""
  parts = []
  for share in (0, 0.5, 1):
    y = bottom - high * share
    parts.append(_line(_LEFT, y, width - _RIGHT, y, GRAY, opacity=0.25))
    if top * share == int(top * share) or "%" in form:
      text = form.format(top * share)
      parts.append(_text(_LEFT - 6, y + 4, text, "end"))
  return parts


def _choose_top(totals: np.ndarray) -> float:
  """Of the axis of counts; few bars that are far above others are cut off."""
  third = np.sort(totals)[-3:][0] or totals.max()
  return _round_up(max(1.3 * third, totals[totals <= _CUT * third].max()))


def _round_up(value: float) -> float:
  ten = 10.0 ** np.floor(np.log10(max(value, 1)))
  return next(ten * m for m in (1, 2, 3, 4, 6, 8, 10) if ten * m >= value)


def histogram(
  bins: Bins,
  layers: Sequence[tuple[np.ndarray, str]],
  *,
  thresholds: Sequence[float] = (),
  cap: float = 0,
  size: tuple[int, int] = (WIDTH, 190),
) -> bytes:
  """Stacked bars as an SVG file; a line for each threshold.

  A bar that is far above the others is cut off, with its count above.

  Args:
    bins: of all layers.
    layers: (counts, colour), the lowest first.
    thresholds: values of the axis.
    cap: a count to draw a line at, 0 for none.
    size: (width, height) in pixels.
  """
  width, height = size
  wide, high = width - _LEFT - _RIGHT, height - _TOP - _BELOW
  bottom, totals = _TOP + high, sum(counts for counts, _ in layers)
  top = _choose_top(totals)
  parts = _grid(width, bottom, high, top, "{:,.0f}")
  places = _LEFT + wide * np.array([bins.place(edge) for edge in bins.edges])
  # What is cut off keeps its shares.
  scale = high / top * np.minimum(1, top / np.maximum(totals, 1))
  below = np.zeros(len(places) - 1)
  for counts, color in layers:
    for i in np.flatnonzero(counts):
      bar = places[i + 1] - places[i]
      tall, left = scale[i] * counts[i], places[i] + bar * _GAP / 2
      y = bottom - scale[i] * below[i] - tall
      parts.append(_rect(left, y, bar * (1 - _GAP), tall, color))
    below = below + counts
  for i in np.flatnonzero(totals > top):
    middle = (places[i] + places[i + 1]) / 2
    parts.append(_text(middle, _TOP - 4, f"↑ {totals[i]:,}", "middle"))
  if 0 < cap <= top:
    y = bottom - high * cap / top
    parts.append(_line(_LEFT, y, width - _RIGHT, y, LINE, width=1.4))
    parts.append(_text(width - _RIGHT, y - 5, f"cap {cap}", "end", LINE))
  for value in _ticks(bins, max(3, width // 110)):
    x = _LEFT + wide * bins.place(value)
    parts.append(_text(x, height - 7, f"{value:g}", "middle"))
  for value in thresholds:
    x = _LEFT + wide * bins.place(value)
    parts.append(_line(x, _TOP - 4, x, bottom, LINE, width=1.6))
    parts.append(_text(x, _TOP - 8, f"{value:g}", "middle", LINE))
  return render_svg(parts, *size)


def before_after(
  bins: Bins,
  before: np.ndarray,
  after: np.ndarray,
) -> bytes:
  """Shares of all images as an SVG file: bars before, an outline after."""
  width, height = SMALL
  wide, high = width - _LEFT - _RIGHT, height - _TOP - _BELOW
  shares = [counts / max(counts.sum(), 1) for counts in (before, after)]
  top = max(s.max() for s in shares) * 1.05 or 1.0
  bottom = _TOP + high
  parts = _grid(width, bottom, high, 100 * top, "{:.0f} %")
  places = _LEFT + wide * np.array([bins.place(edge) for edge in bins.edges])
  points = [f"{places[0]:.1f},{bottom:.1f}"]
  for i, (old, new) in enumerate(zip(*shares)):
    bar = places[i + 1] - places[i]
    tall = high * old / top
    parts.append(
      _rect(
        *(
          places[i] + bar * _GAP / 2,
          bottom - tall,
          bar * (1 - _GAP),
          tall,
          GRAY,
        ),
        opacity=0.45,
      )
    )
    y = bottom - high * new / top
    points += [f"{places[i]:.1f},{y:.1f}", f"{places[i + 1]:.1f},{y:.1f}"]
  points.append(f"{places[-1]:.1f},{bottom:.1f}")
  outline = {"points": " ".join(points), "fill": "none"}
  outline |= {"stroke": KEPT, "stroke-width": 2}
  parts.append(("polyline", outline, ""))
  for value in _ticks(bins, 4):
    x = _LEFT + wide * bins.place(value)
    parts.append(_text(x, height - 7, f"{value:g}", "middle"))
  return render_svg(parts, *SMALL)


def funnel(lines: Sequence[dict]) -> bytes:
  """A bar a stage: kept, and what the stage has left out."""
  width, step, left, right = WIDTH, 24, 110, 150
  total = max(lines[0]["in"], 1)
  scale = (width - left - right) / total
  parts = []
  for number, line in enumerate(lines):
    y, lost = step * number + 3, line["in"] - line["kept"]
    parts += [
      _text(left - 8, y + 13, line["stage"], "end"),
      _rect(left, y, scale * line["kept"], step - 6, KEPT),
      _rect(left + scale * line["kept"], y, scale * lost, step - 6, REJECTED),
      _text(
        left + scale * line["in"] + 8,
        y + 13,
        f"{line['kept']:,} ({show_share(line['kept'], total)} of all)",
      ),
    ]
  return render_svg(parts, width, step * len(lines))


def clusters(before: np.ndarray, after: np.ndarray, cap: int) -> bytes:
  """Sizes of clusters, the largest first, with what is left of each."""
  shown = np.argsort(-before, kind="stable")[:120]
  bins = Bins(np.arange(len(shown) + 1) + 0.5)
  layers = [
    (after[shown], KEPT),
    ((before - after)[shown], REJECTED),
  ]
  return histogram(bins, layers, cap=cap, size=(WIDTH, 200))


def show_share(count: int, total: int) -> str:
  """A share in percent, `-` of nothing."""
  return f"{100 * count / total:.1f} %" if total else "-"
