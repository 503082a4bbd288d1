r"""Shows a run: python -m sapiens2_jax.report --workdir DIR

Writes DIR/report/index.html, one file with everything inside; the pictures
and curves also as single PNG files, and the numbers as summary.json.
"""

import json
import os
import sys

from absl import flags, logging

from data_pipelines import sources
from data_pipelines.common.files import write_file
from data_pipelines.open_source import open_source
from sapiens2_jax import command, validation
from sapiens2_jax.report import (
  analysis,
  contents,
  curves,
  facts,
  figures,
  photographs,
  pictures,
  task_report,
)
from sapiens2_jax.report.run import Run, read_run

_WORKDIR = flags.DEFINE_string("workdir", None, "Of the training run.")
_DATA_PATH = flags.DEFINE_string(
  "data_path",
  None,
  "Photographs to look at; default: those of the run. Of a task, with labels.",
)
_NUM_PHOTOGRAPHS = flags.DEFINE_integer(
  "num_photographs", 32, "At most so many are read.", lower_bound=1
)


def read_photographs(
  run: Run, path: str, count: int
) -> tuple[int | None, list[photographs.Photograph], str]:
  """Reads some of the run's photographs.

  Returns:
    How many the source has (None: no source), those read, and what is
    missing and why ("": nothing).
  """
  try:
    source = open_source(path)
    found, failed = photographs.read(
      source,
      photographs.choose(len(source), count),
      min_size=analysis.decode_size(run.config),
      max_pixels=run.config.data.max_pixels,
    )
  except (ValueError, OSError, sources.ShardReadError) as error:
    return (
      None,
      [],
      f"No pictures: the photographs cannot be read ({error}). Give others "
      "with --data_path.",
    )
  missing = ""
  if failed:
    missing = f"Left out, as they cannot be decoded: {'; '.join(failed)}"
  return len(source), found, missing


def draw_curves(
  run: Run, findings: analysis.Findings | None
) -> dict[str, tuple[bytes, bytes]]:
  """SVG and PNG file of each row of curves."""
  baseline = findings and findings.reconstruction.training_baseline
  rows = {
    "losses": curves.loss_panels(baseline, run.num_prototypes),
    "collapse": curves.collapse_panels(run.num_prototypes, run.rank_max),
    "speed": curves.speed_panels(),
  }
  files = {}
  for name, panels in rows.items():
    figure = curves.draw_row(run.metrics + run.speed, panels)
    files[name] = curves.to_svg(figure), curves.to_png(figure)
    curves.close(figure)
  return files


def write_report(run: Run, data_path: str, num_photographs: int) -> str:
  """Makes all files; returns the path of the page."""
  num_records, found, missing = read_photographs(
    run, data_path, num_photographs
  )
  findings, images = None, {}
  if found:
    epoch = analysis.last_whole_pass(run.config, run.step, num_records)
    findings = analysis.analyse(run.workdir, run.config, found, epoch=epoch)
    images = figures.draw_all(findings)
  if found and data_path != run.config.data.path:
    other = f"The photographs are of {data_path}, not of the run's own data."
    missing, num_records = f"{other} {missing}".strip(), None
  curve_files = draw_curves(run, findings)
  folder = os.path.join(run.workdir, "report")
  os.makedirs(folder, exist_ok=True)
  for name, image in images.items():
    white = pictures.to_png(pictures.on_white(image))
    write_file(os.path.join(folder, f"{name}.png"), white)
  for name, (_, png) in curve_files.items():
    write_file(os.path.join(folder, f"curves_{name}.png"), png)
  summary = facts.summarize(run, num_records, findings)
  text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
  write_file(os.path.join(folder, "summary.json"), text.encode())
  html = contents.write_page(
    run,
    num_records,
    findings,
    found,
    missing,
    {name: svg for name, (svg, _) in curve_files.items()},
    {name: pictures.to_png(image) for name, image in images.items()},
  )
  path = os.path.join(folder, "index.html")
  write_file(path, html.encode())
  for line in facts.console_lines(summary):
    print(line)
  if missing:
    print(f"report: {missing}", file=sys.stderr)
  return path


def main() -> None:
  # Orbax warns of a file that this kind of checkpoint never has.
  logging.set_verbosity(logging.ERROR)
  run = read_run(_WORKDIR.value, validation.read_config)
  if "task" in run.config:
    page = task_report.write_report(
      run, _DATA_PATH.value, _NUM_PHOTOGRAPHS.value
    )
  else:
    path = _DATA_PATH.value or run.config.data.path
    page = write_report(run, path, _NUM_PHOTOGRAPHS.value)
  print(f"report     {page}", flush=True)


if __name__ == "__main__":
  command.run(main, "workdir")
