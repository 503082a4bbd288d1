"""Finds and reads weights of encoders and task models, of every kind.

An imported directory holds `weights.json` and, in `params`, an Orbax checkpoint
for each block and one for the rest; in those of version 0 one for all. From
version 2 on it lists size and SHA-256 of their files.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from ml_collections import ConfigDict

from data_pipelines.common import checksums, directories, paths, storage
from data_pipelines.common.progress import Progress
from sapiens2_jax import errors, validation
from sapiens2_jax.architectures import (
  ARCHITECTURES,
  Architecture,
  custom_architecture,
  get_architecture,
)
from sapiens2_jax.fields import SIZE
from sapiens2_jax.interop import fetching, head_keys, integrity, notes
from sapiens2_jax.interop.convert import (
  make_tree,
  num_bytes,
  open_params,
  our_shape,
)
from sapiens2_jax.interop.head_keys import Head, head_of, scale_inputs
from sapiens2_jax.interop.identify import identify
from sapiens2_jax.interop.keys import Slot
from sapiens2_jax.interop.tensors import (
  find_file,
  list_shards,
  open_tensors,
)
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.objectives import objective_class
from sapiens2_jax.tasks import registry
from sapiens2_jax.training import checkpoints, stored

IMAGE_SIZE = (1024, 768)  # released sizes
LAYER_SCALE_INIT = 1e-4  # reference
IMPORT_MARKER = "weights.json"
IMPORT_KIND = "sapiens2_jax weights"
_TREE = "params"

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

  @property
  def place(self) -> str:
    """Where to read them: of a run its step, as it has newer ones soon."""
    if self.step is None or checkpoints.is_one(self.path):
      return self.path
    return os.path.join(checkpoints.directory(self.path), str(self.step))


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights of an encoder or a task model.

  Attributes:
    architecture: the size of the encoder.
    params: nested dicts of arrays as stored, read when asked for; of a task
      model {"encoder": ..., "head": ...}. LoRA is merged.
    image_size: (height, width) in pixels they were trained at.
    layer_scale_init: initial value they were trained from.
    rope_dtype: they were trained with; None if the source does not say. A
      file with the reference's buffer of periods does, and a run.
    head: of a task model; None for an encoder, or if the task is not one of
      the release.
    config: of the fine-tuning run, if they are of one.
    crop: what the task sees at once, its `task.crop`; empty: its default, or
      it has none.
    removed: prefixes taken off the keys of a file.
  """

  architecture: Architecture
  params: dict[str, Any]
  image_size: tuple[int, int] = IMAGE_SIZE
  layer_scale_init: float = LAYER_SCALE_INIT
  rope_dtype: str | None = None
  head: Head | None = None
  config: ConfigDict | None = None
  crop: str = ""
  removed: tuple[str, ...] = ()

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
  name = paths.expand_home(os.fspath(path))
  is_run = checkpoints.can_be_in(name) and (
    storage.is_directory(checkpoints.directory(name))
    or checkpoints.is_one(name)
  )
  names = ()
  if is_run:
    step, newest = checkpoints.latest(name)
    names = objective_class(
      checkpoints.load_run(newest, validation.read_config)[1]
    ).encoder_names
  if weights == "student" and weights not in names:
    raise ValueError(f"{name}: only a pretraining workdir holds a student")
  if is_run:
    which = weights if names else None
    return Found("run", name, which, step, _fingerprint([newest]))
  marker = integrity.read_marker(name, IMPORT_MARKER)
  if marker is not None and marker.get("kind") == IMPORT_KIND:
    files = [storage.to_path(name) / IMPORT_MARKER]
    return Found("import", name, None, None, _fingerprint(files))
  if storage.is_remote(name):
    if not storage.exists(name):
      raise ValueError(f"{name}: no such file or directory")
    files = [storage.to_path(storage.absolute(name))]
    return Found("tensors", name, None, None, _fingerprint(files))
  file = find_file(name)
  files = sorted(file.parent.glob("*.safetensors"))
  files = [file, *files] if file.suffix == ".json" else [file]
  return Found("tensors", name, None, None, _fingerprint(files))


def _fingerprint(paths: list[pathlib.PurePath]) -> str:
  def one(path: pathlib.PurePath) -> str:
    if storage.is_remote(path):
      listed = repr(storage.find(path)).encode()
      return f"{path.name} {hashlib.sha256(listed).hexdigest()}"
    info = path.stat()
    size = "" if stat.S_ISDIR(info.st_mode) else f" {info.st_size}"
    return f"{path.name}{size} {info.st_mtime_ns}"

  return "; ".join(map(one, paths))


def read_weights(found: Found, dtype: str | None = None) -> Weights:
  """Opens what `find_weights` found; values are read when asked for.

  Files of an export or an import are read once and compared with the SHA-256
  that these noted.

  Args:
    found: where the weights are.
    dtype: read a safetensors file into this dtype; None for its own.

  Raises:
    ValueError: if the file is damaged or of another model.
  """
  if found.kind == "run":
    return _read_run(found)
  is_import = found.kind == "import"
  with fetching.on_a_disk(found.path, found.fingerprint, is_import) as place:
    if is_import:
      return _read_import(place)
    return _read_tensors(place, dtype)


def _read_tensors(place: str, dtype: str | None) -> Weights:
  file = find_file(place)
  integrity.check_export(file, [*list_shards(file), notes.CONFIG_NAME])
  labels = notes.read_labels(file.parent)
  known = identify(open_tensors(place), place, labels)
  params = open_params(known, origin=place, dtype=dtype)
  architecture, head = known.architecture, known.head
  size = notes.read_image_size(file.parent) or IMAGE_SIZE
  if head and head.scale_channels:
    grid = token_grid(architecture, size)
    inputs = scale_inputs(grid, head.scale_channels)
    if inputs != head.scale_inputs:
      raise ValueError(
        f"{place}: its scale is made of {head.scale_inputs} numbers; "
        f"images of {size[0]} x {size[1]} give {inputs}"
      )
  return Weights(
    architecture,
    params,
    image_size=size,
    rope_dtype=_noted_rope_dtype(file.parent) or known.rope_dtype,
    head=head,
    crop=notes.read_crop(file.parent, head.task) if head else "",
    removed=known.removed,
  )


def _noted_rope_dtype(directory: pathlib.Path) -> str | None:
  """Of the run that an export of ours is of."""
  marker = integrity.read_marker(directory, integrity.EXPORT_MARKER) or {}
  is_ours = marker.get("kind") == integrity.EXPORT_KIND
  is_of_run = is_ours and marker.get("step") is not None
  if is_of_run and "rope_dtype" not in marker:
    # An earlier version's, whose buffer of periods is always the reference's.
    return "float32"  # What runs have, unless they are told otherwise.
  return _known_rope(marker.get("rope_dtype"))


def _known_rope(name: Any) -> str | None:
  return name if isinstance(name, str) and name in TABLES else None


def _read_run(found: Found) -> Weights:
  _, config = checkpoints.load_run(found.place, validation.read_config)
  is_task = found.weights is None
  encoder_params = objective_class(config).encoder_params
  _, params = checkpoints.open_part(
    found.place,
    lambda state: (
      state.params if is_task else encoder_params(state, found.weights)
    ),
  )
  if is_task and "lora" in params:
    params = _merged(params)
    config.model.lora_rank = 0
  return Weights(
    architecture=get_architecture(config.model.size),
    params=params,
    image_size=tuple(config.data.image_size),
    layer_scale_init=config.model.layer_scale_init,
    rope_dtype=config.model.rope_dtype,
    head=head_of(config) if is_task else None,
    config=config if is_task else None,
    crop=_crop(config) if is_task else "",
  )


def _crop(config: ConfigDict) -> str:
  """Of a fine-tuning config, if it is not the default of its task."""
  crop = config.task.get("crop", "")
  task = registry.find(config.task.name)
  field = task and task.fields.get(notes.CROP_FIELD)
  return crop if field and crop != field.default else ""


def _merged(params: dict[str, Any]) -> dict[str, Any]:
  """Parameters of a task model without LoRA, which is added to the others."""
  flat = traverse_util.flatten_dict(params)
  added = {path[1:-1] for path in flat if path[0] == "lora"}
  for path in added:
    a, b = (flat.pop(("lora", *path, name)) for name in "ab")
    base = flat["encoder", *path]
    flat["encoder", *path] = stored.MergedArray(base, a, b)
  return traverse_util.unflatten_dict(flat)


def _read_import(place: str) -> Weights:
  path = pathlib.Path(place)
  marker = integrity.read_marker(path, IMPORT_MARKER)
  try:
    architecture = _architecture(marker["architecture"])
    head = marker["head"] and Head(**_tuples(marker["head"]))
    size, scale = tuple(marker["image_size"]), float(marker["layer_scale_init"])
    if wrong := SIZE("image_size", size):
      raise ValueError(f"image_size={size} {wrong}")
    listed = marker["files"] if marker.get("version", 0) >= 2 else {}
    crop = head and notes.check_crop(marker.get("crop", ""), head.task, path)
    checksums.check(listed)
    problems = checksums.compare(path, listed)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise ValueError(
      f"{path / IMPORT_MARKER}: damaged ({error!r}); import again"
    ) from error
  integrity.require(problems, path / IMPORT_MARKER, "import again")
  context = stored.new_context()
  if marker.get("version", 0) == 0:
    params = jax.tree.map(
      lambda leaf: stored.open_array(path / _TREE, leaf.name, context),
      stored.stored_tree(path / _TREE),
    )
  else:

    def open_one(slot: Slot) -> stored.StoredArray:
      where = path / _TREE / _part(slot)
      try:
        array = stored.open_array(where, ".".join(slot.path), context)
      except ValueError as error:
        raise ValueError(f"{where}: cannot be read ({error})") from error
      if array.shape != our_shape(slot.entry.layout, slot.shape):
        raise ValueError(
          f"{where}: {'.'.join(slot.path)} has the shape {array.shape}, "
          f"expected {our_shape(slot.entry.layout, slot.shape)}"
        )
      return array

    params = make_tree(head_keys.slots(architecture, head), open_one)
  return Weights(
    architecture=architecture,
    params=params,
    image_size=size,
    layer_scale_init=scale,
    rope_dtype=_known_rope(marker.get("rope_dtype")),
    head=head,
    crop=crop or "",
  )


def _architecture(given: dict[str, Any]) -> Architecture:
  """What an import noted; raises ValueError, KeyError or TypeError."""
  if known := ARCHITECTURES.get(given["name"]):
    return known
  # Earlier versions gave custom ones other names.
  fixed = ("name", "patch_size", "num_registers")
  sizes = {name: x for name, x in given.items() if name not in fixed}
  if not all(type(x) is int and 0 <= x < 10**5 for x in sizes.values()):
    raise ValueError(f"architecture={given}")
  return custom_architecture(**sizes)


def _tuples(fields: dict) -> dict:
  lists = {name: tuple(x) for name, x in fields.items() if isinstance(x, list)}
  return fields | lists


def _part(slot: Slot) -> str:
  """Name of the checkpoint that holds a slot: of its block, or of the rest."""
  if slot.row is None:
    return "rest"
  segment = slot.path[: len(slot.path) - len(slot.entry.path)]
  return ".".join((*segment, str(slot.row)))


def check_import_output(output: str) -> None:
  """Refuses to replace what `write_import` did not write.

  Raises:
    ValueError: `output` is a file, or holds anything else.
  """
  directories.check_output(output, IMPORT_MARKER, kind=IMPORT_KIND)
  names = {*directories.list_names(output)}
  if foreign := sorted(names - {IMPORT_MARKER, _TREE}):
    raise ValueError(
      f"{output}: holds {', '.join(foreign)}, which no import wrote and which "
      "would be deleted; give another directory"
    )


def write_import(output: str, weights: Weights, source: Found) -> None:
  """Writes a directory that `find_weights` knows, whole or not at all.

  Takes the memory of five blocks.

  Raises:
    ValueError: if `output` holds something else, or its disk is too full.
  """
  check_import_output(output)
  with directories.replaced(output, IMPORT_MARKER) as path:
    directories.check_free(output, num_bytes(weights.params))
    (path / _TREE).mkdir()
    listed = _write_parts(path, weights)
    marker = {
      "kind": IMPORT_KIND,
      "version": 2,
      "architecture": dataclasses.asdict(weights.architecture),
      "image_size": weights.image_size,
      "layer_scale_init": weights.layer_scale_init,
      "rope_dtype": weights.rope_dtype,
      "head": weights.head and dataclasses.asdict(weights.head),
      "crop": weights.crop,
      "source": source.path,
      "fingerprint": source.fingerprint,
      "files": listed,
    }
    integrity.write_marker(path / IMPORT_MARKER, marker)


def _write_parts(path: pathlib.Path, weights: Weights) -> dict[str, dict]:
  """Writes a checkpoint of each block, and one of the rest.

  Returns:
    Sizes and SHA-256 of their files, as `checksums.measure` makes them.
  """

  def measure(part: pathlib.Path) -> dict[str, dict]:
    names = checksums.find_files(part)
    prefix = part.relative_to(path).as_posix()
    return checksums.measure(path, [f"{prefix}/{name}" for name in names])

  parts, measured = {}, []
  for slot in head_keys.slots(weights.architecture, weights.head):
    parts.setdefault(_part(slot), []).append(slot)
  params = traverse_util.flatten_dict(weights.params)
  with contextlib.ExitStack() as stack:
    progress = Progress("import", num_bytes(weights.params), "B")
    stack.enter_context(progress)
    # Files are hashed while the next block is written, and still in memory.
    hasher = stack.enter_context(ThreadPoolExecutor(1))
    # One waits for the disk, one fills it, and the next block is read.
    writers = [
      stack.enter_context(
        ocp.AsyncCheckpointer(
          # Weights hardly get smaller, and that would take most of the time.
          ocp.PyTreeCheckpointHandler(use_compression=False)
        )
      )
      for _ in range(2)
    ]
    last = {}
    for writer, (name, slots) in zip(itertools.cycle(writers), parts.items()):
      tree = {}
      for slot in slots:
        array = params[slot.path]
        array = array if slot.row is None else array[slot.row]
        tree[slot.path] = np.asarray(array)
      tree = traverse_util.unflatten_dict(tree)
      writer.wait_until_finished()
      if writer in last:
        measured.append(hasher.submit(measure, last[writer]))
      last[writer] = path / _TREE / name
      writer.save(last[writer], args=ocp.args.PyTreeSave(tree))
      progress.advance(num_bytes(tree))
    for writer, part in last.items():
      writer.wait_until_finished()
      measured.append(hasher.submit(measure, part))
  return {name: x for one in measured for name, x in one.result().items()}
