"""What came out of a sweep: one CSV file, one row a point."""

import csv
import io
import os

from data_pipelines.common.files import write_file
from sapiens2_jax.report import metrics
from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep.points import Point, show_value
from sapiens2_jax.sweep.ranking import Ranking, final_value
from sapiens2_jax.training import writers


def best_value(rows: list[dict], key: str) -> float | None:
  """The lowest logged value."""
  _, values = metrics.series(rows, key)
  return min(values, default=None)


def measure(point: Point) -> dict[str, float | None]:
  """What the run of a point found: of each metric its end, of losses the best.

  Neither high nor low is best of the others.
  """
  rows = writers.read_metrics(point.workdir)
  found = {"steps": rows[-1]["step"] + 1 if rows else 0}
  for key in metrics.find(rows):
    found[f"final_{key}"] = final_value(rows, key)
    if key.startswith("loss"):
      found[f"best_{key}"] = best_value(rows, key)
  return found | {"images_per_second": status_lib.typical_speed(point)}


def format_csv(points: list[Point], states: list[str], ranking: Ranking) -> str:
  """The whole file: a column for all that any point has, unknown is empty."""
  rows = [
    {
      "point": point.name,
      "state": state,
      f"rank_by_{ranking.goal.name}": place.number,
      **{field: show_value(value) for field, value in point.values.items()},
      **measure(point),
    }
    for point, state, place in zip(points, states, ranking.places)
  ]
  fields = [field for point in points for field in point.values]
  columns = dict.fromkeys(
    [*list(rows[0])[:3], *fields, *(name for row in rows for name in row)]
  )
  text = io.StringIO()
  writer = csv.DictWriter(text, columns, lineterminator="\n")
  writer.writeheader()
  writer.writerows(
    {
      name: f"{value:.6g}" if isinstance(value, float) else value
      for name, value in row.items()
    }
    for row in rows
  )
  return text.getvalue()


def collect(
  points: list[Point],
  states: list[str],
  ranking: Ranking,
  output: str,
) -> list[str]:
  """Writes the CSV file, the picture and the page; returns their paths."""
  from sapiens2_jax.sweep import page, picture  # Matplotlib takes a second.

  contents = {
    os.path.join(output, "sweep.csv"): format_csv(
      points, states, ranking
    ).encode(),
    os.path.join(output, "sweep.png"): picture.draw(points, ranking),
    os.path.join(output, "sweep.html"): page.make_page(
      points, ranking
    ).encode(),
  }
  for path, content in contents.items():
    write_file(path, content)
  return list(contents)
