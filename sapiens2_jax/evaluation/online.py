"""Probes while a run trains: ridge regression and retrieval, in closed form.

A target is averaged over each patch, where the mask has at least half of it. A
ridge regression from the patch's features to it is fitted on every other
image and measured on the rest: numbers of a run are comparable with each other,
not with those of a trained decoder. Ours.
"""

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.records import Record
from data_pipelines.open_source import open_field
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.evaluation import knn
from sapiens2_jax.evaluation.features import crop_view
from sapiens2_jax.evaluation.probe import make_task
from sapiens2_jax.models import batching
from sapiens2_jax.models.grid import TokenGrid, token_grid
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.base import Example, Images, ProbedTask
from sapiens2_jax.tasks.examples import read_labels
from sapiens2_jax.tasks.probes import Dense

RIDGE = 1e-3  # of the number of patches, on features of std 1: ours
_MIN_FRACTION = 0.5

# Images of one size to cls (b, d) and patches (b, rows, cols, d).
Encode = Callable[[Images], Example]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """What is probed, in memory.

  Attributes:
    views: n images of each view.
    crops: two of each image.
    targets: of a task its view, values (n, rows, cols, c) and whether each is
      known (n, rows, cols).
  """

  views: dict[str, Images]
  crops: Images
  targets: dict[str, tuple[str, np.ndarray, np.ndarray]]


def pool(
  values: Float[np.ndarray, "h w c"],
  mask: Bool[np.ndarray, "h w"],
  grid: TokenGrid,
) -> tuple[Float[np.ndarray, "r s c"], Bool[np.ndarray, "r s"]]:
  """Means over the mask in each token, and where it has half of the token."""
  side = len(values) // grid.rows

  def add(x: np.ndarray) -> np.ndarray:
    return x.reshape(grid.rows, side, grid.cols, side, -1).sum(axis=(1, 3))

  weights = mask[..., None].astype(np.float32)
  count = add(weights)
  means = add(np.where(mask[..., None], values, 0)) / np.maximum(count, 1)
  return means, count[..., 0] >= _MIN_FRACTION * side**2


def load(config: ConfigDict) -> Dataset:
  """Reads the first images of `probes.path` and their labels.

  Args:
    config: of pretraining.

  Raises:
    ValueError: it cannot be read, or a task has no labels on either side.
  """
  probes, data, model_size = config.probes, config.data, config.model.size
  size, given = tuple(data.image_size), f"probes.path={probes.path}"
  source = sources.RetryingSource(
    open_field("probes.path", probes.path),
    attempts=data.read_attempts,
    timeout=data.read_timeout,
  )
  made = {name: make_task(name, size, model_size) for name in probes.tasks}
  crop = crop_view(size, data.max_pixels)
  grid = token_grid(get_architecture(model_size), size)
  views, targets = collections.defaultdict(list), collections.defaultdict(list)
  crops = []
  for number in range(min(probes.num_images, len(source))):
    try:
      record = source[number]
      image = images.decode_image(record.image, max_pixels=data.max_pixels)
      crops += crop.inputs(record)
    except UnusableExample:
      continue
    prepared = {
      task.view: task.preprocess(image, None)[0].image for task in made.values()
    }
    for view, one in prepared.items():
      views[view].append(one)
    for name, task in made.items():
      targets[name].append(_pooled(record, task, grid))
  if len(crops) < 4:
    raise ValueError(
      f"{given}: {len(crops) // 2} usable images among the first "
      f"{probes.num_images}; probes need at least 2."
    )
  found = {
    name: (task.view, *_stack(targets[name], f"{given}: probes.tasks: {name}"))
    for name, task in made.items()
  }
  stacked = {name: np.stack(given) for name, given in views.items()}
  return Dataset(stacked, np.stack(crops), found)


def _pooled(record: Record, task: ProbedTask, grid: TokenGrid) -> Dense | None:
  try:
    labels = read_labels(record, task)
    (targets,) = task.targets(labels, (record.height, record.width))
  except UnusableExample:
    return None
  online = registry.definition(task.name).probe.online
  return pool(*online.dense(targets), grid)


def _stack(found: list[Dense | None], what: str) -> Dense:
  """Values and where they are known, of all images.

  Raises:
    ValueError: nothing is known of the images to fit, or of those to measure.
  """
  known = [one for one in found if one is not None]
  for half in (0, 1):
    if not any(one is not None and one[1].any() for one in found[half::2]):
      raise ValueError(
        f"{what}: labels of {len(known)} of {len(found)} images can be used; "
        "every other image is measured on, and both halves need some."
      )
  nothing = np.zeros_like(known[0][0]), np.zeros_like(known[0][1])
  values, masks = zip(*(nothing if one is None else one for one in found))
  return np.stack(values), np.stack(masks)


class Ridge:
  """Least squares with a small weight on the coefficients, added up."""

  def __init__(self, num_features: int, num_targets: int):
    self._count = 0
    self._x, self._y = np.zeros(num_features), np.zeros(num_targets)
    self._xx = np.zeros((num_features, num_features))
    self._xy = np.zeros((num_features, num_targets))

  def add(self, x: np.ndarray, y: np.ndarray) -> None:
    """Takes in samples (n, d) and their targets (n, c)."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    self._count += len(x)
    self._x += x.sum(axis=0)
    self._y += y.sum(axis=0)
    self._xx += x.T @ x
    self._xy += x.T @ y

  def solve(self) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d, c) and bias (c,); features count as of std 1."""
    mean_x, mean_y = self._x / self._count, self._y / self._count
    xx = self._xx / self._count - np.outer(mean_x, mean_x)
    xy = self._xy / self._count - np.outer(mean_x, mean_y)
    std = np.sqrt(np.maximum(np.diag(xx), 1e-12))
    xx = xx / np.outer(std, std) + RIDGE * np.eye(len(xx))
    weights = np.linalg.solve(xx, xy / std[:, None]) / std[:, None]
    return weights, mean_y - mean_x @ weights


def measure(
  dataset: Dataset,
  encode: Encode,
  *,
  batch_size: int,
  on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
  """Numbers of all tasks, and of retrieval between two crops of an image.

  Args:
    dataset: what `load` returned.
    encode: the frozen encoder, for batches of one size.
    batch_size: images a call; the last batch is filled up with zeros.
    on_progress: told how many images are done.
  """
  done = 0

  def run(inputs: Images, output: str):
    nonlocal done
    start = 0
    for found in batching.in_batches(encode, batch_size, inputs):
      out = found[output].astype(np.float32)
      done += len(out)
      on_progress(done)
      yield start, out
      start += len(out)

  results = {}
  for view, inputs in dataset.views.items():
    wanted = {
      name: (values, known)
      for name, (of, values, known) in dataset.targets.items()
      if of == view
    }
    results |= _regress(wanted, inputs, lambda x: run(x, "patches"))
  cls = np.concatenate([out for _, out in run(dataset.crops, "cls")])
  groups = np.arange(len(cls)) // 2
  return results | knn.retrieve(cls, groups)


def _regress(wanted, inputs: np.ndarray, run) -> dict[str, float]:
  """Fits on images 0, 2, ..., measures on 1, 3, ...; each encoded once."""

  def cells(half: int):
    given = {n: (v[half::2], k[half::2]) for n, (v, k) in wanted.items()}
    for start, patches in run(inputs[half::2]):
      for name, (values, known) in given.items():
        part = slice(start, start + len(patches))
        chosen = known[part]
        yield name, patches[chosen], values[part][chosen]

  sums = {}
  for name, x, y in cells(0):
    if name not in sums:
      sums[name] = Ridge(x.shape[1], y.shape[1])
    sums[name].add(x, y)
  solved = {name: ridge.solve() for name, ridge in sums.items()}
  pairs = collections.defaultdict(list)
  for name, x, y in cells(1):
    weights, bias = solved[name]
    pairs[name].append((x @ weights + bias, y))
  results = {}
  for name, found in pairs.items():
    online = registry.definition(name).probe.online
    sides = (np.concatenate(side) for side in zip(*found))
    results[online.key] = online.score(*sides)
  return results
