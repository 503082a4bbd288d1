"""Finds and reads weights of encoders and task models, of every kind.

An imported directory holds `params` (an Orbax checkpoint) and `weights.json`.
"""

import dataclasses
import json
import os
import pathlib
import stat
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from data_pipelines.common import directories, files
from sapiens2_jax import errors, validation
from sapiens2_jax.architectures import Architecture, get_architecture
from sapiens2_jax.interop.convert import params_from_tensors
from sapiens2_jax.interop.head_keys import Head, head_of, scale_inputs
from sapiens2_jax.interop.tensors import find_file, open_tensors
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.objectives import objective_class
from sapiens2_jax.training import checkpoints

IMAGE_SIZE = (1024, 768)  # released sizes
LAYER_SCALE_INIT = 1e-4  # reference
IMPORT_MARKER = "weights.json"
IMPORT_KIND = "sapiens2_jax weights"
_TREE = "params"

# Files beside tensors that say the size of images.
_NOTES = ("config.json", "export.json")

# Encoders of a pretraining run.
ENCODERS = ("teacher", "student")


@dataclasses.dataclass(frozen=True)
class Found:
  """Weights that exist; nothing is loaded.

  Attributes:
    kind: "run", "import" or "tensors".
    path: as given.
    weights: "teacher" or "student" of a pretraining run, else None.
    step: of a run's newest checkpoint, else None.
    fingerprint: changes when the files do.
  """

  kind: str
  path: str
  weights: str | None
  step: int | None
  fingerprint: str

  @property
  def description(self) -> str:
    parts = [self.path]
    if self.step is not None:
      parts.append(f"step {self.step}")
    if self.weights is not None:
      parts.append(self.weights)
    return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights of an encoder or a task model.

  Attributes:
    architecture: the size of the encoder.
    params: nested dicts of arrays, as stored; of a task model {"encoder": ...,
      "head": ...}.
    image_size: (height, width) in pixels they were trained at.
    layer_scale_init: initial value they were trained from.
    rope_dtype: they were trained with; None if the source does not say.
    head: of a task model; None for an encoder, or if the task is not one of
      the release.
    config: of the fine-tuning run, if they are of one.
  """

  architecture: Architecture
  params: dict[str, Any]
  image_size: tuple[int, int] = IMAGE_SIZE
  layer_scale_init: float = LAYER_SCALE_INIT
  rope_dtype: str | None = None
  head: Head | None = None
  config: ConfigDict | None = None

  @property
  def task(self) -> str | None:
    """Name of the task, None for an encoder."""
    if self.config is not None:
      return self.config.task.name
    return self.head.task if self.head else None

  @property
  def encoder_params(self) -> dict[str, Any]:
    return self.params["encoder"] if self.task else self.params


def find_weights(path: str | os.PathLike, weights: str = "teacher") -> Found:
  """Says what `path` is: a training workdir, an import, or safetensors.

  Args:
    path: file or directory.
    weights: "teacher" or "student" of a pretraining run; other sources hold
      one set.

  Raises:
    ValueError: if there are no weights, or no such choice.
  """
  errors.lookup(dict.fromkeys(ENCODERS), weights, "weights")
  name = os.fspath(path)
  is_run = os.path.isdir(checkpoints.directory(name))
  names = ()
  if is_run:
    names = objective_class(
      checkpoints.load_run(name, validation.read_config)[1]
    ).encoder_names
  if weights == "student" and weights not in names:
    raise ValueError(f"{name}: only a pretraining workdir holds a student")
  if is_run:
    step, newest = checkpoints.latest(name)
    which = weights if names else None
    return Found("run", name, which, step, _fingerprint([newest]))
  marker = directories.read_marker(name, IMPORT_MARKER)
  if marker is not None and marker.get("kind") == IMPORT_KIND:
    files = [pathlib.Path(name) / IMPORT_MARKER]
    return Found("import", name, None, None, _fingerprint(files))
  file = find_file(name)
  files = sorted(file.parent.glob("*.safetensors"))
  files = [file, *files] if file.suffix == ".json" else [file]
  return Found("tensors", name, None, None, _fingerprint(files))


def _fingerprint(paths: list[pathlib.Path]) -> str:
  def one(path: pathlib.Path) -> str:
    info = path.stat()
    size = "" if stat.S_ISDIR(info.st_mode) else f" {info.st_size}"
    return f"{path.name}{size} {info.st_mtime_ns}"

  return "; ".join(map(one, paths))


def read_weights(found: Found, dtype: str | None = None) -> Weights:
  """Loads what `find_weights` found.

  Args:
    found: where the weights are.
    dtype: read a safetensors file into this dtype; None for its own.

  Raises:
    ValueError: if the file is damaged or of another model.
  """
  readers = {"run": _read_run, "import": _read_import}
  if found.kind in readers:
    return readers[found.kind](found)
  architecture, head, params = params_from_tensors(
    open_tensors(found.path), origin=found.path, dtype=dtype
  )
  size = _image_size(find_file(found.path).parent)
  if head and head.scale_channels:
    grid = token_grid(architecture, size)
    inputs = scale_inputs(grid, head.scale_channels)
    if inputs != head.scale_inputs:
      raise ValueError(
        f"{found.path}: its scale is made of {head.scale_inputs} numbers; "
        f"images of {size[0]} x {size[1]} give {inputs}"
      )
  return Weights(architecture, params, image_size=size, head=head)


def _image_size(directory: pathlib.Path) -> tuple[int, int]:
  """As noted beside a file of tensors, else that of the release."""
  for name in _NOTES:
    size = (directories.read_marker(directory, name) or {}).get("image_size")
    if isinstance(size, list) and len(size) == 2:
      return tuple(size)
  return IMAGE_SIZE


def _read_run(found: Found) -> Weights:
  _, config = checkpoints.load_run(found.path, validation.read_config)
  is_task = found.weights is None
  encoder_params = objective_class(config).encoder_params
  step, params = checkpoints.load_part(
    found.path,
    lambda state: (
      state.params if is_task else encoder_params(state, found.weights)
    ),
  )
  if step != found.step:
    raise ValueError(
      f"{found.path}: saved step {step} while step {found.step} was to be "
      "read; run again"
    )
  return Weights(
    architecture=get_architecture(config.model.size),
    params=params,
    image_size=tuple(config.data.image_size),
    layer_scale_init=config.model.layer_scale_init,
    rope_dtype=config.model.rope_dtype,
    head=head_of(config) if is_task else None,
    config=config if is_task else None,
  )


def _read_import(found: Found) -> Weights:
  path = pathlib.Path(os.path.abspath(found.path))
  marker = json.loads((path / IMPORT_MARKER).read_text())
  reader = ocp.PyTreeCheckpointer()
  tree = reader.metadata(path / _TREE).item_metadata.tree
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  params = reader.restore(
    path / _TREE,
    args=ocp.args.PyTreeRestore(
      restore_args=jax.tree.map(lambda _: as_numpy, tree)
    ),
  )
  return Weights(
    architecture=Architecture(**marker["architecture"]),
    params=params,
    image_size=tuple(marker["image_size"]),
    layer_scale_init=marker["layer_scale_init"],
    head=marker["head"] and Head(**_tuples(marker["head"])),
  )


def _tuples(fields: dict) -> dict:
  lists = {name: tuple(x) for name, x in fields.items() if isinstance(x, list)}
  return fields | lists


def write_import(output: str, weights: Weights, source: Found) -> None:
  """Writes a directory that `find_weights` knows, whole or not at all.

  Raises:
    ValueError: if `output` holds something else.
  """
  directories.check_output(output, IMPORT_MARKER, kind=IMPORT_KIND)
  with directories.replaced(output) as path:
    with ocp.PyTreeCheckpointer() as writer:
      writer.save(path / _TREE, weights.params)
    marker = {
      "kind": IMPORT_KIND,
      "architecture": dataclasses.asdict(weights.architecture),
      "image_size": weights.image_size,
      "layer_scale_init": weights.layer_scale_init,
      "head": weights.head and dataclasses.asdict(weights.head),
      "source": source.path,
      "fingerprint": source.fingerprint,
    }
    files.write_json(path / IMPORT_MARKER, marker)
