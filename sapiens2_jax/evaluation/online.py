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
from sapiens2_jax.runtime.gathering import ALONE, Part
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.base import Example, Images, ProbedTask
from sapiens2_jax.tasks.examples import read_labels
from sapiens2_jax.tasks.probes import Dense
from sapiens2_jax.tasks.totals import Totals
from sapiens2_jax.training.data import check_shared

RIDGE = 1e-3  # of the number of patches, on features of std 1: ours
_MIN_FRACTION = 0.5

# Images of one size to cls (b, d) and patches (b, rows, cols, d).
Encode = Callable[[Images], Example]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """What this process probes, in memory: a share of the images.

  Attributes:
    views: n images of each view.
    crops: two of each image.
    targets: of a task its view, values (n, rows, cols, c) and whether each is
      known (n, rows, cols).
    first: place of the first image among those of all processes.
    part: whose share it is.
  """

  views: dict[str, Images]
  crops: Images
  targets: dict[str, tuple[str, np.ndarray, np.ndarray]]
  first: int = 0
  part: Part = ALONE


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


def load(config: ConfigDict, part: Part = ALONE) -> Dataset:
  """Reads a share of the first images of `probes.path` and their labels.

  All processes must call this.

  Args:
    config: of pretraining.
    part: which share.

  Raises:
    ValueError: it cannot be read, or a task has no labels on either side.
  """
  probes, data, model_size = config.probes, config.data, config.model.size
  size, given = tuple(data.image_size), f"probes.path={probes.path}"
  opened = open_field("probes.path", probes.path)
  check_shared(opened, given)
  source = sources.RetryingSource(
    opened,
    attempts=data.read_attempts,
    timeout=data.read_timeout,
  )
  made = {name: make_task(name, size, model_size) for name in probes.tasks}
  crop = crop_view(size, data.max_pixels)
  grid = token_grid(get_architecture(model_size), size)
  views, targets = collections.defaultdict(list), collections.defaultdict(list)
  crops = []
  for number in part.share(min(probes.num_images, len(source))):
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
  counts = part.gather(len(crops) // 2)
  if sum(counts) < 2:
    raise ValueError(
      f"{given}: {sum(counts)} usable images among the first "
      f"{probes.num_images}; probes need at least 2."
    )
  first = sum(counts[: part.index])
  found = {}
  for name, task in made.items():
    what = f"{given}: probes.tasks: {name}"
    found[name] = (task.view, *_stack(targets[name], what, first, part))
  specs = {task.view: task.element_spec()["image"] for task in made.values()}
  stacked = {
    view: np.array(views[view], dtype).reshape(-1, *shape)
    for view, (shape, dtype) in specs.items()
  }
  crops = np.array(crops, np.uint8).reshape(-1, *size, 3)
  return Dataset(stacked, crops, found, first, part)


def _pooled(record: Record, task: ProbedTask, grid: TokenGrid) -> Dense | None:
  try:
    labels = read_labels(record, task)
    (targets,) = task.targets(labels, (record.height, record.width))
  except UnusableExample:
    return None
  online = registry.definition(task.name).probe.online
  return pool(*online.dense(targets), grid)


def _stack(
  found: list[Dense | None], what: str, first: int, part: Part
) -> Dense:
  """Values and where they are known, of all images of the share.

  Raises:
    ValueError: nothing is known of the images to fit, or of those to measure.
  """
  own = [one for one in found if one is not None]
  nothing = [np.zeros_like(x) for x in own[0]] if own else None
  halves = {
    place % 2
    for place, one in enumerate(found, first)
    if one is not None and one[1].any()
  }
  shares = part.gather((halves, len(own), len(found), nothing))
  if len(set().union(*(share[0] for share in shares))) < 2:
    known, total = (sum(share[i] for share in shares) for i in (1, 2))
    raise ValueError(
      f"{what}: labels of {known} of {total} images can be used; "
      "every other image is measured on, and both halves need some."
    )
  nothing = next(share[3] for share in shares if share[3] is not None)
  filled = [nothing if one is None else one for one in found]
  return tuple(
    np.array([one[side] for one in filled], empty.dtype).reshape(
      -1, *empty.shape
    )
    for side, empty in enumerate(nothing)
  )


class Ridge(Totals):
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

  All processes must call this; all get the same numbers.

  Args:
    dataset: what `load` returned.
    encode: the frozen encoder, for batches of one size, of this process.
    batch_size: images a call, of this process; filled up with zeros where
      there are no more.
    on_progress: told how many images of the share are done.
  """
  part, done = dataset.part, 0

  def run(inputs: Images, output: str):
    nonlocal done
    start, most = 0, max(part.gather(len(inputs)))
    for found in batching.in_batches(encode, batch_size, inputs, num_rows=most):
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
    results |= _regress(
      wanted, inputs, lambda x: run(x, "patches"), dataset.first, part
    )
  own = np.concatenate([out for _, out in run(dataset.crops, "cls")])
  cls = np.concatenate(part.gather(own))
  groups = np.arange(len(cls)) // 2
  return results | knn.retrieve(cls, groups)


def _regress(
  wanted, inputs: np.ndarray, run, first: int, part: Part
) -> dict[str, float]:
  """Fits on images 0, 2, ..., measures on 1, 3, ...; each encoded once."""

  def cells(half: int):
    own = slice((half - first) % 2, None, 2)
    given = {n: (v[own], k[own]) for n, (v, k) in wanted.items()}
    for start, patches in run(inputs[own]):
      for name, (values, known) in given.items():
        rows = slice(start, start + len(patches))
        chosen = known[rows]
        yield name, patches[chosen], values[rows][chosen]

  sums = {}
  for name, x, y in cells(0):
    if name not in sums:
      sums[name] = Ridge(x.shape[1], y.shape[1])
    sums[name].add(x, y)
  solved = {}
  for name in wanted:
    ridge, *others = filter(None, part.gather(sums.get(name)))
    for other in others:
      ridge.merge(other)
    solved[name] = ridge.solve()
  pairs = collections.defaultdict(list)
  for name, x, y in cells(1):
    weights, bias = solved[name]
    pairs[name].append((x @ weights + bias, y))
  results = {}
  for name in wanted:
    online = registry.definition(name).probe.online
    own = [np.concatenate(side) for side in zip(*pairs[name])]
    sides = zip(*filter(None, part.gather(own)))
    results[online.key] = online.score(*map(np.concatenate, sides))
  return results
