"""Puts a report together and writes its files."""

import json
import os
import sys
from collections.abc import Mapping

from PIL import Image

from data_pipelines.common import locks
from data_pipelines.common.files import write_file
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
) -> tuple[Section, dict[str, bytes]]:
  """The curves of all that was measured, and the same as PNG files."""
  notes, figures, files = metrics.SPEED_NOTES | notes, [], {}
  for group, keys in metrics.group(run.metrics):
    drawn = curves.draw_group(run.metrics + run.speed, group, keys, notes)
    texts = ((key, notes[key].text) for key in keys if key in notes)
    said = "".join(f" {key}: {text}" for key, text in texts if text)
    alt = f"Curves over steps: {group.name}"
    figures.append(Figure(curves.to_svg(drawn), alt, group.text + said))
    files[f"curves_{group.name}.png"] = curves.to_png(drawn)
  warnings = [] if run.metrics else ["No metrics were logged yet."]
  section = Section("curves", "Curves", warnings=warnings, figures=figures)
  return section, files


def make_sections(
  run: Run, contents: Contents, curve_section: Section
) -> list[Section]:
  """The whole page."""
  tiles = [
    *facts.tiles(run, contents.notes),
    *(tile for part in contents.sections for tile in part.key_numbers),
  ]
  export = []
  if contents.can_export:
    tiles.append(export_check.make_tile(run.export_check))
    export.append(export_check.make_section(run.export_check, run.step))
  overview = Section(
    "run",
    "The run",
    tiles=tiles,
    facts=facts.header(run, contents.facts),
    warnings=[contents.missing] if contents.missing else [],
  )
  return [
    overview,
    curve_section,
    *contents.sections,
    *export,
    Section("next", "Next", commands=facts.next_commands(run, contents)),
    photographs.make_section(contents.credits),
  ]


def write_report(run: Run, contents: Contents) -> str:
  """Makes all files, prints what they say, returns the path of the page."""
  curve_section, files = draw_curves(run, contents.notes)
  sections = make_sections(run, contents, curve_section)
  steps = f"step {run.step:,} of {run.config.optim.num_steps:,}, {run.workdir}"
  files["index.html"] = page.render(contents.title, steps, sections).encode()
  images = contents.pictures | {
    section.name: figure.picture
    for section in contents.sections
    for figure in section.figures
    if isinstance(figure.picture, Image.Image)
  }
  for name, image in images.items():
    files[f"{name}.png"] = pictures.to_png(pictures.on_white(image))
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
  if contents.missing:
    print(f"report: {contents.missing}", file=sys.stderr)
  return os.path.join(folder, "index.html")
