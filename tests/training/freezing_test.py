"""What `optim.frozen_stages` leaves as it is."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax import validation
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.training import freezing, optimizer
from sapiens2_jax.training.state import by_path, path_name
from tests import tiny_task

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
    "model.size=deep", f"optim.frozen_stages={count}", f"optim.name={name}"
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
