"""Curves of a run as small multiples, one row of panels a subject."""

import dataclasses
import io
import math

from data_pipelines.common import packages

packages.require("matplotlib", "report").use("Agg")

import matplotlib  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: E402

Rows = list[dict]

# Mid-tones that are readable on white and on near-black.
GRAY, LINE_COLOR, REFERENCE_COLOR = "#808080", "#3f7fc1", "#c8762b"
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
}
PANELS_A_ROW = 4


@dataclasses.dataclass(frozen=True)
class Panel:
  """One curve.

  Attributes:
    key: of a metric.
    title: above the panel.
    reference: where a dashed line is drawn, if anywhere.
    reference_label: what the dashed line is.
    format: of the last value, e.g. "{:.3f}".
    ticks: format of the numbers on the axis, e.g. "{x:g}"; "" for plain.
  """

  key: str
  title: str
  reference: float | None = None
  reference_label: str = ""
  format: str = "{:.3f}"
  ticks: str = ""


def series(rows: Rows, key: str) -> tuple[list[int], list[float]]:
  """Steps (from 1) and values where `key` is finite."""
  points = [
    (row["step"] + 1, row[key])
    for row in rows
    if row.get(key) is not None and math.isfinite(row[key])
  ]
  return [step for step, _ in points], [value for _, value in points]


def draw_row(rows: Rows, panels: list[Panel]) -> Figure:
  """Panels side by side; one without data says so."""
  with matplotlib.rc_context(STYLE):
    figure, axes = plt.subplots(1, PANELS_A_ROW, figsize=(11.2, 2.15))
    # By hand: the automatic layouts draw everything twice.
    figure.subplots_adjust(
      left=0.04, right=0.995, bottom=0.18, top=0.87, wspace=0.24
    )
    for ax in axes[len(panels) :]:
      ax.set_visible(False)
    for ax, panel in zip(axes, panels):
      _draw_panel(ax, panel, *series(rows, panel.key))
  return figure


def _draw_panel(
  ax: Axes, panel: Panel, steps: list[int], values: list[float]
) -> None:
  ax.set_title(panel.title, loc="left", fontsize=9)
  ax.set_xlabel("step", fontsize=7, labelpad=1)
  if not values:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, "not recorded", ha="center", transform=ax.transAxes)
    return
  ax.plot(steps, values, color=LINE_COLOR, linewidth=1.4)
  ax.plot(steps[-1:], values[-1:], "o", color=LINE_COLOR, markersize=3.5)
  if panel.reference is not None:
    ax.axhline(
      panel.reference, color=REFERENCE_COLOR, linewidth=1, linestyle=(0, (4, 3))
    )
  ax.margins(x=0.03, y=0.16)
  ax.yaxis.set_major_locator(MaxNLocator(4))
  if panel.ticks:
    ax.yaxis.set_major_formatter(StrMethodFormatter(panel.ticks))
  ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
  ax.grid(axis="y", color=GRAY, alpha=0.18, linewidth=0.6)
  ax.set_axisbelow(True)
  _label_last(ax, panel, steps, values)


def _label_last(
  ax: Axes, panel: Panel, steps: list[int], values: list[float]
) -> None:
  """Writes the last value and what the dashed line is."""
  ax.text(
    1.0,
    1.04,
    panel.format.format(values[-1]),
    color=LINE_COLOR,
    transform=ax.transAxes,
    ha="right",
    va="bottom",
    fontsize=9,
  )
  if panel.reference is None:
    return
  low, high = ax.get_ylim()
  # On the side of the line where the curve is not.
  above = sum(values) / len(values) < panel.reference
  if high - panel.reference < 0.1 * (high - low):
    above = False
  ax.annotate(
    panel.reference_label,
    (1.0, panel.reference),
    xycoords=("axes fraction", "data"),
    xytext=(0, 3 if above else -3),
    textcoords="offset points",
    ha="right",
    va="bottom" if above else "top",
    color=REFERENCE_COLOR,
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


def close(figure: Figure) -> None:
  """Frees what pyplot remembers."""
  plt.close(figure)


def loss_panels(baseline: float | None, num_prototypes: int) -> list[Panel]:
  """The loss and its terms."""
  return [
    Panel("loss", "total loss"),
    Panel(
      "loss_mae",
      "loss_mae",
      baseline,
      "" if baseline is None else f"patch means {baseline:.3f}",
    ),
    Panel("loss_cl", "loss_cl (nats)", math.log(num_prototypes), "log K"),
    Panel("loss_koleo", "loss_koleo (nats)"),
  ]


def collapse_panels(num_prototypes: int, rank_max: int) -> list[Panel]:
  """What tells a collapse."""
  return [
    Panel(
      "teacher_entropy",
      "teacher entropy (nats)",
      math.log(num_prototypes),
      f"log K = {math.log(num_prototypes):.3f}",
    ),
    Panel("teacher_temp", "teacher temperature", format="{:.4f}"),
    Panel(
      "rank_me", "RankMe", rank_max, f"maximum {rank_max}", format="{:.1f}"
    ),
    Panel("feature_std", "feature std", 1.0, "spread evenly"),
  ]


def speed_panels() -> list[Panel]:
  """Step size and gradients; and what the clock measured."""
  return [
    Panel("grad_norm", "gradient norm"),
    Panel("lr", "learning rate", format="{:.1e}", ticks="{x:g}"),
    Panel("images_per_second", "images / s", format="{:.1f}"),
    Panel("data_wait", "data wait", format="{:.1%}", ticks="{x:.1%}"),
  ]
