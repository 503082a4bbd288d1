"""JSON lists of samples, joined with files that are named by `sample_id`."""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines.annotated import files
from data_pipelines.common import tars

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
  problems = files.Problems(path)
  found = []
  for number, sample in enumerate(samples):
    where = f"[{number}]"
    if not isinstance(sample, dict):
      problems.add(where, "expected an object")
      continue
    sample_id = next((sample[key] for key in _IDS if key in sample), None)
    if not isinstance(sample_id, int | str):
      problems.add(where, f"has no {' or '.join(_IDS)}")
      continue
    for name in required:
      if not isinstance(sample.get(name), int | str):
        problems.add(where, f"{name} is missing, or no number or text")
    found.append({**sample, "sample_id": str(sample_id)})
  problems.raise_any()
  if not found:
    raise ValueError(f"{path}: an empty list.")
  return found


def check_unique(path: str, ids: Sequence[str]) -> None:
  """Checks that no sample is in a list twice.

  Raises:
    ValueError: naming those that are.
  """
  problems, seen = files.Problems(path), set()
  for number, sample_id in enumerate(ids):
    if sample_id in seen:
      problems.add(f"[{number}]", f"sample {sample_id} is there twice")
    seen.add(sample_id)
  problems.raise_any()


def find_files(
  path: str,
  ids: Sequence[str],
  directory: str,
  extensions: Sequence[str] = tars.IMAGE_EXTENSIONS,
) -> list[str]:
  """The file of each sample of the list `path`, relative to a directory.

  Raises:
    ValueError: naming those that have none, or as `files.index_stems`.
  """
  known = files.index_stems(directory, extensions)
  problems = files.Problems(path)
  for sample_id in ids:
    if sample_id not in known:
      problems.add(sample_id, f"no file of that name in {directory}")
  problems.raise_any()
  return [known[sample_id] for sample_id in ids]
