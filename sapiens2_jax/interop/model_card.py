"""The model card: what a person on the hub reads about an export."""

import json
import pathlib
import re
from typing import Any

import jinja2

from data_pipelines.common import directories
from sapiens2_jax import validation
from sapiens2_jax.interop.convert import num_params
from sapiens2_jax.interop.weights import IMPORT_MARKER, Found, Weights
from sapiens2_jax.tasks.release import TransformersHead
from sapiens2_jax.training import checkpoints, writers

_MEASURED = ("eval_", "probe_")  # metrics that say how good a model is
# A directory of the hub's cache names the repository.
_HUB = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
# All of an absolute path but its last name, also within a dataset spec.
_ABOVE = re.compile(r"(?<![^;:=])/(?:[^/;,]+/)*(?=[^/;,])")

_TRANSFORMERS_USE = """\
import torch, transformers
model = transformers.{loader}.from_pretrained({place!r}).eval()
images = torch.zeros(1, 3, {height}, {width})  # RGB, ImageNet-normalised
"""
_ENCODER_OUTPUTS = """\
tokens = model(images).last_hidden_state  # [cls], registers, patches
"""
_PHOTOGRAPH_USE = """\
import torch, transformers

processor = transformers.AutoImageProcessor.from_pretrained({place!r})
model = transformers.{loader}.from_pretrained({place!r}).eval()
image = transformers.image_utils.load_image("photograph.jpg")
{prepare}
with torch.inference_mode():
  outputs = model(**inputs)
{finish}
"""
_REFERENCE_USE = """\
import safetensors.torch
state_dict = safetensors.torch.load_file({place!r})
"""


def usage(weights: Weights, kind: str, place: str) -> str:
  """Lines of Python that load an export in PyTorch and run it.

  Args:
    weights: that were exported.
    kind: format of the export.
    place: the directory for transformers, or the reference's file.
  """
  if kind == "reference":
    return _REFERENCE_USE.format(place=place)
  height, width = weights.image_size
  theirs = _transformers_head(weights)
  use = _TRANSFORMERS_USE.format(
    loader=theirs.class_name if theirs else "AutoModel",
    place=place,
    height=height,
    width=width,
  )
  return use + (theirs.example if theirs else _ENCODER_OUTPUTS)


def photograph_usage(weights: Weights, place: str) -> str:
  """Lines of Python from a photograph to a prediction, by transformers alone.

  Args:
    weights: that were exported for transformers.
    place: the directory.
  """
  theirs = _transformers_head(weights)
  tokens = "tokens = outputs.last_hidden_state  # [cls], registers, patches"
  return _PHOTOGRAPH_USE.format(
    loader=theirs.class_name if theirs else "AutoModel",
    place=place,
    prepare=theirs.prepare if theirs else TransformersHead.prepare,
    finish=theirs.finish if theirs else tokens,
  )


def _transformers_head(weights: Weights) -> TransformersHead | None:
  return weights.head and weights.head.kind.transformers


def reference_name(weights: Weights) -> str:
  """The reference's name of a file of weights."""
  name = weights.head and weights.head.kind.file_name
  task = name or weights.task or "pretrain"
  return f"sapiens2_{weights.architecture.name}_{task}.safetensors"


def without_directories(value: Any) -> Any:
  """The same tree of JSON; of absolute paths in it the last name alone."""
  if isinstance(value, dict):
    return {key: without_directories(x) for key, x in value.items()}
  if isinstance(value, list | tuple):
    return [without_directories(x) for x in value]
  return _ABOVE.sub("", value) if isinstance(value, str) else value


def last_metrics(workdir: str, step: int) -> list[tuple[str, float, int]]:
  """Name, last value and its step of what was measured before `step`."""
  found = {}
  for row in writers.read_metrics(workdir):
    if row["step"] < step:
      for name, value in row.items():
        if name.startswith(_MEASURED) and value is not None:
          found[name] = (name, value, row["step"] + 1)
  return sorted(found.values())


def _base_model(path: str) -> str | None:
  """Repository on the hub that weights came from, if a path tells."""
  marker = directories.read_marker(path, IMPORT_MARKER) or {}
  match = _HUB.search(marker.get("source") or path)
  return f"{match[1]}/{match[2]}" if match else None


_TEMPLATE = jinja2.Environment(
  loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
  keep_trailing_newline=True,
).get_template("model_card.md")


def make(found: Found, weights: Weights, kind: str, dtype: str) -> str:
  """The text of README.md, with what the hub reads in front.

  Args:
    found: where the weights come from.
    weights: that are exported.
    kind: format of the export.
    dtype: of the exported tensors.
  """
  height, width = weights.image_size
  facts = [
    ("parameters", f"{num_params(weights.params):,}, {dtype}"),
    ("images", f"{height} x {width} pixels"),
  ]
  if weights.crop:
    facts.append(("trained on", f"crops: `task.crop={weights.crop}`"))
  if found.weights is not None:
    facts.append(("weights", f"of the {found.weights}"))
  origin, config, data, metrics = found.path, None, [], []
  if found.kind == "run":
    _, read = checkpoints.load_run(found.path, validation.read_config)
    origin, batch = read.model.init_from, read.data.global_batch_size
    config = without_directories(read.to_dict())
    facts += [
      ("step", f"{found.step:,} of {read.optim.num_steps:,}"),
      ("images seen", f"{found.step * batch:,}, {batch:,} a step"),
    ]
    places = {"trained on": "data", "measured on": "evaluation"}
    places["probed on"] = "probes"
    for name, group in places.items():
      if place := config.get(group, {}).get("path"):
        data.append((name, f"`{place}`"))
    metrics = [
      (name, f"{value:.4g}", f"{step:,}")
      for name, value, step in last_metrics(found.path, found.step)
    ]
  place = "path/to/this/directory"
  file = f"{place}/{reference_name(weights)}"
  return _TEMPLATE.render(
    library="transformers" if kind == "transformers" else "sapiens2_jax",
    is_transformers=kind == "transformers",
    pipeline_tag=(
      weights.head.kind.pipeline_tag
      if weights.head
      else "image-feature-extraction"
    ),
    task=weights.task,
    base_model=_base_model(origin),
    architecture=weights.architecture.name,
    facts=facts,
    usage=usage(weights, kind, file if kind == "reference" else place).rstrip(),
    photograph_usage=kind == "transformers"
    and photograph_usage(weights, place).rstrip(),
    place=place,
    data=data,
    metrics=metrics,
    config=config and json.dumps(config, indent=2),
  )
