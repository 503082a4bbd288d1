"""Finds and reads encoder weights of every kind.

An imported directory holds `encoder` (an Orbax checkpoint) and
`weights.json`.
"""

import dataclasses
import json
import os
import pathlib
import stat
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from sapiens2_jax import errors
from sapiens2_jax.architectures import Architecture, get_architecture
from sapiens2_jax.interop import directories
from sapiens2_jax.interop.convert import params_from_tensors
from sapiens2_jax.interop.tensors import find_file, open_tensors
from sapiens2_jax.training import checkpoints

IMAGE_SIZE = (1024, 768)  # released sizes
LAYER_SCALE_INIT = 1e-4  # reference
IMPORT_MARKER = "weights.json"
IMPORT_KIND = "sapiens2_jax encoder"
_TREE = "encoder"

# Where the two encoders of a run are in its state.
WEIGHTS = {
  "teacher": ("carried", "teacher", "encoder"),
  "student": ("params", "encoder"),
}


@dataclasses.dataclass(frozen=True)
class Found:
  """Weights that exist; nothing is loaded.

  Attributes:
    kind: "run", "import" or "tensors".
    path: as given.
    weights: "teacher" or "student" of a run, else None.
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
    if self.kind != "run":
      return self.path
    return f"{self.path}, step {self.step}, {self.weights}"


@dataclasses.dataclass(frozen=True)
class Weights:
  """Encoder weights.

  Attributes:
    architecture: the size.
    params: nested dicts of arrays, as stored.
    image_size: (height, width) in pixels they were trained at.
    layer_scale_init: initial value they were trained from.
    rope_dtype: they were trained with; None if the source does not say.
  """

  architecture: Architecture
  params: dict[str, Any]
  image_size: tuple[int, int] = IMAGE_SIZE
  layer_scale_init: float = LAYER_SCALE_INIT
  rope_dtype: str | None = None


def find_weights(path: str | os.PathLike, weights: str = "teacher") -> Found:
  """Says what `path` is: a training workdir, an import, or safetensors.

  Args:
    path: file or directory.
    weights: "teacher" or "student" of a run; other sources hold one set.

  Raises:
    ValueError: if there are no weights, or no such choice.
  """
  errors.lookup(WEIGHTS, weights, "weights")
  name = os.fspath(path)
  if os.path.isdir(checkpoints.directory(name)):
    step, newest = checkpoints.latest(name)
    return Found("run", name, weights, step, _fingerprint([newest]))
  if weights == "student":
    raise ValueError(f"{name}: only a training workdir holds a student")
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
  architecture, params = params_from_tensors(
    open_tensors(found.path), origin=found.path, dtype=dtype
  )
  config = directories.read_marker(find_file(found.path).parent, "config.json")
  size = (config or {}).get("image_size")
  is_pair = isinstance(size, list) and len(size) == 2
  return Weights(
    architecture, params, image_size=tuple(size) if is_pair else IMAGE_SIZE
  )


def _read_run(found: Found) -> Weights:
  _, config = checkpoints.load_run(found.path)
  step, params = checkpoints.load_part(found.path, *WEIGHTS[found.weights])
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
      restore_args=_map(lambda _: as_numpy, tree),
    ),
  )
  return Weights(
    architecture=Architecture(**marker["architecture"]),
    params=params,
    image_size=tuple(marker["image_size"]),
    layer_scale_init=marker["layer_scale_init"],
  )


def _map(function, tree):
  if not isinstance(tree, dict):
    return function(tree)
  return {name: _map(function, value) for name, value in tree.items()}


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
      "source": source.path,
      "fingerprint": source.fingerprint,
    }
    directories.write_json(path / IMPORT_MARKER, marker)
