"""Puts a report together and writes its files."""

import json
import os
import sys
from collections.abc import Mapping

from data_pipelines.common import locks
from data_pipelines.common.files import write_file
from sapiens2_jax import config as config_lib
from sapiens2_jax.report import (
  curves,
  export_check,
  facts,
  metrics,
  page,
  photographs,
  pictures,
)
from sapiens2_jax.report.contents import Contents
from sapiens2_jax.report.page import Figure, Section
from sapiens2_jax.report.run import Run


def draw_curves(
  run: Run, notes: Mapping[str, metrics.Note]
) -> tuple[list[Section], dict[str, bytes]]:
  """The curves of all that was measured, and the same as PNG files."""
  notes, sections, files = metrics.SPEED_NOTES | notes, [], {}
  rows = run.metrics + run.speed
  for group, keys in metrics.group(run.metrics):
    figures = []
    for key in keys:
      note = notes.get(key, metrics.Note())
      curve = curves.Curve(*metrics.series(rows, key))
      alt = f"Curve of {key}: {curves.describe(curve, note)}"
      svg = curves.draw_metric([curve], note)
      title = group.title(key)
      figures.append(Figure(svg, alt, note.text, title, is_small=True))
    sections.append(
      Section(
        group.name,
        group.heading,
        is_folded=group.is_folded,
        text=[group.text],
        figures=figures,
      )
    )
    drawn = curves.draw_group(rows, group, keys, notes)
    files[f"curves_{group.name}.png"] = curves.to_png(drawn)
  return sections, files


def make_sections(
  run: Run, contents: Contents, curve_sections: list[Section]
) -> list[Section]:
  """The whole page: verdict and pictures, what was found, then all else."""
  tiles = [
    *(tile for part in contents.sections for tile in part.key_numbers),
    *facts.tiles(run, contents.notes),
  ]
  export = []
  if contents.can_export:
    tiles.append(export_check.make_tile(run.export_check))
    export.append(export_check.make_section(run.export_check, run.step))
  lead = Section(
    "verdict",
    "In short",
    verdict=contents.verdict,
    figures=[contents.highlights] if contents.highlights else [],
    warnings=[contents.missing] if contents.missing else [],
  )
  warnings = [] if run.metrics else ["No metrics were logged yet."]
  about = Section(
    "run",
    "The run",
    warnings=warnings,
    tiles=tiles,
    facts=facts.header(run, contents.facts),
  )
  config = Section(
    "config",
    "Configuration",
    is_folded=True,
    files=[("As the run has it", config_lib.to_json(run.config))],
  )
  return [
    lead,
    *contents.sections,
    *curve_sections,
    about,
    *export,
    Section("next", "Next", commands=facts.next_commands(run, contents)),
    photographs.make_section(contents.credits),
    config,
  ]


def write_report(run: Run, contents: Contents) -> str:
  """Makes all files, prints what they say, returns the path of the page."""
  curve_sections, files = draw_curves(run, contents.notes)
  sections = make_sections(run, contents, curve_sections)
  steps = f"step {run.step:,} of {run.config.optim.num_steps:,}, {run.workdir}"
  files["index.html"] = page.render(contents.title, steps, sections).encode()
  shown = [(section.name, section.figures) for section in contents.sections]
  shown.append(("overview", [contents.highlights]))
  for name, figures in shown:
    for figure in figures:
      if figure and isinstance(figure.picture, pictures.Sheet):
        image = pictures.on_white(figure.picture.draw())
        files[f"{name}.png"] = pictures.to_png(image)
  summary = facts.summarize(run, contents)
  text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
  files["summary.json"] = text.encode()
  folder = os.path.join(run.workdir, "report")
  with locks.held(folder) as lock:
    lock.check()
    for name, data in files.items():
      write_file(os.path.join(folder, name), data)
  lines = [section.line for section in sections if section.line]
  print(*lines, facts.console_line(run, contents.notes), sep="\n")
  print(f"verdict    {contents.verdict.text}")
  if contents.missing:
    print(f"report: {contents.missing}", file=sys.stderr)
  return os.path.join(folder, "index.html")
