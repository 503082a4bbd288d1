"""The report of a fine-tuning run: curves, predictions beside truth."""

import json
import os
import sys

from data_pipelines.common.files import write_file
from data_pipelines.open_source import open_source
from sapiens2_jax.report import curves, pictures, task_contents
from sapiens2_jax.report.facts import show
from sapiens2_jax.report.run import Run, ends
from sapiens2_jax.report.task_contents import EVAL
from sapiens2_jax.report.task_findings import TaskFindings, find

# Of a row of metrics, what has a place of its own or none.
_NOT_MEASURED = ("step", "lr", "grad_norm")
_NOT_A_METRIC = (f"{EVAL}images", f"{EVAL}skipped")


def metric_names(rows: list[dict]) -> tuple[list[str], list[str]]:
  """What was measured on batches, the loss and its parts first; and `eval_`.

  Args:
    rows: of metrics.jsonl.
  """
  names = list(dict.fromkeys(name for row in rows for name in row))
  evaluated = [
    n for n in names if n.startswith(EVAL) and n not in _NOT_A_METRIC
  ]
  measured = [
    name
    for name in names
    if not name.startswith((EVAL, "nonfinite_")) and name not in _NOT_MEASURED
  ]
  return sorted(measured, key=lambda n: not n.startswith("loss")), evaluated


def make_panels(run: Run) -> dict[str, list[curves.Panel]]:
  """Panels by subject; one without any is left out."""
  measured, evaluated = metric_names(run.metrics)
  panels = {
    "losses": [curves.Panel(name, name) for name in measured],
    "evaluation": [
      curves.Panel(name, name.removeprefix(EVAL)) for name in evaluated
    ],
    "speed": curves.speed_panels(),
  }
  return {name: found for name, found in panels.items() if found}


def draw_curves(run: Run) -> dict[str, list[tuple[bytes, bytes]]]:
  """SVG and PNG file of each row of panels, by subject."""
  files = {}
  for name, panels in make_panels(run).items():
    files[name] = []
    for start in range(0, len(panels), curves.PANELS_A_ROW):
      row = panels[start : start + curves.PANELS_A_ROW]
      figure = curves.draw_row(run.metrics + run.speed, row)
      files[name].append((curves.to_svg(figure), curves.to_png(figure)))
      curves.close(figure)
  return files


def summarize(run: Run, path: str, findings: TaskFindings | None) -> dict:
  """All numbers of the report; None where one is not known."""
  measured, evaluated = metric_names(run.metrics)
  summary = {
    "task": run.config.task.name,
    "size": run.config.model.size,
    "learned_params": run.num_learned,
    "step": run.step,
    "num_steps": run.config.optim.num_steps,
    "images_seen": run.images_seen,
    "metrics": {
      name: dict(zip(("first", "last"), ends(run.metrics, name)))
      for name in (*measured, *evaluated, "grad_norm")
    },
    "images_per_second": ends(run.speed, "images_per_second")[1],
    "predictions": None,
  }
  if findings is not None:
    summary["predictions"] = {
      "path": path,
      "num_photographs": len(findings.photographs),
      **findings.numbers,
    }
  return summary


def look(run: Run, path: str, count: int) -> tuple[TaskFindings | None, str]:
  """Findings on the photographs of a place, and what is missing and why."""
  try:
    source = open_source(path)
  except (ValueError, OSError) as error:
    return None, (
      f"No predictions: the photographs cannot be read ({error}). Give others "
      "with --data_path."
    )
  findings, failed = find(
    run.workdir, source, count, run.config.data.max_pixels
  )
  missing = ""
  if failed:
    missing = f"Left out, as they cannot be used: {'; '.join(failed)}"
  return findings, missing


def write_report(run: Run, data_path: str | None, count: int) -> str:
  """Makes all files; returns the path of the page.

  Args:
    run: of a task.
    data_path: labelled photographs to look at; None for those that the run is
      evaluated on or, if there are none, trained on.
    count: how many are read, at most.
  """
  config = run.config
  path = data_path or config.evaluation.path or config.data.path
  findings, missing = look(run, path, count)
  rows = draw_curves(run)
  folder = os.path.join(run.workdir, "report")
  picture = b""
  if findings is not None:
    picture = pictures.to_png(findings.picture)
    white = pictures.to_png(pictures.on_white(findings.picture))
    write_file(os.path.join(folder, "predictions.png"), white)
  for name, files in rows.items():
    for number, (_, png) in enumerate(files):
      write_file(os.path.join(folder, f"curves_{name}_{number}.png"), png)
  summary = summarize(run, path, findings)
  text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
  write_file(os.path.join(folder, "summary.json"), text.encode())
  svgs = {name: [svg for svg, _ in files] for name, files in rows.items()}
  html = task_contents.write_page(run, path, findings, missing, svgs, picture)
  page = os.path.join(folder, "index.html")
  write_file(page, html.encode())
  first, last = ends(run.metrics, "loss")
  print(f"learning   loss {show(first)} to {show(last)}")
  if findings is not None:
    values = "  ".join(f"{k} {show(x)}" for k, x in findings.numbers.items())
    print(f"metric     {values} ({len(findings.photographs)} photographs)")
  if missing:
    print(f"report: {missing}", file=sys.stderr)
  return page
