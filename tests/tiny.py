"""A pretraining run small enough for tests: 64 x 48 pixels, 12 patches."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.architectures import ARCHITECTURES, Architecture
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import account, compiling, hlo
from sapiens2_jax.training import optimizer, step
from sapiens2_jax.training import state as state_lib

# Two blocks, one of them grouped: compiling is what tests wait for.
ARCHITECTURES["tiny"] = Architecture(
  "tiny", 48, 2, 4, num_full_first=1, num_full_last=0
)
# A token of 16 x 16 pixels again, of 4 x 4 patches of 4 x 4 pixels.
ARCHITECTURES["tiny_4k"] = dataclasses.replace(
  ARCHITECTURES["tiny"],
  name="tiny_4k",
  patch_size=4,
  window_size=4,
  num_window_layers=2,
)

# Another width, which no other size has: files of weights are known by it.
ARCHITECTURES["tiny_large"] = Architecture(
  "tiny_large", 80, 2, 4, num_full_first=1, num_full_last=0
)

SIZE = (
  "data.image_size=(64, 48)",
  "data.local_size=(48, 16)",
  "model.decoder_layers=1",
  "model.decoder_dim=32",
  "model.decoder_heads=2",
  "model.prototypes=32",
  "model.head_hidden_dim=32",
  "model.bottleneck_dim=16",
  "model.scan=true",
  "model.layer_scale_init=0.5",
  # The paper's temperatures, not toy's sharper teacher.
  "objective.teacher_temp_start=0.065",
  "objective.teacher_temp=0.07",
  "objective.teacher_temp_steps=100",
  "optim.warmup_steps=2",
  "logging.every=1",
)


def load_config(*overrides: str, num_devices: int = 1):
  return config_lib.load_config(
    "pretrain:size=toy",  # From any directory.
    [*SIZE, "model.size=tiny", *overrides],
    lambda config: validation.validate(config, num_devices),
  )


def make_batches(config, seed: int = 0) -> dict[str, np.ndarray]:
  """Random pixels and targets in [0, 1], leaves (microbatches, b, ...)."""
  rng = np.random.default_rng(seed)
  count = config.data.accumulation_steps
  total = config.data.global_batch_size

  def draw(shape, dtype):
    if dtype == np.uint8:
      return rng.integers(0, 256, (total, *shape), np.uint8)
    return rng.random((total, *shape), dtype)

  batch = {
    name: draw(*wanted)
    for name, wanted in build_objective(config)
    .example_maker()
    .element_spec()
    .items()
  }
  batch["index"] = rng.permutation(1000)[:total].astype(np.int32)
  batch["epoch"] = np.zeros(total, np.int32)
  return {
    name: array.reshape(count, -1, *array.shape[1:])
    for name, array in batch.items()
  }


# Fields that say where numbers are computed, and change none.
_PLACES = (
  *("mesh.", "data.accumulation_steps="),
  *("model.remat=", "model.gather="),
)


@functools.lru_cache(maxsize=4)
def initial_state(load_config, *overrides: str):
  """A run's first state, on the host; made on one device for all meshes."""
  config = load_config(*overrides, num_devices=1)
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  objective = build_objective(config)
  tx = optimizer.make_optimizer(config.optim)
  abstract = state_lib.abstract_state(config, objective, tx, mesh)
  return jax.device_get(state_lib.init_state(0, objective, tx, abstract))


class Run:
  """Config, objective, state and jitted step on some of the devices."""

  load_config = staticmethod(load_config)

  def __init__(self, *overrides: str, num_devices: int = 1):
    self.config = self.load_config(*overrides, num_devices=num_devices)
    devices = jax.devices()[:num_devices]
    self.mesh = mesh_lib.make_mesh(self.config.mesh, devices)
    self.objective = build_objective(self.config)
    self.tx = optimizer.make_optimizer(self.config.optim)
    self.abstract = state_lib.abstract_state(
      self.config, self.objective, self.tx, self.mesh
    )
    given = [one for one in overrides if not one.startswith(_PLACES)]
    self.initial = initial_state(self.load_config, *given)
    self.reset()
    jitted = step.jit_train_step(
      self.objective, self.tx, self.config, self.mesh, self.abstract
    )
    batches = compiling.abstract_batches(self.objective, self.mesh)
    self.step_fn = jitted.lower(self.abstract, batches).compile()

  def reset(self) -> None:
    """Back to the initial state."""
    self.state = jax.device_put(
      self.initial, jax.tree.map(lambda x: x.sharding, self.abstract)
    )

  def step(self, seed: int = 0) -> dict[str, float]:
    """One update on the batch of `seed`; returns its metrics."""
    batches = jax.device_put(
      make_batches(self.config, seed), mesh_lib.batch_sharding(self.mesh)
    )
    self.state, metrics = self.step_fn(self.state, batches)
    return {name: float(value) for name, value in metrics.items()}

  def executed_flops(self) -> int:
    """Matrix products of a step, on all devices together."""
    works = account.walk(hlo.parse(self.step_fn.as_text()))
    total = sum(work.times * work.flops for work in works)
    return total * self.mesh.size


def keep_runs(make: Callable[..., Run]) -> Callable[..., Run]:
  """`make` that remembers two runs; each holds programs of eight devices."""

  @functools.lru_cache(maxsize=2)
  def kept(overrides: tuple[str, ...], num_devices: int) -> Run:
    return make(*overrides, num_devices=num_devices)

  def compiled(*overrides: str, num_devices: int = 1) -> Run:
    return kept(overrides, num_devices)

  compiled.cache_clear = kept.cache_clear
  return compiled
