"""What files beside tensors say that no tensor does.

Ours (`export.json`), or the configs of transformers (`config.json`).
"""

import json
import pathlib
from typing import Any

from sapiens2_jax.fields import SIZE
from sapiens2_jax.interop import integrity
from sapiens2_jax.interop.head_keys import Head, releases
from sapiens2_jax.tasks import registry

# Keys of `config.json` for what transformers has no place for.
LABELS = "sapiens2_jax_labels"
CROP = "sapiens2_jax_crop"
CROP_FIELD = "task.crop"
CONFIG_NAME = "config.json"
_NAMES = (integrity.EXPORT_MARKER, CONFIG_NAME)


def _read(directory: pathlib.Path) -> list[dict[str, Any]]:
  found = (integrity.read_marker(directory, name) for name in _NAMES)
  return [note for note in found if note]


def read_image_size(directory: pathlib.Path) -> tuple[int, int] | None:
  """(height, width) of images; None if no file says it.

  Raises:
    ValueError: a file is damaged, or the size makes no sense.
  """
  for note in _read(directory):
    size = note.get("image_size")
    if isinstance(size, list) and len(size) == 2:
      if wrong := SIZE("image_size", tuple(size)):
        raise ValueError(f"{directory}: image_size={size} {wrong}")
      return tuple(size)
  return None


def read_labels(directory: pathlib.Path) -> dict[str, str]:
  """By task, `Head.labels` that are not those of the release; mostly nothing.

  Raises:
    ValueError: labels that the task does not take; names the file's key.
  """
  for note in _read(directory):
    try:
      found = _labels_of(note)
    except (TypeError, ValueError, AttributeError) as error:
      raise ValueError(
        f"{directory / CONFIG_NAME}: damaged names of labels ({error})"
      ) from error
    for task, given in found.items():
      field = registry.config_labels(task)
      try:
        labels = registry.definition(task).fields[field].resolve(given)
      except (KeyError, ValueError) as error:
        raise ValueError(f"{directory}: labels of {task}: {error}") from error
      if labels:
        return {task: labels}
  return {}


def labels_of(head: Head) -> dict[str, Any]:
  """What to write, so that `read_labels` finds the labels; mostly nothing."""
  return {LABELS: {head.task: json.loads(head.labels)}} if head.labels else {}


def read_crop(directory: pathlib.Path, task: str) -> str:
  """`Weights.crop` of a model for `task`; mostly nothing.

  Raises:
    ValueError: the task does not take it; names the directory.
  """
  for note in _read(directory):
    if CROP in note:
      return check_crop(note[CROP], task, directory)
  return ""


def crop_of(crop: str) -> dict[str, str]:
  """What to write, so that `read_crop` finds it; mostly nothing."""
  return {CROP: crop} if crop else {}


def check_crop(crop: Any, task: str, place: Any) -> str:
  """Returns `crop`.

  Raises:
    ValueError: the task does not take it; names `place`.
  """
  field = registry.definition(task).fields.get(CROP_FIELD)
  if not isinstance(crop, str):
    wrong = "expected a text"
  elif crop and not field:
    wrong = f"{task} has none"
  else:
    wrong = field.check(CROP_FIELD, crop) if crop else ""
  if wrong:
    raise ValueError(f"{place}: {CROP_FIELD}={crop!r}: {wrong}")
  return crop


def _labels_of(note: dict[str, Any]) -> dict[str, str]:
  """Of our key, or of those of transformers where they are other ones."""
  ours = note.get(LABELS)
  if isinstance(ours, dict) and len(ours) == 1:
    return {task: json.dumps(given) for task, given in ours.items()}
  names, classes = note.get("id2label"), note.get("architectures")
  if not isinstance(names, dict) or not isinstance(classes, list):
    return {}
  for task, kind in releases().items():
    theirs = kind.transformers
    if not theirs or not registry.config_labels(task):
      continue
    if theirs.class_name not in classes:
      continue
    listed = [names.get(str(number)) for number in range(len(names))]
    # As many are those of the release, however they are spelled.
    if len(listed) == kind.num_outputs or None in listed:
      return {}
    pairs = [
      [listed[number] for number in pair]
      for pair in note.get("flip_pairs") or ()
    ]
    sided = {name for pair in pairs for name in pair}
    given = {"names": listed, "pairs": pairs, "labels": "own"}
    if pairs:
      given["middle"] = [name for name in listed if name not in sided]
    return {task: json.dumps(given)}
  return {}
