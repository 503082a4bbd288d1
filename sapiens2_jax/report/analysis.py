"""Everything the report measures on photographs, as arrays and numbers."""

import dataclasses

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.loading.crops import CropConfig
from sapiens2_jax.evaluation import encoding, knn
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.pretrain import collapse
from sapiens2_jax.pretrain.crops import crop_config
from sapiens2_jax.pretrain.objective import PretrainObjective, build_pretrain
from sapiens2_jax.report import features, inference, photographs, reconstruct
from sapiens2_jax.report.photographs import Photograph
from sapiens2_jax.training import checkpoints

NUM_SHOWN = 6  # photographs in pictures
NUM_TRAINING_VIEWS = 16  # photographs whose training crops are measured
NUM_CROPS = 4  # a photograph, for the neighbours
NUM_NEIGHBORS = 4
MAX_GRID = 1200  # patches of a photograph in the component picture
SEED = 0  # of the crops for the neighbours


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """Images and losses of masked reconstruction.

  Attributes:
    images, masked, mean, predicted: (n, h, w, 3) in [0, 1]: the image, the
      image without its masked patches, with their mean colours, and with
      what the student predicts.
    blockwise: (n,) whether the mask is made of rectangles.
    losses, baselines: (n,) of the student, and of predicting the mean.
    training_loss, training_baseline: the same two on crops and masks that
      training draws, averaged.
  """

  images: np.ndarray
  masked: np.ndarray
  mean: np.ndarray
  predicted: np.ndarray
  blockwise: np.ndarray
  losses: np.ndarray
  baselines: np.ndarray
  training_loss: float
  training_baseline: float


@dataclasses.dataclass(frozen=True)
class PatchComponents:
  """Principal components of patch features as colours.

  Attributes:
    whole: for each photograph (rows, cols, 3) in [0, 1].
    centers: (n, rows, cols, 3), of centre crops, in the same colours.
    explained: (3,) share of the variance.
    input_size: (height, width) in pixels of an upright photograph.
  """

  whole: list[np.ndarray]
  centers: np.ndarray
  explained: np.ndarray
  input_size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Retrieval:
  """Nearest neighbours of crops by [cls].

  Attributes:
    crops: (n, h, w, 3) uint8.
    groups: (n,) number of the photograph a crop is of.
    ids, similarities: (n, c) neighbours of each crop, and their cosine.
    share: of crops whose nearest neighbour is of the same photograph.
    random_share: the same with random weights.
    chance: the same with neighbours drawn at random.
    area: range of a crop's area, as a share of the photograph's.
    rank_me, rank_me_max, feature_std: of the features.
  """

  crops: np.ndarray
  groups: np.ndarray
  ids: np.ndarray
  similarities: np.ndarray
  share: float
  random_share: float
  chance: float
  area: tuple[float, float]
  rank_me: float
  rank_me_max: int
  feature_std: float


@dataclasses.dataclass(frozen=True)
class Findings:
  """What was found on `shown` (and more) photographs."""

  shown: list[Photograph]
  reconstruction: Reconstruction
  components: PatchComponents
  retrieval: Retrieval


def component_scale(grid: TokenGrid) -> int:
  """How many times the training size photographs are shown at: 1 to 3."""
  fits = [s for s in (3, 2) if s * s * grid.num_tokens <= MAX_GRID]
  return fits[0] if fits else 1


def decode_size(config: ConfigDict) -> tuple[int, int]:
  """The (height, width) at which no view below is enlarged for nothing."""
  return tuple(3 * side for side in config.data.image_size)


def analyse(
  workdir: str, config: ConfigDict, found: list[Photograph], *, epoch: int
) -> Findings:
  """Runs the newest checkpoint of `workdir` on photographs.

  Args:
    workdir: of the run.
    config: resolved, of the checkpoint.
    found: at least one photograph.
    epoch: whose crops and masks the training losses are measured on.
  """
  objective = build_pretrain(config)
  shown = found[:NUM_SHOWN]
  # One set of weights at a time: large sizes fill the memory.
  _, params = checkpoints.load_part(
    workdir,
    lambda state: {n: state.params[n] for n in ("encoder", "decoder")},
  )
  _, key = checkpoints.load_part(workdir, lambda state: state.rng)
  rng = jax.random.wrap_key_data(key)
  reconstruction = reconstruct_photographs(
    objective, params, rng, shown, found[:NUM_TRAINING_VIEWS], epoch
  )
  del params

  crops, groups = neighbor_crops(config, found)
  random_cls = encoding.encode(
    objective.encoder, random_weights(objective), crops
  )["cls"]
  _, teacher = checkpoints.load_part(workdir, objective.encoder_params)
  cls = encoding.encode(objective.encoder, teacher, crops)["cls"]
  retrieval = retrieve(config, crops, groups, cls, random_cls)
  components = paint_photographs(objective, teacher, shown)
  return Findings(shown, reconstruction, components, retrieval)


def last_whole_pass(config: ConfigDict, step: int, num_records: int) -> int:
  """Number of the last pass over the data that is complete; at least 0."""
  return max(0, step * config.data.global_batch_size // num_records - 1)


def reconstruct_photographs(
  objective: PretrainObjective,
  params: dict,
  rng: jax.Array,
  shown: list[Photograph],
  trained: list[Photograph],
  epoch: int,
) -> Reconstruction:
  """Masks and reconstructs centre crops, and crops as training draws them."""
  config = objective.config
  grid = objective.grid
  crops = np.stack([photographs.cut_center(p, grid.image_size) for p in shown])
  # One in three is blockwise; training has 40 %.
  blockwise = np.arange(len(shown)) % 3 == 1
  visible_ids, masked_ids = reconstruct.draw_masks(
    blockwise, grid.shape, config.masking.mask_ratio
  )
  patches = reconstruct.to_patches(crops, grid.output_pixels_per_token)
  predictions = inference.predict_masked(
    objective, params, patches, visible_ids, masked_ids
  )
  hidden = reconstruct.take_patches(patches, masked_ids)
  losses, baselines = reconstruct.reconstruction_losses(predictions, hidden)

  def picture(values):
    return reconstruct.paste(patches, masked_ids, values, grid)

  gray = np.zeros_like(hidden)
  loss, baseline = training_losses(objective, params, rng, trained, epoch)
  return Reconstruction(
    images=crops.astype(np.float32) / 255,
    masked=picture(gray),
    mean=picture(reconstruct.unnormalize(gray, hidden)),
    predicted=picture(reconstruct.unnormalize(predictions, hidden)),
    blockwise=blockwise,
    losses=losses,
    baselines=baselines,
    training_loss=loss,
    training_baseline=baseline,
  )


def training_losses(
  objective: PretrainObjective,
  params: dict,
  rng: jax.Array,
  trained: list[Photograph],
  epoch: int,
) -> tuple[float, float]:
  """Mean loss, and that of predicting the mean, on one epoch's views."""
  config = objective.config
  views = crop_config(config)
  batch = {
    "global_crops": jnp.stack(
      [
        photographs.cut_views(p, views, seed=config.seed, epoch=epoch)
        for p in trained
      ]
    ),
    # Only their number matters here: flips are drawn for all views at once.
    "local_crops": jnp.zeros((len(trained), config.data.num_local, 1, 1, 3)),
    "index": jnp.array([p.index for p in trained], jnp.int32),
    "epoch": jnp.full(len(trained), epoch, jnp.int32),
  }
  patches, visible_ids, masked_ids = (
    einops.rearrange(np.asarray(a), "b v ... -> (b v) ...")
    for a in reconstruct.training_views(objective, batch, rng)
  )
  predictions = inference.predict_masked(
    objective, params, patches, visible_ids, masked_ids
  )
  losses = reconstruct.reconstruction_losses(
    predictions, reconstruct.take_patches(patches, masked_ids)
  )
  return float(losses[0].mean()), float(losses[1].mean())


def random_weights(objective: PretrainObjective) -> dict:
  """Encoder weights as they are drawn before training, from another key."""
  side = objective.grid.pixels_per_token
  image = jnp.zeros((1, side, side, 3))
  init = jax.jit(lambda key: objective.encoder.init(key, image)["params"])
  # A generator that compiles in half the time of the default one.
  params = nn.unbox(init(jax.random.key(0, impl="unsafe_rbg")))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.device_put(params, device)


def neighbor_crops(
  config: ConfigDict, found: list[Photograph]
) -> tuple[np.ndarray, np.ndarray]:
  """Crops (n, h, w, 3) as small as local ones, and their photographs."""
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


def retrieve(
  config: ConfigDict,
  crops: np.ndarray,
  groups: np.ndarray,
  cls: np.ndarray,
  random_cls: np.ndarray,
) -> Retrieval:
  """Looks up neighbours by trained and by random features."""
  ids, similarities = knn.find_neighbors(cls, NUM_NEIGHBORS)
  random_ids, _ = knn.find_neighbors(random_cls, 1)
  return Retrieval(
    crops=crops,
    groups=groups,
    ids=ids,
    similarities=similarities,
    share=knn.same_group_fraction(ids, groups),
    random_share=knn.same_group_fraction(random_ids, groups),
    chance=knn.chance_level(groups),
    area=tuple(config.data.local_area),
    rank_me=float(collapse.rank_me(jnp.asarray(cls))),
    rank_me_max=min(cls.shape),
    feature_std=float(collapse.feature_std(jnp.asarray(cls))),
  )


def paint_photographs(
  objective: PretrainObjective, teacher: dict, shown: list[Photograph]
) -> PatchComponents:
  """Encodes photographs above training size, and paints their patches."""
  arch = objective.encoder.architecture
  scale = component_scale(objective.grid)
  size = tuple(scale * side for side in objective.grid.image_size)
  # Two shapes, so that two programs serve all photographs.
  same_way = [(p.size[0] >= p.size[1]) == (size[0] >= size[1]) for p in shown]
  centers = [photographs.cut_center(p, size) for p in shown]
  upright = [p for p, same in zip(shown, same_way) if same]
  turned = [p for p, same in zip(shown, same_way) if not same]

  def encode(views: list[np.ndarray]) -> list[np.ndarray]:
    if not views:
      return []
    out = encoding.encode(objective.encoder, teacher, np.stack(views))
    return list(out["patches"])

  first = encode([photographs.squeeze(p, size) for p in upright] + centers)
  second = iter(encode([photographs.squeeze(p, size[::-1]) for p in turned]))
  rest = iter(first)
  whole = [next(rest if same else second) for same in same_way]
  everything = np.concatenate([x.reshape(-1, arch.embed_dim) for x in whole])
  components = features.fit_components(everything)
  return PatchComponents(
    whole=[features.paint(x, components) for x in whole],
    centers=features.paint(np.stack(list(rest)), components),
    explained=components.explained,
    input_size=size,
  )
