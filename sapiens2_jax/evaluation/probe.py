"""Dense probing: a light decoder on frozen features, one a task.

Nothing depends on the backbone but the width of its features, which are brought
to mean 0 and std 1 of each channel of the training set first.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from data_pipelines.common.progress import Progress
from data_pipelines.common.random import Purpose, make_generator
from data_pipelines.corpus.records import Record
from data_pipelines.loading.examples import ElementSpec
from data_pipelines.loading.loader import (
  LoaderConfig,
  NoUsableImage,
  make_loader,
)
from sapiens2_jax import fields
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.evaluation import features as features_lib
from sapiens2_jax.evaluation.features import Features, View
from sapiens2_jax.models import heads
from sapiens2_jax.models.heads import pixel_shuffle
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.base import Example, Image, Images, ProbedTask, Size
from sapiens2_jax.tasks.evaluate import evaluate
from sapiens2_jax.tasks.examples import choose_known, read_labels
from sapiens2_jax.training import schedules
from sapiens2_jax.training.step import jit_spread

_ENLARGED = 4  # by the decoder, before it interpolates
_LOOK_SECONDS = 5.0  # between two looks at the loss, which wait for the device


class Decoder(nn.Module):
  """A 3x3 convolution and a 1x1 one, which enlarges 4 times; no norms.

  Attributes:
    output_name: of the map.
    num_outputs: channels of it.
    hidden_dim: channels between the two.
    size: (height, width) of the map, to which it is interpolated.
    has_scale: also predicts a number, `scale`, from the mean over the image.
  """

  output_name: str
  num_outputs: int
  hidden_dim: int
  size: Size
  has_scale: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "b r s d"]) -> dict[str, Array]:
    x = nn.silu(nn.Conv(self.hidden_dim, (3, 3), name="hidden")(x))
    outputs = {}
    if self.has_scale:
      mean = jnp.mean(x, axis=(1, 2))
      outputs["scale"] = nn.Dense(1, name="scale")(mean)[:, 0]
    x = nn.Conv(_ENLARGED**2 * self.num_outputs, (1, 1), name="predict")(x)
    x = pixel_shuffle(pixel_shuffle(x))
    shape = (len(x), *self.size, self.num_outputs)
    if x.shape != shape:
      x = jax.image.resize(x, shape, "bilinear", antialias=False)
    return {self.output_name: x, **outputs}


@dataclasses.dataclass(frozen=True)
class ProbeExamples:
  """Rows of features with a task's targets; see `ExampleMaker`.

  Attributes:
    task: whose targets.
    path: of the features.
    seed: of whom of several people is taken.
  """

  task: ProbedTask
  path: pathlib.Path
  seed: int

  def element_spec(self) -> ElementSpec:
    values = features_lib.load(self.path).values
    wanted = dict(self.task.element_spec())
    del wanted["image"]
    return {"features": (values.shape[1:], values.dtype), **wanted}

  def make(self, record: Record, index: int, epoch: int, out: Example) -> None:
    """Reads the labels of a record, not its image."""
    found = features_lib.load(self.path)
    start, end = found.first[index : index + 2]
    if start == end:
      raise UnusableExample("no features")
    labels = read_labels(record, self.task)
    targets = self.task.targets(labels, (record.height, record.width))
    place = {"seed": self.seed, "index": index, "epoch": epoch}
    row = choose_known(targets, make_generator(Purpose.PROBE, **place))
    out["features"][...] = found.values[start + row]
    for name, value in targets[row].items():
      out[name][...] = value


def make_task(name: str, image_size: Size, model_size: str) -> ProbedTask:
  """A task as probes need it.

  Raises:
    ValueError: no such task, or one that cannot be probed.
  """
  found = registry.definition(name)
  if found.probe is None:
    raise ValueError(
      f"task {name!r} cannot be probed: its definition has no `probe`."
    )
  config = fields.make_config(found.fields)
  values = {
    "task.name": name,
    "data.image_size": tuple(image_size),
    "model.size": model_size,
    "model.dtype": "float32",
    **found.probe.fields,
  }
  for field, value in values.items():
    fields.set_value(config, field, value)
  if "upsample_channels" in config.get("head", {}):
    # Of the head that nobody uses, so that the task can be made.
    config.head.upsample_channels = heads.fit_widths(
      config.head.upsample_channels, get_architecture(model_size), found.stride
    )
  return registry.make_task(config)


def task_view(task: ProbedTask, max_pixels: int) -> View:
  """What the encoder sees of a record: the task's test-time inputs."""

  def inputs(record: Record) -> list[Image]:
    has_people = "people" in task.needs
    labels = read_labels(record, task) if has_people else None
    image = images.decode_image(record.image, max_pixels=max_pixels)
    return [one.image for one in task.preprocess(image, labels)]

  return View(task.view, inputs, task.element_spec()["image"][0][:2])


def make_optimizer(optim: ConfigDict) -> optax.GradientTransformation:
  """AdamW with linear warmup and a cosine to 0; nothing of the backbone."""
  schedule = functools.partial(
    schedules.warmup_cosine,
    peak_lr=optim.peak_lr,
    final_lr=0.0,
    warmup_steps=optim.warmup_steps,
    num_steps=optim.num_steps,
  )
  return optax.chain(
    optax.clip_by_global_norm(optim.clip_norm),
    optax.adamw(schedule, weight_decay=optim.weight_decay),
  )


class Probe:
  """A decoder with the outputs of a task's own head, trained and measured.

  Args:
    config: see experiments/probe.py.
    task: whose loss and metric.
    path: of the features of the training set.
  """

  def __init__(self, config: ConfigDict, task: ProbedTask, path: pathlib.Path):
    self.task, self._config, self._path = task, config, path
    found = features_lib.load(path)
    self._mean, self._std = found.mean, found.std
    self._shape = found.values.shape[1:]
    settings = registry.definition(task.name).probe
    self.decoder = Decoder(
      settings.output_name,
      settings.num_outputs,
      config.decoder.hidden_dim,
      task.map_size,
      settings.has_scale,
    )
    self.tx = make_optimizer(config.optim)

  def predict(self, params: dict, features: Array) -> dict[str, Array]:
    """The decoder's outputs for features as they are on disk."""
    x = (features.astype(jnp.float32) - self._mean) / self._std
    return self.decoder.apply({"params": params}, x)

  def train(self, source: sources.ImageSource) -> dict:
    """Trains the decoder from a random start.

    Args:
      source: of the records whose features were given.

    Raises:
      ValueError: the loss is not finite, or nothing can be learned from any
        of many records.
    """
    optim, seed = self._config.optim, self._config.seed

    @jax.jit
    def init(rng):
      params = self.decoder.init(rng, jnp.zeros((1, *self._shape)))["params"]
      return params, self.tx.init(params)

    params, opt_state = init(jax.random.key(seed))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state, batch):
      def loss(params):
        return self.task.loss(self.predict(params, batch["features"]), batch)

      (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params)
      updates, opt_state = self.tx.update(grads, opt_state, params)
      return optax.apply_updates(params, updates), opt_state, value

    loader = make_loader(
      source,
      LoaderConfig(
        ProbeExamples(self.task, self._path, seed),
        global_batch_size=optim.batch_size,
        seed=seed,
        num_workers=self._config.data.num_workers,
      ),
      start_step=0,
      num_steps=optim.num_steps,
    )
    told, label = time.monotonic(), f"probe {self.task.name}"
    try:
      with Progress(label, optim.num_steps, "steps") as progress:
        for number, (batch, _) in enumerate(loader, 1):
          batch = {name: array[0] for name, array in batch.items()}
          params, opt_state, loss = step(params, opt_state, batch)
          now = time.monotonic()
          if number == optim.num_steps or now - told > _LOOK_SECONDS:
            self._check(number, float(loss))
            text = f"{label}, loss {float(loss):.4f}:"
            progress.set_description_str(text, refresh=False)
            told = now
          progress.advance()
    except NoUsableImage as error:
      raise ValueError(f"probe of {self.task.name}: {error}") from error
    finally:
      loader.close()
    return params

  def _check(self, number: int, loss: float) -> None:
    if not np.isfinite(loss):
      raise ValueError(
        f"probe of {self.task.name}: loss={loss} at step {number}, expected a "
        "finite one."
      )

  def measure(
    self, params: dict, source: sources.ImageSource, path: pathlib.Path
  ) -> dict[str, float]:
    """The task's metric with its test-time procedure, from features on disk.

    All processes must call this; all get the same numbers.

    Args:
      params: of the decoder.
      source: of labelled records.
      path: of the features of its images.
    """
    found = features_lib.load(path)
    # Each device decodes as many as one that trains, so that it has the room.
    model = jit_spread(self.predict, params, self._config.optim.batch_size)
    part = model.apply_fn.part

    def apply_fn(params: dict, inputs: Images) -> Any:
      return model.apply_fn(params, look_up(found, inputs))

    share = part.share(len(source))
    with Progress(f"test {self.task.name}", len(share), "images") as progress:
      return evaluate(
        self.task,
        apply_fn,
        model.params,
        source,
        batch_size=model.batch_size,
        part=part,
        max_pixels=self._config.data.max_pixels,
        on_progress=progress.reach,
      )


def look_up(found: Features, inputs: Images) -> np.ndarray:
  """Features (b, rows, cols, d) of inputs, which must be among the set's.

  Raises:
    ValueError: one is not, and is no filling (all zeros).
  """
  rows = [found.rows.get(features_lib.digest(image)) for image in inputs]
  for row, image in zip(rows, inputs):
    if row is None and image.any():
      raise ValueError(
        "features: an input is not among those on disk; remove "
        "features.directory and run again."
      )
  return np.stack([found.values[row or 0] for row in rows])
