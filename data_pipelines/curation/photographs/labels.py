"""Which images there are, of which kind, and to which half they belong."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib

# A person who is photographed, with head or trunk; and nobody at all.
PERSON = "person"
NOBODY = ("photo", "animal", "texture", "drawing", "render", "screen")
# Counted apart: neither hits nor mistakes of a stage that looks for people.
UNCLEAR = {
  "drawn": "people who are drawn or painted",
  "rendered": "people who are rendered in 3D",
  "part": "hands or legs only",
  "small": "people smaller than about 1/5 of the image's height",
  "depicted": "pages and record covers with people somewhere on them",
}
# People of the test half whose eyes are not seen: from behind, cut off, hidden.
_HIDDEN_FACES = pathlib.Path(__file__).with_name("hidden_faces.json")
# Of a camera, and made by hand or machine. Textures and what depicts people
# are left out: among them are both.
PHOTOS = (PERSON, "photo", "animal", "part", "small")
NO_PHOTOS = ("drawing", "drawn", "render", "rendered", "screen")
HALVES = ("tune", "test")


@dataclasses.dataclass(frozen=True)
class Labelled:
  """An image inside of a package, or a frame of a film there."""

  requirement: str
  registry: str  # "pypi", "pypi-sdist" or "npm"
  half: str
  member: str
  kind: str
  sha256: str  # Of the member.
  frame: int | None = None


def read_labels(path: pathlib.Path | None = None) -> list[Labelled]:
  """All images; a package is in one half with all its images."""
  path = path or pathlib.Path(__file__).with_name("labels.json")
  made = []
  for requirement, package in json.loads(path.read_text()).items():
    half = package["registry"], package["half"]
    for name, rest in package["images"].items():
      member, _, frame = name.partition("#")
      number = int(frame) if frame else None
      made.append(Labelled(requirement, *half, member, *rest, number))
  return made


def read_hidden_faces() -> frozenset[str]:
  """SHA-256 of photographs of people in which no face is seen."""
  packages = json.loads(_HIDDEN_FACES.read_text()).values()
  return frozenset(found for some in packages for found in some.values())


def is_photo(kind: str) -> bool | None:
  """Whether images of a kind are photographs; None: some are."""
  return {**dict.fromkeys(PHOTOS, True), **dict.fromkeys(NO_PHOTOS, False)}.get(
    kind
  )


def wilson(hits: int, count: int) -> tuple[float, float]:
  """The 95 % interval of a proportion, also where all or none hit.

  Source: E. B. Wilson, 1927, J. Am. Stat. Assoc. 22.
  """
  if not count:
    return 0.0, 1.0
  z = 1.959964
  share = hits / count
  middle = share + z * z / (2 * count)
  reach = z * math.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
  whole = 1 + z * z / count
  return max((middle - reach) / whole, 0), min((middle + reach) / whole, 1)


def describe(what: str, hits: int, count: int) -> str:
  """One line: a share and its 95 % interval."""
  low, high = wilson(hits, count)
  share = f"{hits / count:.3f} [{low:.3f}, {high:.3f}]" if count else "-"
  return f"{what} {hits}/{count} = {share}"
