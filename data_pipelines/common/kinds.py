"""What a file is: an image that is taken, or something that is counted.

The one place that decides, for folders, tars, pools and predictions.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Callable, Mapping

from data_pipelines.common import images

# By ending, which format of `images.FORMATS` can be expected.
ENDINGS = {
  **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
  ".png": "PNG",
  ".webp": "WEBP",
  ".bmp": "BMP",
  ".gif": "GIF",
  **dict.fromkeys((".tif", ".tiff"), "TIFF"),
  ".avif": "AVIF",
  **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
}
IMAGE_ENDINGS = tuple(
  ending for ending, kind in ENDINGS.items() if kind in images.FORMATS
)
METADATA_ENDING = ".json"  # What is known about the image of the same name.
HEAD = 32  # Bytes that tell a file without an ending.
_MAX_ENDING = 16  # A longer one is a part of a name.
_MAX_KINDS = 50  # Of which each is counted.
_MAX_SHOWN = 5


def split(name: str) -> tuple[str, str]:
  """A path without its ending, and the ending in lower case, "" if none."""
  stem, ending = posixpath.splitext(name)
  return stem, ending.lower()


def find_other(name: str, read_head: Callable[[], bytes]) -> str | None:
  """Why a file is not taken as an image, as a kind to count it by.

  Args:
    name: its path; that of a link to a directory ends with a slash.
    read_head: gives its first `HEAD` bytes; called if the name has no ending.

  Returns:
    None if it is an image that can be decoded here; "" if it is a `.json`,
    which is looked for beside images.

  Raises:
    What `read_head` raises but OSError.
  """
  if name.endswith("/"):
    return "link to a folder"
  ending = split(name)[1]
  if ending == METADATA_ENDING:
    return ""
  if not ending:
    try:
      found = images.sniff(read_head())
    except OSError:
      return "unreadable without an ending"
    return images.explain_format(found) if found else "without an ending"
  if ending in ENDINGS:
    return images.explain_format(ENDINGS[ending])
  return ending if len(ending) <= _MAX_ENDING else "of unknown endings"


class LeftOut:
  """Counts files that are not taken, by their kind.

  Attributes:
    counts: of each kind the number, and the name of one.
    num_metadata: `.json` files of a folder, which are not in `counts`.
  """

  def __init__(self, counts: Mapping[str, list] | None = None):
    """Continues from `counts` of another one."""
    self.counts = {kind: [*entry] for kind, entry in (counts or {}).items()}
    self.num_metadata = 0

  def add(self, kind: str, name: str, count: int = 1) -> None:
    """Counts files of a kind, of which one is called `name`."""
    if kind not in self.counts and len(self.counts) >= _MAX_KINDS:
      kind = "of other kinds"
    self.counts.setdefault(kind, [0, _printable(name)])[0] += count

  def update(self, other: LeftOut) -> None:
    """Adds what another one has counted."""
    for kind, (count, name) in other.counts.items():
      self.add(kind, name, count)

  def describe(self) -> str:
    """Kinds, the most frequent first, each with an example; "" if none."""
    found = sorted(self.counts.items(), key=lambda item: -item[1][0])
    shown = [
      f"{count} {kind} ({name})" for kind, (count, name) in found[:_MAX_SHOWN]
    ]
    if len(found) > _MAX_SHOWN:
      count = sum(count for _, (count, _) in found[_MAX_SHOWN:])
      shown.append(f"{count} of {len(found) - _MAX_SHOWN} more kinds")
    return ", ".join(shown)

  def report(self, where: object) -> None:
    """Says in one line on stderr what was left out, if anything was."""
    if self.counts:
      text = f"{where}: left out {self.describe()}"
      print(text, file=sys.stderr, flush=True)


def _printable(text: str) -> str:
  """Text of one line."""
  return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
