"""Opens labelled images by the text that a config holds, their spec."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import sys
from collections.abc import Callable

from data_pipelines.annotated import (
  coco,
  files,
  folders,
  geometry,
  keypoints344,
  labelled,
  matting,
  parts,
  synthhuman,
  turning,
)
from data_pipelines.common import storage
from data_pipelines.corpus import records


@dataclasses.dataclass(frozen=True)
class Format:
  """How annotations are stored."""

  open: Callable[..., labelled.LabelledSource]  # Of a path and options.
  usage: str  # How the spec of a dataset of this format is written.

  @property
  def options(self) -> dict[str, inspect.Parameter]:
    """What the source takes beside the path."""
    found = inspect.signature(self.open).parameters
    return {k: v for k, v in found.items() if v.kind is v.KEYWORD_ONLY}

  @property
  def required(self) -> list[str]:
    return [k for k, v in self.options.items() if v.default is v.empty]


def open_annotated(spec: str) -> labelled.LabelledSource:
  """Opens labelled images of a format of other people.

  Args:
    spec: "FORMAT:PATH,OPTION=VALUE,..."; docs/data.md has all of them.

  Raises:
    ValueError: no such format or option, or the annotations are not as
      expected; the message has all that is wrong with a file.
  """
  name, path, options = parse_spec(spec)
  source = FORMATS[name].open(path, **options)
  if not storage.is_directory(path):
    source.annotations = records.hash_content(storage.read_bytes(path))
  return source


def announce(source: labelled.LabelledSource) -> None:
  """Says on stderr what was left out of annotations, and what they lack."""
  for note in source.notes:
    print(note, file=sys.stderr, flush=True)


def is_annotated(spec: str) -> bool:
  """Whether the text begins with the name of a format."""
  name, colon, _ = spec.partition(":")
  return bool(colon) and name in FORMATS


def parse_spec(spec: str) -> tuple[str, str, dict[str, object]]:
  """Takes a spec apart, and looks at no file.

  Returns:
    Format, path and options.

  Raises:
    ValueError: another form; all problems are listed.
  """
  name, _, rest = spec.partition(":")
  if not is_annotated(spec):
    raise ValueError(
      f"{spec}: expected FORMAT:PATH with one of the formats "
      f"{', '.join(FORMATS)}."
    )
  expected = FORMATS[name]
  path, *pairs = (part.strip() for part in rest.split(","))
  options = {}
  with files.problems_of(f"{spec} (expected {expected.usage})") as add:
    if not path:
      add(name, "no path")
    for pair in pairs:
      key, equals, value = pair.partition("=")
      if not equals:
        add(pair, "is not OPTION=VALUE")
      elif key not in expected.options:
        match = difflib.get_close_matches(key, expected.options, n=1)
        hint = f"; did you mean {match[0]}?" if match else ""
        add(key, f"no such option{hint}")
      elif key in options:
        add(key, "is given twice")
      else:
        options[key] = None
        try:
          options[key] = _READERS[key](value)
        except ValueError as error:
          add(pair, str(error))
    for key in expected.required:
      if key not in options:
        add(key, "is missing")
  return name, path, options


def _read_path(text: str) -> str:
  if not text:
    raise ValueError("no path")
  return text


def _read_count(text: str) -> int:
  if not text.isdecimal():
    raise ValueError("is no whole number from 0 on")
  return int(text)


def _read_scale(text: str) -> float:
  """A number above 0."""
  try:
    scale = float(text)
  except ValueError:
    scale = math.nan
  if not 0 < scale < math.inf:
    raise ValueError("expected a number above 0, such as 0.001")
  return scale


def _read_axes(text: str) -> tuple[str, ...]:
  """Takes "x-y-z" apart."""
  axes = tuple(re.findall("[+-]?[xyz]", text))
  if "".join(axes) != text:
    raise ValueError("expected something like x-y-z")
  geometry.read_axes(axes)
  return axes


def _read_taxonomy(text: str) -> str:
  parts.make_table(text)
  return text


def _read_one_of(*known: str) -> Callable[[str], str]:
  def read(text: str) -> str:
    if text not in known:
      raise ValueError(f"expected {' or '.join(known)}")
    return text

  return read


def _read_choice(text: str) -> bool:
  if text not in ("true", "false"):
    raise ValueError("expected true or false")
  return text == "true"


_READERS = {
  **dict.fromkeys(("images", "keypoints", "labels"), _read_path),
  **dict.fromkeys(("root", "face_parts"), _read_path),
  **dict.fromkeys(("min_visible", "min_body"), _read_count),
  "category": _read_path,
  "exif": _read_one_of(turning.STORED, turning.UPRIGHT),
  "normal": _read_one_of(*folders.ENCODINGS),
  "depth_scale": _read_scale,
  "keep_grey": _read_choice,
  "taxonomy": _read_taxonomy,
  "maps": lambda text: tuple(text.split("+")),
  "axes": _read_axes,
}
_EXIF = f"[,exif={turning.STORED}|{turning.UPRIGHT}]"
FORMATS = {
  "coco": Format(
    coco.CocoSource,
    f"coco:FILE.json,images=DIR[,category=person]{_EXIF}",
  ),
  "keypoints344": Format(
    keypoints344.KeypointFilesSource,
    "keypoints344:FILE.json,images=DIR,keypoints=DIR"
    f"[,min_visible=8][,min_body=6][,keep_grey=false]{_EXIF}",
  ),
  "keypoints70": Format(
    keypoints344.KeypointListSource, f"keypoints70:FILE.json,images=DIR{_EXIF}"
  ),
  "parts": Format(
    parts.PartsSource,
    "parts:FILE.json,images=DIR,labels=DIR,taxonomy="
    + "|".join(parts.taxonomies())
    + _EXIF,
  ),
  "folders": Format(
    folders.FoldersSource,
    "folders:DIR[,maps=normal+depth+albedo][,axes=xyz][,face_parts=DIR]"
    f"[,normal={'|'.join(folders.ENCODINGS)}][,depth_scale=0.001]{_EXIF}",
  ),
  "synthhuman": Format(
    synthhuman.SynthHumanSource, f"synthhuman:DIR[,axes=xyz]{_EXIF}"
  ),
  "matting": Format(
    matting.MattingSource, f"matting:FILE.json|FILE.txt[,root=DIR]{_EXIF}"
  ),
}
