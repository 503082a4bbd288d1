"""Nearest neighbours of crops by the teacher's [cls]."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from data_pipelines.loading.crops import CropConfig
from sapiens2_jax.evaluation import knn
from sapiens2_jax.pretrain import collapse
from sapiens2_jax.pretrain.objective import PretrainObjective
from sapiens2_jax.pretrain.report import photographs
from sapiens2_jax.pretrain.report.photographs import Photograph, Pictures
from sapiens2_jax.report.facts import show
from sapiens2_jax.report.page import Figure, Section
from sapiens2_jax.report.pictures import Sheet, Tile, to_image

NAME, TITLE = "neighbors", "Nearest neighbours"
SAME, OTHER = (46, 160, 110), (217, 119, 54)  # frames of neighbours
NUM_CROPS = 4  # a photograph
NUM_NEIGHBORS = 4
NUM_QUERIES = 8
SEED = 0  # of the crops
_HEIGHT, _FONT_SIZE = 144, 12  # of a tile, in pixels

CAPTION = (
  "One crop of each photograph as query and the nearest crops, by cosine "
  "similarity (beside each) of the teacher's [cls]. Green frames and ✓: same "
  "photograph; orange and ✗: another one. The gap to random weights, not to "
  "chance, "
  "is what training added."
)


Groups = Int[np.ndarray, "n"]  # number of each crop's photograph
Features = Float[np.ndarray, "n d"]


def cut(config: ConfigDict, found: list[Photograph]) -> tuple[Pictures, Groups]:
  """Crops as small as local ones, and the number of each one's photograph."""
  views = CropConfig(
    global_size=tuple(config.data.image_size),
    num_global=NUM_CROPS,
    num_local=0,
    global_area=tuple(config.data.local_area),
  )
  crops = np.concatenate(
    [photographs.cut_views(p, views, seed=SEED, epoch=0) for p in found]
  )
  return crops, np.repeat(np.arange(len(found)), NUM_CROPS)


def find(
  crops: Pictures,
  groups: Groups,
  cls: Features,
  random_cls: Features,
  area: tuple[float, float],
) -> Section:
  """Looks up neighbours by features of the teacher and of random weights.

  Args:
    crops, groups: of `cut`.
    cls, random_cls: [cls] of each crop, by both encoders.
    area: range of a crop's, as a fraction of its photograph's.
  """
  ids, similarities = knn.find_neighbors(cls, NUM_NEIGHBORS)
  random_ids, _ = knn.find_neighbors(random_cls, 1)
  numbers = {
    "share": knn.same_group_fraction(ids, groups),
    "random_weights_share": knn.same_group_fraction(random_ids, groups),
    "chance": knn.chance_level(groups),
    "num_crops": len(crops),
    "rank_me": float(collapse.rank_me(jnp.asarray(cls))),
    "rank_me_max": min(cls.shape),
    "feature_std": float(collapse.feature_std(jnp.asarray(cls))),
  }
  return _make_section(draw(crops, groups, ids, similarities), numbers, area)


def random_weights(objective: PretrainObjective) -> dict:
  """Encoder weights as they are drawn before training, from another key."""
  side = objective.grid.pixels_per_token
  image = jnp.zeros((1, side, side, 3))
  init = jax.jit(lambda key: objective.encoder.init(key, image)["params"])
  # A generator that compiles in half the time of the default one.
  params = nn.unbox(init(jax.random.key(0, impl="unsafe_rbg")))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.device_put(params, device)


def draw(
  crops: Pictures,
  groups: Groups,
  ids: Int[np.ndarray, "n c"],
  similarities: Float[np.ndarray, "n c"],
) -> Sheet:
  """Queries, one photograph after another, and their nearest crops."""
  _, first = np.unique(groups, return_index=True)
  rows = []
  for number, query in enumerate(first[:NUM_QUERIES]):
    # Another crop of each photograph, so that easy ones are not picked.
    query = min(query + number % NUM_CROPS, len(groups) - 1)
    text = f"a crop of photograph {number + 1}"
    tiles = [Tile(to_image(crops[query], _HEIGHT), "query", text=text)]
    for i, similarity in zip(ids[query], similarities[query]):
      is_same = groups[i] == groups[query]
      frame, mark = (SAME, "✓") if is_same else (OTHER, "✗")
      text = f"a crop of {'the same' if is_same else 'another'} photograph"
      image = to_image(crops[i], _HEIGHT)
      tiles.append(Tile(image, f"{mark} {similarity:.3f}", frame, text=text))
    rows.append(tiles)
  return Sheet(rows, font_size=_FONT_SIZE)


def _make_section(
  picture: Sheet, numbers: dict, area: tuple[float, float]
) -> Section:
  found, by_random, chance = (
    show(numbers[name], "{:.0%}")
    for name in ("share", "random_weights_share", "chance")
  )
  lead = (
    f"Of {numbers['num_crops']} random crops ({area[0]:.0%} to {area[1]:.0%} "
    f"of a photograph's area), {found} have another crop of the same "
    f"photograph as their nearest neighbour; {by_random} with the same encoder "
    f"at random weights, {chance} by chance. RankMe of these features is "
    f"{numbers['rank_me']:.1f} of at most {numbers['rank_me_max']}, feature "
    f"std {numbers['feature_std']:.2f}."
  )
  alt = "Query crops and their nearest neighbours"
  compared = f"{by_random} with random weights, {chance} by chance"
  return Section(
    NAME,
    TITLE,
    text=[lead],
    figures=[Figure(picture, alt, CAPTION)],
    key_numbers=[("Same photograph found", found, compared)],
    line=f"features   same photograph found {found} (random weights "
    f"{by_random}, chance {chance})",
    numbers=numbers,
  )
