"""What `optim.frozen_stages` leaves as it is."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sapiens2_jax import validation
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.training import freezing, optimizer
from sapiens2_jax.training.state import TrainState, by_path, path_name
from sapiens2_jax.training.step import train_step
from tests import tiny, tiny_task

# Two equal blocks, stacked, and one with grouped heads.
ARCHITECTURES["deep"] = dataclasses.replace(
  ARCHITECTURES["tiny"], name="deep", num_layers=3, num_full_first=2
)
NUM_BLOCKS = 3
OPTIMIZERS = ("adamw", "muon")


def is_frozen(path: str, row: int, count: int) -> bool:
  """Whether row `row` of an array is of the frozen ones; by name alone."""
  _, *names = path.split("/")
  if names[0] != "encoder":
    return False
  if names[1] == "blocks":
    return row + (2 if names[2] == "segment_1" else 0) < count
  return names[1] != "norm" or count == NUM_BLOCKS


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rest_learns_as_if_the_frozen_had_no_gradient(name, count):
  config = tiny_task.load_config("model.size=deep", f"optim.name={name}").optim
  config.weight_decay = 0.0  # That is not of the gradient.
  params = {
    "encoder": {
      "blocks": {
        "segment_0": {"w": {"kernel": jnp.ones((2, 4, 6))}},
        "segment_1": {"w": {"kernel": jnp.ones((1, 4, 6))}},
      },
      "cls_token": jnp.ones((1, 6)),
      "norm": {"scale": jnp.ones((1, 6))},
    },
    "head": {"kernel": jnp.ones((6, 3))},
  }
  keys = iter(jax.random.split(jax.random.key(0), 9))
  grads = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), params)
  known = freezing.learned(jax.tree.map(jnp.ones_like, params), count)
  config.frozen_stages = count
  frozen = optimizer.make_optimizer(config)
  config.frozen_stages = 0
  whole = optimizer.make_optimizer(config)

  def hide(path, x):
    path = f"params/{path_name(path)}"
    rows = x if "/blocks/" in path else x[None]
    kept = [not is_frozen(path, row, count) for row in range(len(rows))]
    return (rows * jnp.array(kept)[:, None, None]).reshape(x.shape)

  masked = jax.tree_util.tree_map_with_path(hide, grads)
  expected, _ = whole.update(masked, whole.init(params), params)
  found, state = frozen.update(grads, frozen.init(params), params)
  chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)
  moments = 2 if name == "adamw" else 1
  sizes = [x.size for x in jax.tree.leaves(state)]
  learned = sum(x.size for x in jax.tree.leaves(known))
  assert sum(sizes) < (moments + 1) * learned + 5
  assert freezing.count_learned(params, count) == learned
  assert freezing.count_learned(params, 0) == 84 + 18
  # The first block, [cls]; the second; the third and the norm.
  assert learned == 84 + 18 - [0, 30, 54, 84][count]


@pytest.mark.parametrize(("count", "name"), [(1, "adamw"), (2, "muon")])
def test_training_leaves_them_bit_for_bit(count, name):
  run = tiny_task.Run(
    *("model.size=deep", f"optim.frozen_stages={count}", f"optim.name={name}"),
    "model.init_from=weights",  # Not read here.
  )
  before = by_path({"params": jax.device_get(run.state.params)})
  num_frozen = 0
  for seed in range(3):
    metrics = run.step(seed)
  assert metrics["grad_norm"] > 0
  after = by_path({"params": jax.device_get(run.state.params)})
  for path, old in before.items():
    rows = old if "/blocks/" in path else old[None]
    for row, (was, now) in enumerate(
      zip(rows, after[path].reshape(rows.shape))
    ):
      if is_frozen(path, row, count):
        np.testing.assert_array_equal(was, now, err_msg=path)
        num_frozen += was.size
      else:
        assert (was != now).any(), path
  assert num_frozen > 48 * 768
  state = by_path({"opt_state": jax.device_get(run.state.opt_state)})
  for name in ("patch_embed", "cls_token", "registers"):
    assert not any(name in path for path in state)
  rows = {
    x.shape[0]
    for path, x in state.items()
    if "segment_0" in path and x.ndim > 1
  }
  assert rows == ({1} if count == 1 else set())
  learned = sum(math.prod(x.shape) for x in before.values()) - num_frozen
  assert sum(x.size for x in state.values()) <= 2 * learned + 10


def test_no_gradient_reaches_them_nor_the_norm():
  params = {
    "encoder": {
      "blocks": {"segment_0": {"w": jnp.arange(2.0)}},
      "cls_token": jnp.ones(()),
      "norm": {"scale": jnp.ones(())},
    },
    "head": {"kernel": jnp.ones(())},
  }

  def loss(params, count):
    params = freezing.stop_gradient(params, count)
    return sum(jnp.sum(x) for x in jax.tree.leaves(params))

  def learned(count):
    grads = jax.grad(loss)(params, count)
    return {path: x.tolist() for path, x in by_path(grads).items()}

  names = [f"encoder/{x}" for x in ("blocks/segment_0/w", "cls_token")]
  names += ["encoder/norm/scale", "head/kernel"]
  expected = {0: ([1, 1], 1, 1, 1), 1: ([0, 1], 0, 1, 1), 2: ([0, 0], 0, 0, 1)}
  for count, values in expected.items():
    assert learned(count) == dict(zip(names, values)), count


def test_more_blocks_than_there_are_is_a_mistake():
  config = tiny_task.load_config("model.size=deep")
  config.optim.frozen_stages = NUM_BLOCKS + 1
  wrong = "model.size=deep has 3 blocks"
  assert ("optim.frozen_stages=4", wrong) in validation.validate(config, 1)


def test_random_weights_are_not_frozen():
  config = tiny_task.load_config("model.size=deep")
  config.optim.frozen_stages = 1
  wrong = "freezes random weights; it needs model.init_from"
  assert ("optim.frozen_stages=1", wrong) in validation.validate(config, 1)
  config.model.init_from = "runs/quickstart"
  assert wrong not in dict(validation.validate(config, 1)).values()


class Linear:
  """An objective with an encoder, a head and a teacher of both."""

  def loss(self, params, batch, targets, rng, measure):
    hidden = batch["x"] @ params["encoder"]["kernel"]
    loss = jnp.mean((hidden @ params["head"]["kernel"] - batch["y"]) ** 2)
    return loss, {"loss": loss}

  def compute_targets(self, teacher_state, batches, step, rng):
    return (), (), {}

  def update_teacher_state(self, teacher_state, params, statistics):
    def average(old, new):
      return 0.9 * old + 0.1 * new

    return {"teacher": jax.tree.map(average, teacher_state["teacher"], params)}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("microbatches", [1, 2])
def test_an_encoder_is_held_with_moments_and_teacher(name, microbatches):
  optim = tiny.load_config(f"optim.name={name}").optim
  optim.update(freeze_encoder_steps=2, clip_norm=0.01)
  tx, rng = optimizer.make_optimizer(optim), np.random.default_rng(0)
  params = {
    "encoder": {"kernel": jnp.asarray(rng.random((4, 3)), jnp.float32)},
    "head": {"kernel": jnp.asarray(rng.random((3, 2)), jnp.float32)},
  }
  teacher = jax.tree.map(lambda x: x + 0.1, params)
  # As of an earlier run: they decay if touched.
  moments = jax.tree_util.tree_map_with_path(
    lambda path, x: x + 1.0 if "kernel" in path_name(path) else x,
    tx.init(params),
  )
  zero = jnp.zeros((), jnp.int32)
  key = jax.random.key_data(jax.random.key(0))
  state = TrainState(
    *(zero, params, {"teacher": teacher}, moments, key, zero, zero)
  )

  def batch(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    made = {"x": rng.random((8, 4)), "y": rng.random((8, 2))}
    shape = (microbatches, 8 // microbatches, -1)
    return {
      name: jnp.asarray(x.reshape(shape), jnp.float32)
      for name, x in made.items()
    }

  def parts(state) -> tuple[dict, dict]:
    found = by_path(
      jax.device_get([state.params, state.opt_state, state.teacher_state])
    )
    encoder = {path: x for path, x in found.items() if "encoder" in path}
    return encoder, {p: x for p, x in found.items() if p not in encoder}

  step = jax.jit(
    functools.partial(
      train_step, objective=Linear(), tx=tx, optim=optim, measure_every=1
    )
  )
  before, rest = parts(state)
  assert len(before) == (4 if name == "adamw" else 3)
  state, metrics = step(state, batch(0))
  alone = jax.grad(
    lambda head: Linear().loss(
      params | {"head": head},
      jax.tree.map(lambda x: x.reshape(8, -1), batch(0)),
      *((), None, None),
    )[0]
  )(params["head"])
  # The others are clipped by their own norm.
  np.testing.assert_allclose(
    metrics["grad_norm"], optax.global_norm(alone), rtol=1e-5
  )
  state, _ = step(state, batch(1))
  held, others = parts(state)
  for path, x in before.items():
    np.testing.assert_array_equal(held[path], x, err_msg=path)
  assert all((others[p] != x).any() for p, x in rest.items() if "head" in p)
  state, metrics = step(state, batch(2))
  learned, _ = parts(state)
  still = [path for path, x in before.items() if (learned[path] == x).all()]
  assert not still and metrics["nonfinite_total"] == 0


def test_an_encoder_is_not_held_for_ever_nor_under_an_old_count():
  config = tiny.load_config("optim.num_steps=9")
  config.optim.update(freeze_encoder_steps=9, b2=0.999)
  (_, late), (given, old) = validation.validate(config, 1)
  assert given == "optim.freeze_encoder_steps=9"
  assert late == "must be below optim.num_steps=9"
  assert old.startswith("needs optim.b2 of at most 0.98, found 0.999")
