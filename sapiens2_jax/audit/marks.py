"""What a reviewer has marked in the page, as it is saved.

A JSON object: format, version, the hash of the curation, and for each sheet
its field, whether it was looked through, and for each image shown, by its
content hash, what should become of it: "keep", "reject", "unsure", or null if
nobody said. In a sheet that was looked through, what is not marked is right.
"""

import dataclasses
import json

import numpy as np

from data_pipelines.common import storage
from sapiens2_jax.audit.curation import Curation

FORMAT, VERSION = "sapiens2_jax audit marks", 1
_SHOULD = {"keep": True, "reject": False}
_KINDS = (*_SHOULD, "unsure", None)


@dataclasses.dataclass(frozen=True)
class Marks:
  """Of one threshold.

  Attributes:
    is_whole: the sheet was looked through, not its mistakes only.
    values: (n,) float64 of the images that something was said of.
    should_keep: (n,) bool.
  """

  is_whole: bool
  values: np.ndarray
  should_keep: np.ndarray


def read_marks(path: str, curation: Curation) -> dict[str, Marks]:
  """Reads what was marked in the page of a curation, by field.

  Raises:
    ValueError: no marks, those of another curation, or of images or fields
      that it does not have.
    OSError: the file cannot be read.
  """
  try:
    saved = json.loads(storage.read_bytes(path).decode())
  except ValueError as error:
    raise ValueError(f"{path}: is no JSON: {error}") from error
  found = saved.get("format") if isinstance(saved, dict) else None
  if found != FORMAT or saved.get("version") != VERSION:
    raise ValueError(
      f"{path}: format {found!r}, expected {FORMAT!r} of version {VERSION}."
    )
  if saved.get("curation") != curation.hash:
    raise ValueError(
      f"{path}: marks of another curation, {str(saved.get('curation'))[:12]}; "
      f"this one is {curation.hash[:12]}."
    )
  known = {threshold.field: threshold for threshold in curation.thresholds}
  try:
    return {
      field: _read_sheet(sheet, known[field].full_column, curation)
      for field, sheet in saved["sheets"].items()
    }
  except (KeyError, TypeError, AttributeError) as error:
    what = f"{type(error).__name__}: {error}"
    raise ValueError(f"{path}: not as the page saves it: {what}") from error


def _read_sheet(sheet: dict, column: str, curation: Curation) -> Marks:
  unknown = {*sheet["images"].values()} - {*_KINDS}
  if unknown:
    raise KeyError(f"should be {sorted(map(str, unknown))}")
  rows = curation.find(list(sheet["images"]))
  said = {
    rows[name]: _SHOULD[should]
    for name, should in sheet["images"].items()
    if should in _SHOULD
  }
  return Marks(
    bool(sheet["is_whole"]),
    curation.numbers(column)[np.array(list(said), np.int64)],
    np.array(list(said.values()), bool),
  )
