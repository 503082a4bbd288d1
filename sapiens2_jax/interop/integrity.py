"""Whether weights are what an export or an import wrote.

Both write a marker, a JSON file, that lists sizes and SHA-256 of their files,
and the SHA-256 of all else that it says.
"""

import hashlib
import json
import os
import pathlib
from typing import Any

from data_pipelines.common import checksums, files, storage

EXPORT_MARKER = "export.json"
EXPORT_KIND = "sapiens2_jax export"
_OWN = "sha256_of_this"
_HELP = "; get it again, or write all anew to another directory"


class DamagedMarker(ValueError):
  """A marker that is there, and cannot be read or lacks something."""


def read_marker(directory: str | os.PathLike, name: str) -> dict | None:
  """The marker of a directory, None if it has none.

  Raises:
    DamagedMarker: it is there and no JSON object, cannot be read, or does not
      say what was written; earlier versions wrote no SHA-256 of it.
  """
  path = storage.join(directory, name)
  try:
    marker = files.read_json(path)
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, RecursionError) as error:
    if isinstance(error, OSError) and storage.is_remote(directory):
      raise  # Of the network, not of the file.
    raise DamagedMarker(f"{path}: cannot be read ({error}){_HELP}") from error
  if not isinstance(marker, dict):
    raise DamagedMarker(f"{path}: expected a JSON object{_HELP}")
  if _OWN in marker and marker[_OWN] != _hash(marker):
    raise DamagedMarker(
      f"{path}: its SHA-256 is not the one in it, so it was damaged or edited"
      + _HELP
    )
  return marker


def write_marker(path: pathlib.Path, marker: dict) -> None:
  """Writes a marker with its own SHA-256."""
  files.write_json(path, {**marker, _OWN: _hash(marker)})


def _hash(marker: dict) -> str:
  # An export that was killed while files were moved lists more of them.
  rest = {name: x for name, x in marker.items() if name not in (_OWN, "files")}
  text = json.dumps(rest, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def listed_files(
  marker: dict, origin: str | os.PathLike
) -> dict[str, dict[str, Any]]:
  """Sizes and SHA-256 of a marker, as `checksums.compare` takes them.

  Args:
    marker: of an export: {"files": {name: bytes}, "sha256": {name: hex}};
      earlier versions list some of the files.
    origin: file name for messages.

  Raises:
    DamagedMarker: they are no such lists.
  """
  sizes, hashes = marker.get("files"), marker.get("sha256", {})
  is_fit = isinstance(sizes, dict) and isinstance(hashes, dict)
  if not is_fit or not all(
    os.path.basename(name) == name
    and (size is None or type(size) is int)
    and isinstance(hashes.get(name, ""), str)
    for name, size in sizes.items()
  ):
    raise DamagedMarker(f"{origin}: lists no sizes and SHA-256 of files")
  return {
    name: {"bytes": size, "sha256": hashes[name]}
    for name, size in sizes.items()
    if name in hashes
  }


def check_export(file: pathlib.Path, others: list[str]) -> None:
  """Refuses weights that are not as the export beside them wrote them.

  Reads all of them once; of what no export of ours wrote, nothing.

  Args:
    file: of weights, or of an index.
    others: names of files beside it that are read, too.

  Raises:
    ValueError: names the files that differ.
  """
  marker = read_marker(file.parent, EXPORT_MARKER)
  if marker is None or marker.get("kind") != EXPORT_KIND:
    return
  path = file.parent / EXPORT_MARKER
  listed = listed_files(marker, path)
  found = {n: listed[n] for n in (file.name, *others) if n in listed}
  require(checksums.compare(file.parent, found), path, "export again")


def require(problems: list[str], marker: pathlib.Path, remedy: str) -> None:
  """Raises ValueError if files are not as a marker lists them."""
  if problems:
    raise ValueError(
      f"{'; '.join(problems)}: damaged, or not what {marker} lists; {remedy}"
    )
