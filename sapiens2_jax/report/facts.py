"""The numbers of a report: for people as text, for programs as JSON."""

import math
import os
import shlex

import jax

from data_pipelines.common.progress import format_seconds
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.report.analysis import Findings
from sapiens2_jax.report.photographs import Photograph
from sapiens2_jax.report.run import EXPORT_CHECK, Run, ends, training_seconds

UNKNOWN = "-"


def show(value: float | None, form: str = "{:.3f}") -> str:
  """A number as text, `-` if it is not known."""
  if value is None or not math.isfinite(value):
    return UNKNOWN
  return form.format(value)


def describe_devices() -> str:
  """E.g. `1 x cpu`; of this process, as no checkpoint says."""
  devices = jax.devices()
  return f"{len(devices)} x {devices[0].device_kind}"


def header(run: Run, num_records: int | None) -> list[tuple[str, str]]:
  """Facts of the run as (name, value) pairs."""
  config = run.config
  data, arch = config.data, get_architecture(config.model.size)
  seconds = training_seconds(run.speed)
  height, width = data.image_size
  passes = "" if not num_records else f" ({run.images_seen / num_records:,.0f}"
  passes += " passes)" if passes else ""
  return [
    ("size", f"{arch.name}: {arch.num_layers} layers, width {arch.embed_dim}"),
    ("encoder", f"{arch.num_params:,} parameters"),
    ("learned in all", f"{run.num_learned:,} parameters"),
    ("steps", f"{run.step:,} of {config.optim.num_steps:,}"),
    ("global batch", f"{data.global_batch_size:,} images"),
    ("images seen", f"{run.images_seen:,}{passes}"),
    ("global crops", f"{data.num_global} of {height} x {width} pixels"),
    (
      "masked",
      f"{config.masking.mask_ratio:.0%} of patches, "
      f"{config.masking.block_probability:.0%} of masks blockwise",
    ),
    (
      "data",
      data.path
      if not num_records
      else f"{data.path}: {num_records:,} photographs",
    ),
    (
      "time in steps",
      UNKNOWN if seconds is None else format_seconds(seconds),
    ),
    ("checkpoint saved", run.saved or UNKNOWN),
    ("report made on", describe_devices()),
  ]


def summarize(
  run: Run, num_records: int | None, findings: Findings | None
) -> dict:
  """All numbers of the report; None where one is not known."""
  metrics = {
    key: dict(zip(("first", "last"), ends(run.metrics, key)))
    for key in (
      "loss",
      "loss_mae",
      "loss_cl",
      "loss_koleo",
      "teacher_entropy",
      "rank_me",
      "feature_std",
      "grad_norm",
    )
  }
  summary = {
    "size": run.config.model.size,
    "encoder_params": get_architecture(run.config.model.size).num_params,
    "learned_params": run.num_learned,
    "step": run.step,
    "num_steps": run.config.optim.num_steps,
    "global_batch_size": run.config.data.global_batch_size,
    "images_seen": run.images_seen,
    "num_photographs": num_records,
    "metrics": metrics,
    "teacher_entropy_max": math.log(run.num_prototypes),
    "rank_me_max": run.rank_max,
    "images_per_second": ends(run.speed, "images_per_second")[1],
    "reconstruction": None,
    "components": None,
    "retrieval": None,
  }
  if findings is None:
    return summary
  found, retrieval = findings.reconstruction, findings.retrieval
  summary["reconstruction"] = {
    "shown_loss": float(found.losses.mean()),
    "shown_patch_mean_loss": float(found.baselines.mean()),
    "training_crops_loss": found.training_loss,
    "training_crops_patch_mean_loss": found.training_baseline,
    "num_shown": len(found.losses),
  }
  summary["components"] = {
    "explained_variance": [float(x) for x in findings.components.explained]
  }
  summary["retrieval"] = {
    "share": retrieval.share,
    "random_weights_share": retrieval.random_share,
    "chance": retrieval.chance,
    "num_crops": len(retrieval.crops),
    "rank_me": retrieval.rank_me,
    "rank_me_max": retrieval.rank_me_max,
    "feature_std": retrieval.feature_std,
  }
  # JSON has no NaN.
  summary["retrieval"] = {
    key: value if math.isfinite(value) else None
    for key, value in summary["retrieval"].items()
  }
  return summary


def console_lines(summary: dict) -> list[str]:
  """The numbers that tell whether the run learned, one line each."""
  metrics = summary["metrics"]
  lines = []
  if summary["reconstruction"]:
    found = summary["reconstruction"]
    lines.append(
      f"learning   masked-patch loss {found['shown_loss']:.3f} on "
      f"{found['num_shown']} photographs "
      f"(patch means {found['shown_patch_mean_loss']:.3f}), "
      f"{found['training_crops_loss']:.3f} on random crops "
      f"({found['training_crops_patch_mean_loss']:.3f})"
    )
  if summary["retrieval"]:
    found = summary["retrieval"]
    lines.append(
      f"features   same photograph found {show(found['share'], '{:.0%}')} "
      f"(random weights {show(found['random_weights_share'], '{:.0%}')}, "
      f"chance {show(found['chance'], '{:.0%}')})"
    )
  lines.append(
    f"collapse   RankMe {show(metrics['rank_me']['last'], '{:.1f}')} of "
    f"{summary['rank_me_max']}, teacher entropy "
    f"{show(metrics['teacher_entropy']['last'])} of "
    f"{summary['teacher_entropy_max']:.3f}"
  )
  return lines


def credits(found: list[Photograph]) -> list[tuple[str, str, str, str]]:
  """(name, by, licence, from) of photographs; `-` where nothing is known."""
  return [
    tuple(
      text or UNKNOWN for text in (p.name, p.attribution, p.licence, p.source)
    )
    for p in found
  ]


def next_commands(run: Run) -> list[tuple[str, str]]:
  """What to run next, as (why, command) pairs."""
  workdir = os.path.normpath(run.workdir)
  quoted = shlex.quote(workdir)
  export = shlex.quote(os.path.join(workdir, "export"))
  size = run.config.model.size
  num_steps = run.config.optim.num_steps
  train = (
    f"python -m sapiens2_jax.train --config experiments/pretrain.py:size={size}"
  )
  commands = []
  if run.step < num_steps:
    commands.append(
      (
        f"Continue to step {num_steps:,}: the command that started the run, "
        "with all its overrides, again",
        f"{train} --workdir {quoted} "
        f"--config.data.path={shlex.quote(run.config.data.path)}",
      )
    )
  if not run.is_exported:
    commands.append(
      (
        "Export the teacher encoder to PyTorch",
        "python -m sapiens2_jax.export "
        f"--checkpoint {quoted} --format transformers --output {export}",
      )
    )
  if run.export_check is None:
    check = shlex.quote(os.path.join(workdir, EXPORT_CHECK))
    commands.append(
      (
        "Compare the export with the checkpoint, in transformers",
        f"python -m sapiens2_jax.verify_export --checkpoint {quoted} "
        f"--export {export} --output {check}",
      )
    )
  commands += [
    (
      "Train longer, in a new directory, as the learning-rate schedule "
      "depends on the number of steps",
      f"{train} --workdir {shlex.quote(workdir + '-long')} "
      f"--config.data.path={shlex.quote(run.config.data.path)} "
      f"--config.optim.num_steps={10 * num_steps}",
    ),
    (
      "Train on a folder of your own photographs",
      f"{train} --workdir runs/mine --config.data.path=PHOTOGRAPHS",
    ),
    (
      "Make this report again",
      f"python -m sapiens2_jax.report --workdir {quoted}",
    ),
  ]
  return commands
