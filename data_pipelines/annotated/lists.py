"""JSON lists of samples, joined with files that are named by `sample_id`."""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines.annotated import files
from data_pipelines.common import kinds

_IDS = ("sample_id", "airstore_id")


def read_samples(path: str, required: Sequence[str] = ()) -> list[dict]:
  """Reads a list of objects that have an id and some other fields.

  Args:
    path: the JSON file.
    required: fields that each must have, numbers or text.

  Returns:
    The objects; `sample_id` is text.

  Raises:
    ValueError: another form; all problems are listed.
  """
  samples = files.read_json(path, list)
  found = []
  with files.problems_of(path) as add:
    for number, sample in enumerate(samples):
      where = f"[{number}]"
      if not isinstance(sample, dict):
        add(where, "expected an object")
        continue
      sample_id = next((sample[key] for key in _IDS if key in sample), None)
      if not files.is_id(sample_id):
        add(where, f"has no {' or '.join(_IDS)}")
        continue
      for name in required:
        if not files.is_id(sample.get(name)):
          add(where, f"{name} is missing, or no number or text")
      if isinstance(sample_id, float):
        sample_id = int(sample_id)
      found.append({**sample, "sample_id": str(sample_id)})
  if not found:
    raise ValueError(f"{path}: an empty list.")
  return found


def find_files(
  path: str,
  ids: Sequence[str],
  directory: str,
  extensions: Sequence[str] = kinds.IMAGE_ENDINGS,
) -> list[str]:
  """The file of each sample of the list `path`, relative to a directory.

  Raises:
    ValueError: naming the samples that are there twice, or have no file; or as
      `files.index_stems`.
  """
  seen = set()
  with files.problems_of(path) as add:
    for number, sample_id in enumerate(ids):
      if sample_id in seen:
        add(f"[{number}]", f"sample {sample_id} is there twice")
      seen.add(sample_id)
  known = files.index_stems(directory, extensions)
  with files.problems_of(path) as add:
    for sample_id in ids:
      if sample_id not in known:
        add(sample_id, f"no file of that name in {directory}")
  return [known[sample_id] for sample_id in ids]
