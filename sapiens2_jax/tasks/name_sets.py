"""Names of a task's channels from a small file, and what mirrors them.

The file is text, a name a line, or JSON, where all but `names` may be left out:

    {"names": ["nose", "left_ear", "right_ear", "tail"],
     "pairs": [["left_ear", "right_ear"]],
     "middle": ["tail"],
     "labels": "own",
     ...}

Its content stands in the config, so that a checkpoint needs no file.
"""

import collections
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from data_pipelines.common import storage
from sapiens2_jax import errors

# What labels of a corpus hold: the vocabulary, mapped by name, or this set.
LABELS = ("named", "own")
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_MAX_NAMES = 255  # 255 itself is a part that is not known


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """What is known of names, and what a file may say of them.

  Attributes:
    field: of the config, for messages.
    names: that are known.
    flip_indices: where each of them is in a mirror image.
    needs_sides: every name is one of a pair, or in the middle.
    extras: more keys of the file, and what is wrong with their values:
      (value, names) -> text, "" if nothing.
  """

  field: str
  names: tuple[str, ...]
  flip_indices: tuple[int, ...]
  needs_sides: bool
  extras: Mapping[str, Callable[[Any, tuple[str, ...]], str]]

  def places(self, names: tuple[str, ...]) -> list[int]:
    """Of each name among those that are known; -1: it is not."""
    known = {_plain(name): i for i, name in enumerate(self.names)}
    return [known.get(_plain(name), -1) for name in names]


@dataclasses.dataclass(frozen=True)
class NameSet:
  """Names of channels, in their order.

  Attributes:
    names: of the channels.
    pairs: places that a mirror image exchanges.
    is_own: labels of a corpus are in this order; else in the vocabulary's.
    extras: what else the file says, by key.
  """

  names: tuple[str, ...]
  pairs: tuple[tuple[int, int], ...]
  is_own: bool
  extras: Mapping[str, Any]

  @property
  def flip_indices(self) -> tuple[int, ...]:
    """Where each channel is in a mirror image."""
    places = list(range(len(self.names)))
    for first, second in self.pairs:
      places[first], places[second] = second, first
    return tuple(places)


def parse(content: str) -> NameSet:
  """What `resolve` returned; reads no file, and knows no vocabulary."""
  read = json.loads(content)
  names = tuple(read["names"])
  place = {name: i for i, name in enumerate(names)}
  extras = set(read) - {"names", "pairs", "middle", "labels"}
  return NameSet(
    names,
    tuple((place[first], place[second]) for first, second in read["pairs"]),
    read["labels"] == "own",
    {key: read[key] for key in extras},
  )


def resolve(given: str, vocabulary: Vocabulary) -> str:
  """The content of a file as JSON, checked and complete.

  Args:
    given: its path, or what this function returned.
    vocabulary: what is known of the names.

  Raises:
    ValueError: unreadable, or something is missing or wrong; says what, and
      what to write.
  """
  if not given:
    return ""
  origin = "its names" if given.startswith("{") else given
  try:
    text = given
    if not given.startswith("{"):
      text = storage.read_bytes(given).decode("utf-8-sig")
    lines = [line.strip() for line in text.splitlines()]
    read = (
      json.loads(text)
      if text.lstrip().startswith(("{", "["))
      else {"names": [x for x in lines if x and not x.startswith("#")]}
    )
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(f"cannot read {origin}: {error}") from error
  if problems := _complete(read, vocabulary):
    raise ValueError(f"{origin}: {'; '.join(problems)}")
  return json.dumps(read, sort_keys=True, ensure_ascii=False)


def _complete(read: Any, vocabulary: Vocabulary) -> list[str]:
  """Fills in pairs and labels, in place; returns what is wrong."""
  if not isinstance(read, dict) or "names" not in read:
    return ['expected an object with "names", or text with a name a line']
  keys = ("names", "pairs", "middle", "labels", *vocabulary.extras)
  problems = [
    f"{key!r} is no key of it{errors.nearest(key, keys)}"
    for key in read
    if key not in keys
  ]
  names = read["names"]
  if not isinstance(names, list) or not all(
    isinstance(name, str) and name.strip() for name in names
  ):
    return [*problems, '"names" must be a list of texts']
  if not 1 <= len(names) <= _MAX_NAMES:
    return [*problems, f"{len(names)} names, expected 1 to {_MAX_NAMES}"]
  counts = collections.Counter(map(_plain, names))
  if twice := [name for name in names if counts[_plain(name)] > 1]:
    return [*problems, f"names that are there twice: {', '.join(twice)}"]
  names = tuple(names)
  problems += _pair(read, names, vocabulary)
  problems += _choose_labels(read, names, vocabulary)
  problems += [
    f"{key!r}: {wrong}"
    for key, check in vocabulary.extras.items()
    if (wrong := check(read.get(key), names))
  ]
  return problems


def _plain(name: str) -> str:
  """As names are compared: "Left_Hand" is "left hand"."""
  return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def _mirrored(name: str) -> str:
  """The name with left and right exchanged, by words; the same if neither."""

  def swap(found: re.Match) -> str:
    word = found[0]
    other = _OTHER_SIDE.get(word.lower(), word)
    if word.isupper():
      return other.upper()
    return other.capitalize() if word[0].isupper() else other

  return _WORDS.sub(swap, name)


def _pair(
  read: dict, names: tuple[str, ...], vocabulary: Vocabulary
) -> list[str]:
  """Finds the pairs that names tell, and adds those that are given.

  A wrong or a missing pair would train on wrong labels without a word, so
  that a name that tells a side must have a partner.
  """
  given, middle = read.get("pairs", []), read.get("middle", [])
  if not isinstance(given, list) or not all(
    isinstance(pair, list) and len(pair) == 2 and all(x in names for x in pair)
    for pair in given
  ):
    return ['"pairs" must be a list of [left, right], two of the names each']
  if not isinstance(middle, list) or not all(x in names for x in middle):
    return ['"middle" must be a list of some of the names']
  partner: dict[str, str] = {}
  problems = []
  for first, second in given:
    for one, other in ((first, second), (second, first)):
      if one == other or partner.setdefault(one, other) != other:
        problems.append(f"{one!r} must have one partner, another name")
      if one in middle:
        problems.append(f"{one!r} is in a pair and in the middle")
  by_name = {_plain(name): name for name in names}
  lost, unknown = [], []
  for name, place in zip(names, vocabulary.places(names)):
    if place >= 0:  # Known: numbers in names may change, too.
      told = vocabulary.names[vocabulary.flip_indices[place]]
      is_sided = vocabulary.flip_indices[place] != place
    else:
      told = _mirrored(name)
      is_sided = _plain(told) != _plain(name)
    if is_sided:
      found = by_name.get(_plain(told))
      if name in middle:
        problems.append(f"{name!r} has a side, so it is not in the middle")
      elif found is None and name not in partner:
        lost.append(f"{name} ({told})")
      elif found and partner.setdefault(name, found) != found:
        problems.append(
          f"{name!r} pairs with {partner[name]!r}, but its name with {found!r}"
        )
    elif place >= 0 and name in partner:
      problems.append(f"{name!r} is in the middle of people, and has a partner")
    elif place < 0 and name not in partner and name not in middle:
      unknown.append(name)
  if lost:
    problems.append(
      f"the other side is missing, which a mirror image shows: "
      f'{", ".join(lost)}; add these names, or "pairs"'
    )
  if unknown and vocabulary.needs_sides:
    problems.append(
      f"no side is known of {', '.join(unknown)}; write [left, right] of them "
      'to "pairs", and to "middle" those that a mirror image leaves'
    )
  place = {name: i for i, name in enumerate(names)}
  read["pairs"] = [
    [name, other]
    for name, other in partner.items()
    if place[name] < place[other]
  ]
  for first, second in read["pairs"]:
    if partner.get(second) != first:
      problems.append(f"{first!r} and {second!r} are no partners of each other")
  read["pairs"].sort(key=lambda pair: place[pair[0]])
  return problems


def _choose_labels(
  read: dict, names: tuple[str, ...], vocabulary: Vocabulary
) -> list[str]:
  """Whether labels of a corpus are mapped by name, where that is certain."""
  places = vocabulary.places(names)
  unknown = [name for name, place in zip(names, places) if place < 0]
  labels = read.get("labels")
  if labels is None:
    # The background of classes is in both.
    shared = sum(place >= 0 for place in places) - (places[0] == 0)
    if unknown and shared:
      hint = errors.nearest(unknown[0], map(str.lower, vocabulary.names))
      return [
        f"some of its names are known, {', '.join(unknown)} not{hint or '.'} "
        'If all are right, write a JSON file with "labels": "own" if the '
        "labels of your corpus count in the order of these names, "
        f'"named" if they are the {len(vocabulary.names)} known ones'
      ]
    labels = "own" if unknown else "named"
  if labels not in LABELS:
    return [f'"labels" must be one of {", ".join(LABELS)}']
  if labels == "named" and unknown and len(unknown) == len(names):
    return ['"labels": "named", but none of the names is known']
  read["labels"] = labels
  return []
