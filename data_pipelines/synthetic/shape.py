"""Age, sex, ancestry, build and face of a person, and their shape."""

from __future__ import annotations

import bisect
import dataclasses

import numba
import numpy as np

from data_pipelines.synthetic import anatomy as anatomies

# Years at which MakeHuman has a body of its own; between them it is mixed.
# The younger two are set so that children get the heights of growth charts.
_AGES = {"baby": 0.5, "child": 9.0, "young": 22.0, "old": 90.0}
YOUNGEST, ADULT, OLDEST = 4.0, 18.0, 88.0
# Ages that have no targets of a kind, or whose targets are not used.
_PLAIN_AGES = {"proportions/": ("baby",), "breast/": ("baby", "child")}
_ANCESTRIES = ("african", "asian", "caucasian")
_LOCAL = (
  *("chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "nose"),
  *("cheek", "arms", "feet", "hands", "hip", "legs", "neck", "torso"),
  *("buttocks", "stomach"),
)
# Places and bulges that look wrong on top of other changes.
_UNUSED = ("trans-", "navel", "pregnant", "eye-push", "nubian", "head-age")
_OPPOSITES = {
  "decr": "incr",
  "down": "up",
  "in": "out",
  "compress": "uncompress",
  "concave": "convex",
  "backward": "forward",
}
# Opposite changes; each a target, or both sides' targets.
Pair = tuple[tuple[str, ...], tuple[str, ...]]
_ROUND_HEADS = ("diamond", "oval", "rectangular", "round", "square")


@dataclasses.dataclass(frozen=True)
class Traits:
  """What a person is like, as it was drawn."""

  age: float  # years
  is_female: bool  # the body's sex
  african: float  # fraction of ancestry; the three add up to 1
  asian: float  # likewise
  caucasian: float  # likewise
  muscle: float  # 0 to 1, usual 0.5
  weight: float  # likewise
  height: float  # likewise, for the age
  proportions: float  # likewise, 1 is ideal
  cup: float  # likewise; of grown women


def draw_traits(rng: np.random.Generator) -> Traits:
  """Draws a person of any age."""
  is_grown = rng.random() < 0.8
  years = (ADULT, OLDEST) if is_grown else (YOUNGEST, ADULT)
  age = years[0] + (years[1] - years[0]) * rng.beta(1.1, 1.4)
  is_female = rng.random() < 0.5
  ancestry = rng.dirichlet((0.4, 0.4, 0.4)).tolist()
  muscle, weight, height, *others = rng.beta(3, 3, 5).tolist()
  height = 0.5 + 0.4 * (height - 0.5)  # The targets' ends are giants, dwarfs.
  return Traits(age, is_female, *ancestry, muscle, weight, height, *others)


def mix_targets(traits: Traits) -> dict[str, float]:
  """Target -> fraction, of the targets that make this person's body."""
  sex = "female" if traits.is_female else "male"
  ages = _between(traits.age, _AGES)
  muscles = _spread(traits.muscle, "minmuscle", "averagemuscle", "maxmuscle")
  weights = _spread(traits.weight, "minweight", "averageweight", "maxweight")
  proportions = "uncommonproportions", "", "idealproportions"
  finer = {
    "height/": _spread(traits.height, "minheight", "", "maxheight"),
    "proportions/": _spread(traits.proportions, *proportions),
  }
  if traits.is_female and traits.age >= ADULT:
    cups = "mincup-averagefirmness", "", "maxcup-averagefirmness"
    finer["breast/"] = _spread(traits.cup, *cups)
  fractions: dict[str, float] = {}
  for age, years in ages.items():
    for ancestry in _ANCESTRIES:
      name = f"macrodetails/{ancestry}-{sex}-{age}"
      fractions[name] = years * getattr(traits, ancestry)
    for muscle, strength in muscles.items():
      for weight, mass in weights.items():
        fraction = years * strength * mass
        build = f"{sex}-{age}-{muscle}-{weight}"
        fractions[f"macrodetails/universal-{build}"] = fraction
        for folder, kinds in finer.items():
          if age in _PLAIN_AGES.get(folder, ()):
            continue
          for kind, part in kinds.items():
            if kind:
              fractions[f"{folder}{build}-{kind}"] = fraction * part
  return {name: part for name, part in fractions.items() if part > 1e-4}


def _spread(value: float, low: str, usual: str, high: str) -> dict[str, float]:
  return _between(value, {low: 0, usual: 0.5, high: 1})


def _between(value: float, anchors: dict[str, float]) -> dict[str, float]:
  """Fractions of the two anchors around a value."""
  names, places = list(anchors), list(anchors.values())
  upper = min(max(bisect.bisect_left(places, value), 1), len(places) - 1)
  low, high = places[upper - 1], places[upper]
  fraction = min(max((value - low) / (high - low), 0.0), 1.0)
  return {names[upper - 1]: 1 - fraction, names[upper]: fraction}


def find_local_changes(anatomy: anatomies.Anatomy) -> list[Pair]:
  """All changes of face and limbs that go two ways."""
  pairs = []
  for name in sorted(anatomy.targets):
    folder, _, change = name.partition("/")
    if folder not in _LOCAL or any(word in name for word in _UNUSED):
      continue
    stem, _, end = change.rpartition("-")
    opposite = f"{folder}/{stem}-{_OPPOSITES.get(end)}"
    if opposite not in anatomy.targets or stem.startswith("r-"):
      continue
    pair = (name,), (opposite,)
    if stem.startswith("l-"):
      pair = tuple((t, t.replace("/l-", "/r-")) for (t,) in pair)
    pairs.append(pair)
  return pairs


def draw_local_changes(
  rng: np.random.Generator, pairs: list[Pair]
) -> dict[str, float]:
  """Some changes of face and limbs: target -> fraction."""
  fractions: dict[str, float] = {}
  for place in rng.choice(len(pairs), 28, replace=False):
    amount = min(max(rng.normal(0, 0.25), -0.5), 0.5)
    uneven = rng.normal(1, 0.04, 2)
    for name, factor in zip(pairs[place][amount > 0], uneven):
      fractions[name] = abs(amount) * float(factor)
  head = _ROUND_HEADS[rng.integers(len(_ROUND_HEADS))]
  fractions[f"head/head-{head}"] = float(rng.uniform(0, 0.5))
  return fractions


def draw_face(rng: np.random.Generator) -> dict[str, float]:
  """What the face does: facial action -> fraction."""
  acts: dict[str, float] = {}

  def act(name: str, amount: float) -> None:
    left, right = (amount * rng.normal(1, 0.1, 2)).clip(0, 1)
    acts[f"{name}Left"], acts[f"{name}Right"] = float(left), float(right)

  mood = rng.choice(["calm", "smile", "talk", "laugh", "frown", "odd"])
  match mood:
    case "smile":
      act("mouthSmile", rng.uniform(0.2, 0.9))
      act("cheekSquint", rng.uniform(0, 0.6))
      act("mouthUpperUp", rng.uniform(0, 0.4))
    case "talk":
      acts["jawOpen"] = float(rng.uniform(0.05, 0.45))
      amount = float(rng.uniform(0, 0.6))
      acts[str(rng.choice(["mouthFunnel", "mouthPucker"]))] = amount
      act("mouthLowerDown", rng.uniform(0, 0.5))
    case "laugh":
      acts["jawOpen"] = float(rng.uniform(0.2, 0.8))
      act("mouthSmile", rng.uniform(0.4, 1))
      act("eyeSquint", rng.uniform(0, 0.8))
    case "frown":
      act("mouthFrown", rng.uniform(0.2, 0.9))
      act("browDown", rng.uniform(0.2, 0.9))
      act("noseSneer", rng.uniform(0, 0.4))
    case "odd":
      for name in ("mouthStretch", "mouthPress", "mouthDimple"):
        act(name, rng.uniform(0, 0.6))
      acts["cheekPuff"] = float(rng.uniform(0, 0.7))
      acts[str(rng.choice(["jawLeft", "jawRight"]))] = float(rng.random())
      if rng.random() < 0.2:
        acts["jawOpen"], acts["tongueOut"] = 0.6, float(rng.uniform(0.3, 1))
  if rng.random() < 0.3:
    acts["browInnerUp"] = float(rng.uniform(0, 0.9))
    act("browOuterUp", rng.uniform(0, 0.8))
  act("eyeBlink", rng.uniform(0.7, 1) if rng.random() < 0.06 else 0.05)
  across, down = rng.normal(0, 0.35, 2).clip(-0.9, 0.9)
  inward, outward = ("Left", "Right") if across < 0 else ("Right", "Left")
  acts[f"eyeLookIn{inward}"] = acts[f"eyeLookOut{outward}"] = abs(float(across))
  act("eyeLookDown" if down > 0 else "eyeLookUp", abs(down))
  return {f"faceunits/{name}": fraction for name, fraction in acts.items()}


def make_shape(
  anatomy: anatomies.Anatomy, fractions: dict[str, float]
) -> np.ndarray:
  """(v, 3) float32 metres: the base mesh with targets applied.

  Raises:
    ValueError: there is no such target.
  """
  unknown = sorted(fractions.keys() - anatomy.targets.keys())
  if unknown:
    raise ValueError(f"no such targets: {', '.join(unknown)}.")
  vertices = anatomy.vertices.copy()
  _apply(
    vertices,
    np.array([anatomy.targets[name] for name in fractions], np.int64),
    np.array(list(fractions.values()), np.float32) * anatomies.MOVE_UNIT,
    anatomy.target_starts,
    anatomy.target_vertices,
    anatomy.target_moves,
  )
  return vertices


@numba.njit(cache=True)
def _apply(vertices, targets, fractions, starts, moved, moves):
  for number in range(len(targets)):
    fraction = np.float32(fractions[number])
    target = targets[number]
    # Unsigned: NumPy's counting from the end costs a test each.
    for place in range(np.uintp(starts[target]), np.uintp(starts[target + 1])):
      vertex = np.uintp(moved[place])
      vertices[vertex, 0] += fraction * np.float32(moves[place, 0])
      vertices[vertex, 1] += fraction * np.float32(moves[place, 1])
      vertices[vertex, 2] += fraction * np.float32(moves[place, 2])
