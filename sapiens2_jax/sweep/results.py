"""What came out of a sweep: one CSV file, one row a point."""

import csv
import io
import os
import statistics

from data_pipelines.common.files import write_file
from sapiens2_jax.report import curves
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.points import Point, show_value
from sapiens2_jax.training import writers

CSV_FILE, PICTURE_FILE = "sweep.csv", "sweep.png"
LOSSES = ("loss", "loss_mae", "loss_cl", "loss_koleo")
# How the features are at the end; neither high nor low is best.
STATISTICS = ("teacher_entropy", "feature_std", "rank_me", "nonfinite_total")


def final_value(rows: list[dict], key: str) -> float | None:
  """Mean over the last tenth of the logged rows, one batch being noisy."""
  _, values = curves.series(rows, key)
  last = values[-max(1, len(values) // 10) :]
  return statistics.fmean(last) if last else None


def best_value(rows: list[dict], key: str) -> float | None:
  """The lowest logged value."""
  _, values = curves.series(rows, key)
  return min(values, default=None)


def result_row(point: Point, state: str, fields: list[str]) -> dict:
  """A line of the CSV file; None is unknown."""
  rows = writers.read_metrics(point.workdir)
  row = {"point": point.name, "state": state}
  row |= {
    field: show_value(point.values[field]) if field in point.values else None
    for field in fields
  }
  row["steps"] = rows[-1]["step"] + 1 if rows else 0
  row |= {f"final_{key}": final_value(rows, key) for key in LOSSES}
  row |= {f"best_{key}": best_value(rows, key) for key in LOSSES}
  row |= {f"final_{key}": final_value(rows, key) for key in STATISTICS}
  row["images_per_second"] = status_lib.typical_speed(point)
  return row


def format_csv(points: list[Point], states: list[str]) -> str:
  """The whole file; every swept field has a column, unknown is empty."""
  fields = list(dict.fromkeys(f for point in points for f in point.values))
  rows = [result_row(*item, fields) for item in zip(points, states)]
  text = io.StringIO()
  writer = csv.DictWriter(text, rows[0], lineterminator="\n")
  writer.writeheader()
  writer.writerows(
    {
      name: f"{value:.6g}" if isinstance(value, float) else value
      for name, value in row.items()
    }
    for row in rows
  )
  return text.getvalue()


def collect(points: list[Point], states: list[str], output: str) -> list[str]:
  """Writes the CSV file and the picture; returns their paths."""
  from sapiens2_jax.sweep import picture  # Matplotlib takes a second.

  contents = {
    CSV_FILE: format_csv(points, states).encode(),
    PICTURE_FILE: picture.draw(points, states),
  }
  paths = []
  for name, content in contents.items():
    paths.append(os.path.join(output, name))
    write_file(paths[-1], content)
  return paths
