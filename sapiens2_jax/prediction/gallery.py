"""The page beside predictions: each image and what was found in it."""

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.prediction.run import Predicted, Predictions
from sapiens2_jax.report import metrics, page
from sapiens2_jax.report.facts import show
from sapiens2_jax.report.page import Card, Section, Table, Verdict
from sapiens2_jax.tasks import Task, registry
from sapiens2_jax.training import writers

_NUM_HIGHLIGHTS = 3


def write_gallery(
  task: Task,
  facts: list[tuple[str, str]],
  found: Predictions,
  measured: str = "",
) -> str:
  """The HTML page; its pictures are files beside it.

  Args:
    task: what was predicted.
    facts: what is known of model and images.
    found: of all images.
    measured: how good the model is, of `describe_measured`.
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
  cards = [_card(item) for item in found.done]
  sections = [
    Section(
      "verdict",
      "In short",
      verdict=judge(task.name, found, measured),
      text=[known.note] if known.note else [],
      cards=cards[:_NUM_HIGHLIGHTS],
    )
  ]
  if cards[_NUM_HIGHLIGHTS:]:
    rest = cards[_NUM_HIGHLIGHTS:]
    sections.append(Section("predictions", "All others", cards=rest))
  if found.skipped:
    table = Table(found.skipped, ("image", "reason"))
    sections.append(Section("skipped", "Left out", tables=[table]))
  if known.legend:
    legend = known.legend(task)
    sections.append(Section("colours", "Colours", legend=legend))
  sections.append(Section("facts", "The model", is_folded=True, facts=facts))
  return page.render(f"Predictions: {task.name}", f"{count:,} images", sections)


def describe_measured(workdir: str, step: int, task: str) -> str:
  """What a run measured of its task last, up to a step; "" if nothing."""
  score = registry.definition(task).score
  rows = [row for row in writers.read_metrics(workdir) if row["step"] < step]
  steps, values = metrics.series(rows, f"eval_{score.key}")
  if not values:
    return ""
  return (
    f"{score.title} {show(values[-1] * score.factor)} on its evaluation data, "
    f"at step {steps[-1]:,}"
  )


def judge(name: str, found: Predictions, measured: str) -> Verdict:
  """What can be said without labels."""
  count, skipped = len(found.done), len(found.skipped)
  if not count:
    return Verdict(f"None of {skipped:,} images could be read.", False)
  text = f"Predictions of {name} for {count:,} images"
  text += f"; {skipped:,} were left out. " if skipped else ". "
  if measured:
    return Verdict(f"{text}When it was trained, this model had {measured}.")
  return Verdict(
    f"{text}How right they are was not measured: these images have no labels."
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
