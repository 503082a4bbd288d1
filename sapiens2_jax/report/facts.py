"""The numbers of a report: for people as text, for programs as JSON."""

import math
import os
import shlex
from collections.abc import Iterator, Mapping

import jax

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.report import metrics
from sapiens2_jax.report.contents import Contents
from sapiens2_jax.report.metrics import Note
from sapiens2_jax.report.run import EXPORT_CHECK, Run, training_seconds

UNKNOWN = "-"


def show(value: float | None, form: str = "{:.3f}") -> str:
  """A number as text, `-` if it is not known."""
  if value is None or not math.isfinite(value):
    return UNKNOWN
  return form.format(value)


def finite(value: object) -> object:
  """The same tree with None for each number that is not finite, as in JSON."""
  if isinstance(value, dict):
    return {key: finite(item) for key, item in value.items()}
  if isinstance(value, list):
    return [finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def header(run: Run, more: list[tuple[str, str]]) -> list[tuple[str, str]]:
  """Facts of the run as (name, value) pairs; `more` are of its objective."""
  config = run.config
  arch = get_architecture(config.model.size)
  seconds = training_seconds(run.speed)
  devices = jax.devices()  # Of this process, as no checkpoint says.
  return [
    ("size", f"{arch.name}: {arch.num_layers} layers, width {arch.embed_dim}"),
    ("encoder", f"{arch.num_params:,} parameters"),
    ("learned in all", f"{run.num_learned:,} parameters"),
    ("steps", f"{run.step:,} of {config.optim.num_steps:,}"),
    ("global batch", f"{config.data.global_batch_size:,} images"),
    ("images seen", f"{run.images_seen:,}"),
    ("data", config.data.path),
    *more,
    ("time in steps", UNKNOWN if seconds is None else format_seconds(seconds)),
    ("checkpoint saved", run.saved or UNKNOWN),
    ("report made on", f"{len(devices)} x {devices[0].device_kind}"),
  ]


def compare(
  run: Run, notes: Mapping[str, Note]
) -> Iterator[tuple[str, Note, tuple[str, str]]]:
  """The loss, and each metric that can be compared with something.

  Yields:
    Its name, what is known of it, first and last value.
  """
  for key in metrics.find(run.metrics):
    note = notes.get(key, Note())
    if key == "loss" or note.reference is not None:
      first, last = metrics.ends(run.metrics, key)
      yield key, note, (show(first, note.form), show(last, note.form))


def tiles(run: Run, notes: Mapping[str, Note]) -> list[tuple[str, str, str]]:
  """Key numbers: (name, value, what to compare it with)."""
  return [
    (key, last, "; ".join(filter(None, (note.label, f"first step {first}"))))
    for key, note, (first, last) in compare(run, notes)
  ]


def console_line(run: Run, notes: Mapping[str, Note]) -> str:
  """The same for the console."""
  values = [
    f"{key} {last}{f' ({note.label})' if note.label else ''}"
    for key, note, (_, last) in compare(run, notes)
  ]
  return f"last step  {', '.join(values) or UNKNOWN}"


def summarize(run: Run, contents: Contents) -> dict:
  """What summary.json says; None where a number is not known."""
  found = {
    "verdict": contents.verdict.text,
    "has_learned": contents.verdict.is_good,
    "size": run.config.model.size,
    "encoder_params": get_architecture(run.config.model.size).num_params,
    "learned_params": run.num_learned,
    "step": run.step,
    "num_steps": run.config.optim.num_steps,
    "global_batch_size": run.config.data.global_batch_size,
    "images_seen": run.images_seen,
    "images_per_second": metrics.ends(run.speed, "images_per_second")[1],
    "metrics": {
      key: dict(zip(("first", "last"), metrics.ends(run.metrics, key)))
      for key in metrics.find(run.metrics)
    },
    "references": {
      key: note.reference
      for key, note in contents.notes.items()
      if note.reference is not None
    },
    **{section.name: section.numbers for section in contents.sections},
  }
  return finite(found)


def next_commands(run: Run, contents: Contents) -> list[tuple[str, str]]:
  """What to run next, as (why, command) pairs."""
  workdir, num_steps = run.place, run.config.optim.num_steps
  quoted = shlex.quote(workdir)
  export = shlex.quote(os.path.join(run.output, "export"))
  train = f"sapiens2 train --config {contents.experiment}"
  data = f"--config.data.path={shlex.quote(run.config.data.path)}"
  check = shlex.quote(os.path.join(workdir, EXPORT_CHECK))
  commands = []
  if run.step < num_steps:
    why = (
      f"Continue to step {num_steps:,}: the command that started the run, "
      "with all its overrides, again"
    )
    commands.append((why, f"{train} --workdir {quoted} {data}"))
  if contents.can_export and not run.is_exported:
    line = (
      "sapiens2 export "
      f"--checkpoint {quoted} --format transformers --output {export}"
    )
    commands.append(("Export the model to PyTorch", line))
  if contents.can_export and run.export_check is None:
    line = (
      f"sapiens2 verify --checkpoint {export} "
      f"--against {quoted} --output {check}"
    )
    why = "Compare the export with the checkpoint, in transformers"
    commands.append((why, line))
  why = (
    "Train longer, in a new directory, as the learning-rate schedule depends "
    "on the number of steps"
  )
  line = (
    f"{train} --workdir {shlex.quote(workdir + '-long')} {data} "
    f"--config.optim.num_steps={10 * num_steps}"
  )
  again = f"sapiens2 report --checkpoint {quoted}"
  commands += [(why, line), *contents.commands]
  return [*commands, ("Make this report again", again)]
