"""The keypoints of a model: the 308, or those of a user's file."""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float

from data_pipelines import vocabulary
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.tasks import name_sets

FIELD = "task.keypoints"
# Of a person to learn from; the second among the body's and the feet's.
# Source: the public Sapiens2 release. Of a user's set a half at most: ours.
MIN_VISIBLE = 8
MIN_VISIBLE_BODY = 6
_NUM_BODY = 21
_SETS = {
  "body": "body17",
  "foot": "foot6",
  "face": "face238",
  "left_hand": "left_hand20",
  "right_hand": "right_hand20",
}
_COLOR, _LINK_COLOR = (51, 153, 255), (0, 255, 0)

Color = tuple[int, int, int]
Keypoints = Float[np.ndarray, "k 3"]  # x and y in pixels; 0: not labelled


def _check_sigmas(value: Any, names: tuple[str, ...]) -> str:
  sigmas = {} if value is None else value
  if not isinstance(sigmas, dict) or not set(sigmas) <= set(names):
    return "must be an object whose keys are names"
  wrong = [
    name
    for name, sigma in sigmas.items()
    if type(sigma) not in (int, float) or not 0 < sigma < 1
  ]
  if wrong:
    return f"of {', '.join(wrong)} must be numbers between 0 and 1"
  places = known().places(names)
  lacking = [
    name
    for name, place in zip(names, places)
    if place < 0 and name not in sigmas
  ]
  if lacking:
    return f"of {', '.join(lacking)} are missing; OKS and AP divide by them"
  return ""


def _check_skeleton(value: Any, names: tuple[str, ...]) -> str:
  if value is None or (
    isinstance(value, list)
    and all(isinstance(link, list) and len(link) == 2 for link in value)
    and all(name in names for link in value for name in link)
  ):
    return ""
  return "must be a list of [name, name]"


@functools.cache
def known() -> name_sets.Vocabulary:
  """The 308 keypoints, as names for a file."""
  points = vocabulary.keypoints()
  return name_sets.Vocabulary(
    FIELD,
    tuple(points["names"]),
    tuple(points["flip_indices"]),
    needs_sides=True,
    extras={"sigmas": _check_sigmas, "skeleton": _check_skeleton},
  )


def resolve(given: str) -> str:
  """See `name_sets.resolve`."""
  return name_sets.resolve(given, known())


@dataclasses.dataclass(frozen=True, eq=False)
class KeypointSet:
  """All that depends on which keypoints there are.

  Attributes:
    names: of the keypoints.
    flip_indices: where each is in a mirror image.
    sigmas: of each, as COCO defines them.
    colors: RGB of each in pictures.
    links: lines of the skeleton: two keypoints and a colour.
    halves: keypoints of the upper and of the lower body.
    groups: of which metrics are told apart, by name.
    sources: for a number of keypoints in labels, where each of these is among
      them; -1: they do not have it.
    body: of which some must be visible to learn from a person.
    min_visible: of all keypoints of a person to learn from.
    min_visible_body: of those of `body`.
  """

  names: tuple[str, ...]
  flip_indices: np.ndarray
  sigmas: Float[np.ndarray, "k"]
  colors: tuple[Color, ...]
  links: tuple[tuple[int, int, Color], ...]
  halves: tuple[tuple[int, ...], tuple[int, ...]]
  groups: dict[str, list[int]]
  sources: dict[int, np.ndarray]
  body: slice
  min_visible: int
  min_visible_body: int

  def relabel(self, labels: Labels) -> Labels:
    """People of a corpus with these keypoints, in this order.

    Raises:
      UnusableExample: they have another number of keypoints.
    """
    if labels.people is None:
      return labels
    people = tuple(map(self._relabel, labels.people))
    return dataclasses.replace(labels, people=people)

  def _relabel(self, person: Person) -> Person:
    source = self.sources.get(len(person.keypoints))
    if source is None:
      expected = " or ".join(map(str, self.sources))
      raise UnusableExample(
        f"a person has {len(person.keypoints)} keypoints, expected {expected}"
      )
    keypoints = np.zeros((len(source), 3), np.float32)
    has_one = source >= 0
    keypoints[has_one] = person.keypoints[source[has_one]]
    return dataclasses.replace(person, keypoints=keypoints)

  def is_known(self, keypoints: Keypoints) -> bool:
    """Whether there is enough of a person to learn from."""
    visible = keypoints[:, 2] > 0
    is_body = visible[self.body].sum() >= self.min_visible_body
    return bool(is_body and visible.sum() >= self.min_visible)


def _links(names: tuple[str, ...], places: list[int], given: Any) -> tuple:
  points = vocabulary.keypoints()
  if given is not None:
    place = {name: number for number, name in enumerate(names)}
    return tuple((place[a], place[b], _LINK_COLOR) for a, b in given)
  back = {place: number for number, place in enumerate(places) if place >= 0}
  colors = map(tuple, points["skeleton_link_colors_rgb"])
  return tuple(
    (back[a], back[b], color)
    for (a, b), color in zip(points["skeleton_links"], colors)
    if a in back and b in back
  )


def make(content: str) -> KeypointSet:
  """Of what `resolve` returned; the 308 keypoints if it is empty."""
  points = vocabulary.keypoints()
  count = points["num_keypoints"]
  body17 = points["groups"]["body17"]
  is_whole = not content
  if is_whole:
    names, flip_indices = points["names"], points["flip_indices"]
    extras, is_own = {}, False
  else:
    given = name_sets.parse(content)
    names, flip_indices = given.names, given.flip_indices
    extras, is_own = given.extras, given.is_own
  names = tuple(names)
  places = known().places(names)
  sigmas = extras.get("sigmas") or {}
  if is_own:
    sources = {len(names): np.arange(len(names))}
  else:
    seventeen = {place: number for number, place in enumerate(body17)}
    sources = {
      count: np.array(places),
      len(body17): np.array([seventeen.get(place, -1) for place in places]),
    }
  back = {place: number for number, place in enumerate(places) if place >= 0}
  return KeypointSet(
    names,
    np.array(flip_indices),
    np.array(
      [
        sigmas.get(name, points["sigmas"][place])
        for name, place in zip(names, places)
      ]
    ),
    tuple(
      tuple(points["colors_rgb"][place]) if place >= 0 else _COLOR
      for place in places
    ),
    _links(names, places, extras.get("skeleton")),
    tuple(
      tuple(
        back[place] for place in points[f"{half}_body_ids"] if place in back
      )
      for half in ("upper", "lower")
    ),
    {
      name: [back[place] for place in points["groups"][group]]
      for name, group in _SETS.items()
      if all(place in back for place in points["groups"][group])
    },
    sources,
    slice(_NUM_BODY) if is_whole else slice(None),
    MIN_VISIBLE if is_whole else min(MIN_VISIBLE, -(-len(names) // 2)),
    MIN_VISIBLE_BODY if is_whole else 0,
  )
