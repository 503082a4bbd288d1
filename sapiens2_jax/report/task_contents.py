"""What the page of a fine-tuning run says."""

import os
import shlex

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.report import contents, facts, page
from sapiens2_jax.report.facts import UNKNOWN, show
from sapiens2_jax.report.page import Figure, Section
from sapiens2_jax.report.run import Run, ends, training_seconds
from sapiens2_jax.report.task_findings import TaskFindings
from sapiens2_jax.tasks import registry

EVAL = "eval_"
_NUM_TILES = 4

CURVES = {
  "losses": "The loss and its parts, each with its weight, and what else was "
  "measured on the batches of training; the number at the top right is the "
  "last value.",
  "evaluation": "The task's metric on evaluation.path, with the test-time "
  "procedure of the task.",
  "speed": "Gradient norm before clipping, learning rate of the head, "
  "throughput (the first value contains compilation), and the share of time "
  "in which the step waited for data, which should be near 0.",
}


def write_page(
  run: Run,
  path: str,
  findings: TaskFindings | None,
  missing: str,
  curves: dict[str, list[bytes]],
  picture: bytes,
) -> str:
  """Puts everything together.

  Args:
    run: facts.
    path: of the photographs.
    findings: on photographs, None if there are none.
    missing: what is not there, "" if all is.
    curves: SVG files, rows of panels by subject.
    picture: PNG file of the findings.
  """
  config = run.config
  sections = [
    _overview(run, findings, missing),
    _curves(run, curves),
    _predictions(run, path, findings, missing, picture),
    Section("next", "Next", page.commands(next_commands(run))),
    contents.photographs_section(findings.photographs if findings else []),
  ]
  return page.page(
    f"sapiens2_jax fine-tuning, {config.task.name}, size {config.model.size}",
    f"step {run.step:,} of {config.optim.num_steps:,}, {run.workdir}",
    sections,
  )


def header(run: Run) -> list[tuple[str, str]]:
  """Facts of the run as (name, value) pairs."""
  config = run.config
  data, arch = config.data, get_architecture(config.model.size)
  seconds = training_seconds(run.speed)
  height, width = data.image_size
  return [
    ("task", config.task.name),
    ("size", f"{arch.name}: {arch.num_layers} layers, width {arch.embed_dim}"),
    ("encoder", f"{arch.num_params:,} parameters"),
    ("learned in all", f"{run.num_learned:,} parameters"),
    ("started from", config.model.init_from or "random weights"),
    ("steps", f"{run.step:,} of {config.optim.num_steps:,}"),
    ("global batch", f"{data.global_batch_size:,} images"),
    ("images seen", f"{run.images_seen:,}"),
    ("network's input", f"{height} x {width} pixels"),
    ("data", data.path),
    ("evaluated on", config.evaluation.path or UNKNOWN),
    ("time in steps", UNKNOWN if seconds is None else format_seconds(seconds)),
    ("checkpoint saved", run.saved or UNKNOWN),
    ("report made on", facts.describe_devices()),
  ]


def _overview(run: Run, findings: TaskFindings | None, missing: str) -> Section:
  first, last = ends(run.metrics, "loss")
  tiles = [("Loss", show(last), f"first step {show(first)}")]
  numbers = findings.numbers if findings else {}
  for name, value in list(numbers.items())[: _NUM_TILES - 1]:
    note = f"on {len(findings.photographs)} photographs"
    tiles.append((name, show(value), note))
  body = page.tiles(tiles) + page.pairs(header(run))
  if missing:
    body += page.paragraph(missing, "warning")
  return Section("run", "The run", body)


def _curves(run: Run, curves: dict[str, list[bytes]]) -> Section:
  body = ""
  for name, rows in curves.items():
    for number, svg in enumerate(rows):
      caption = CURVES[name] if number == len(rows) - 1 else ""
      text = f"Curves over steps: {name}"
      body += page.figure(Figure(svg, "svg", text, caption))
  if not run.metrics:
    body = page.paragraph("No metrics were logged yet.", "warning") + body
  return Section("curves", "Curves", body)


def _predictions(
  run: Run,
  path: str,
  findings: TaskFindings | None,
  missing: str,
  picture: bytes,
) -> Section:
  name, title = "predictions", "Predictions"
  if findings is None:
    return Section(name, title, page.paragraph(missing, "warning"))
  rows = [("metric", "below", "last while training")]
  for key, value in findings.numbers.items():
    rows.append((key, show(value), show(ends(run.metrics, EVAL + key)[1])))
  lead = (
    f"The model of step {run.step:,} on {len(findings.photographs)} "
    f"photographs of {path}, evenly spread."
  )
  if path == run.config.data.path:
    lead += " The model was trained on these photographs."
  task = registry.definition(run.config.task.name)
  caption = f"The first {findings.num_shown}: photograph, prediction"
  caption += ", and what the labels say." if task.truth else "."
  if task.mask:
    caption += " Only people are shown: the loss looks at nothing else."
  text = "Photographs beside predictions and truth"
  body = (
    page.paragraph(lead)
    + page.table(rows)
    + page.figure(Figure(picture, "png", text, caption))
  )
  return Section(name, title, body)


def next_commands(run: Run) -> list[tuple[str, str]]:
  """What to run next, as (why, command) pairs."""
  config, workdir = run.config, os.path.normpath(run.workdir)
  quoted = shlex.quote(workdir)
  commands = []
  if run.step < config.optim.num_steps:
    commands.append(
      (
        f"Continue to step {config.optim.num_steps:,}: the command that "
        "started the run, with all its overrides, again",
        "python -m sapiens2_jax.train --config experiments/finetune.py:"
        f"task={config.task.name},size={config.model.size} --workdir {quoted} "
        f"--config.data.path={shlex.quote(config.data.path)}",
      )
    )
  output = shlex.quote(f"{workdir}-predictions")
  commands.append(
    (
      "Look at a folder of your own photographs",
      f"python -m sapiens2_jax.predict --checkpoint {quoted} "
      f"--images PHOTOGRAPHS --output {output}",
    )
  )
  if not run.is_exported and registry.definition(config.task.name).release:
    export = shlex.quote(os.path.join(workdir, "export"))
    commands.append(
      (
        "Export the model to PyTorch",
        f"python -m sapiens2_jax.export --checkpoint {quoted} "
        f"--format reference --output {export}",
      )
    )
  again = f"python -m sapiens2_jax.report --workdir {quoted}"
  return [*commands, ("Make this report again", again)]
