"""The page beside predictions: each image and what was found in it."""

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.prediction.run import Predicted, Predictions
from sapiens2_jax.report import page
from sapiens2_jax.report.page import Card, Section, Table
from sapiens2_jax.tasks import Task, registry


def write_gallery(
  task: Task, facts: list[tuple[str, str]], found: Predictions
) -> str:
  """The HTML page; its pictures are files beside it.

  Args:
    task: what was predicted.
    facts: what is known of model and images.
    found: of all images.
  """
  known = registry.definition(task.name)
  count = len(found.done)
  rate = count / found.seconds if found.seconds else 0.0
  facts = [
    *facts,
    ("images", f"{count:,}"),
    ("left out", f"{len(found.skipped):,}"),
    ("time", f"{format_seconds(found.seconds)}, {rate:.2g} images/s"),
  ]
  sections = [
    Section("facts", "Facts", facts=facts),
    Section(
      "predictions",
      "Predictions",
      text=[known.note] if known.note else [],
      legend=known.legend(task) if known.legend else (),
      cards=[_card(item) for item in found.done],
    ),
  ]
  if found.skipped:
    table = Table(found.skipped, ("image", "reason"))
    sections.append(Section("skipped", "Left out", tables=[table]))
  return page.render(
    f"sapiens2_jax, {task.name}", f"{count:,} images", sections
  )


def _card(item: Predicted) -> Card:
  """Input beside prediction, and links to the files."""
  height, width = item.size
  shown, picture = item.thumbnails
  return Card(
    (
      (f"input {item.name}", shown),
      (f"prediction {item.name}", picture),
    ),
    f"{item.name}, {width} × {height} pixels",
    [(path.partition("/")[0], path) for path in item.files],
  )
