"""The page beside predictions: each image and what was found in it."""

import urllib.parse

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.prediction.run import Predicted, Predictions
from sapiens2_jax.report import page
from sapiens2_jax.report.page import Section, escape
from sapiens2_jax.tasks import TaskDefinition


def write_gallery(
  task: TaskDefinition, facts: list[tuple[str, str]], found: Predictions
) -> str:
  """The HTML page; its pictures are files beside it.

  Args:
    task: what was predicted.
    facts: what is known of model and images.
    found: of all images.
  """
  count = len(found.done)
  rate = count / found.seconds if found.seconds else 0.0
  facts = [
    *facts,
    ("images", f"{count:,}"),
    ("left out", f"{len(found.skipped):,}"),
    ("time", f"{format_seconds(found.seconds)}, {rate:.2g} images/s"),
  ]
  body = page.paragraph(task.note)
  if task.legend:
    body += _legend(task.legend)
  body += f'<div class="gallery">{"".join(map(_card, found.done))}</div>'
  sections = [
    Section("facts", "Facts", page.pairs(facts)),
    Section("predictions", "Predictions", body),
  ]
  if found.skipped:
    rows = [("image", "reason"), *found.skipped]
    sections.append(Section("skipped", "Left out", page.table(rows)))
  return page.page(f"sapiens2_jax, {task.name}", f"{count:,} images", sections)


def _card(item: Predicted) -> str:
  """Input beside prediction, and links to the files."""
  height, width = item.size
  pictures = "".join(
    f'<a href="{_link(item.files[0])}"><img loading="lazy" '
    f'alt="{escape(f"{what} {item.name}")}" src="{_link(path)}"></a>'
    for what, path in (("input", item.input), ("prediction", item.picture))
  )
  links = ", ".join(
    f'<a href="{_link(path)}">{escape(path.partition("/")[0])}</a>'
    for path in item.files
  )
  return (
    f'<figure><div class="pair">{pictures}</div><figcaption>'
    f"{escape(item.name)}, {width} × {height} pixels: {links}"
    "</figcaption></figure>"
  )


def _legend(colors: tuple[tuple[str, tuple[int, int, int]], ...]) -> str:
  """Names beside their colours."""
  items = "".join(
    f'<li><span style="background: rgb{color}"></span>{escape(name)}</li>'
    for name, color in colors
  )
  return f'<ul class="legend">{items}</ul>'


def _link(path: str) -> str:
  return urllib.parse.quote(path)
