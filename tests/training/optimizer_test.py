import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from ml_collections import ConfigDict

from sapiens2_jax.training import optimizer, schedules
from tests import tiny, tiny_task

PAPER = dict(peak_lr=1e-4, final_lr=1e-7, warmup_steps=1000, num_steps=500_000)


def lr(step):
  return float(schedules.warmup_cosine(jnp.int32(step), **PAPER))


def test_schedule_warms_up_linearly_and_ends_at_the_final_rate():
  np.testing.assert_allclose(lr(0), 1e-7, rtol=1e-5)
  np.testing.assert_allclose(lr(499), 5e-5, rtol=1e-5)
  np.testing.assert_allclose(lr(999), 1e-4, rtol=1e-5)
  np.testing.assert_allclose(lr(1000), 1e-4, rtol=1e-5)
  middle = 1000 + (499_999 - 1000) // 2
  np.testing.assert_allclose(lr(middle), (1e-4 + 1e-7) / 2, rtol=1e-4)
  np.testing.assert_allclose(lr(499_999), 1e-7, rtol=1e-2)


@pytest.mark.parametrize(
  ("step", "expected"),
  [(0, 5e-7), (250, 5e-4 * 0.5005), (500, 5e-4), (10_250, 2.5e-4), (20_000, 0)],
)
def test_linear_schedule_has_the_references_rates(step, expected):
  rate = schedules.warmup_linear(
    jnp.int32(step),
    peak_lr=5e-4,
    final_lr=0.0,
    warmup_steps=500,
    num_steps=20_000,
  )
  np.testing.assert_allclose(rate, expected, rtol=1e-5, atol=1e-12)


def test_an_unknown_schedule_is_named():
  with pytest.raises(
    ValueError, match="unknown optim.schedule 'cosin'.*linear"
  ):
    schedules.learning_rate(ConfigDict({"schedule": "cosin"}), jnp.int32(0))


def test_linear_schedule_agrees_with_torchs():
  """A linear warm-up from 0.001, then a line to 0, stepped once an update."""
  weight = torch.nn.Parameter(torch.zeros(1))
  sgd = torch.optim.SGD([weight], lr=0.1)
  warmup = torch.optim.lr_scheduler.LinearLR(sgd, 0.001, 1.0, total_iters=5)
  decay = torch.optim.lr_scheduler.LinearLR(sgd, 1.0, 0.0, total_iters=15)
  both = torch.optim.lr_scheduler.SequentialLR(sgd, [warmup, decay], [5])
  for step in range(20):
    ours = schedules.warmup_linear(
      step, peak_lr=0.1, final_lr=0.0, warmup_steps=5, num_steps=20
    )
    np.testing.assert_allclose(ours, sgd.param_groups[0]["lr"], rtol=1e-5)
    sgd.step()
    both.step()


def paths(tree) -> dict:
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in flat
  }


def decayed_names(config, decay_tokens: bool):
  objective = tiny.build_objective(config)
  params = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  mask = optimizer.decay_mask(params, decay_tokens=decay_tokens)
  return {name for name, is_decayed in paths(mask).items() if is_decayed}


def test_fine_tuning_decays_the_tokens_too():
  config = tiny_task.load_config()
  more = decayed_names(config, True) - decayed_names(config, False)
  assert more == {"encoder/cls_token", "encoder/registers"}
  assert "head/Conv_0/kernel" in decayed_names(config, True)
  assert "head/Conv_0/bias" not in decayed_names(config, True)


WINDOWS = {
  "encoder/window_stage/window_token": 0,
  "encoder/window_stage/window_positions": 0,
  "encoder/window_stage/blocks/segment_0/ffn/w12": 0,
}


def test_positions_of_windows_are_not_decayed_and_their_token_in_fine_tuning():
  """Source of depth and decay of token and positions: reference."""
  config = tiny_task.load_config("model.size=tiny_4k")
  token, positions, weight = WINDOWS
  for decay_tokens in (True, False):
    found = decayed_names(config, decay_tokens)
    assert (token in found) == decay_tokens
    assert positions not in found and weight in found
  objective = tiny.build_objective(config)
  params = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  factors = paths(optimizer.depth_factors(params, 0.5))
  for name, depth in WINDOWS.items():
    found = np.asarray(factors[name]).ravel()
    np.testing.assert_allclose(found, 0.5 ** (3 - np.ravel(depth)), rtol=1e-6)


DEPTHS = {
  "encoder/cls_token": 0,
  "encoder/registers": 0,
  "encoder/patch_embed/kernel": 0,
  "encoder/blocks/segment_0/attention/q/kernel": [1],
  "encoder/blocks/segment_1/norm1/scale": [2],
  "encoder/norm/scale": 3,
  "head/Conv_0/kernel": 3,
}


def test_rates_fall_towards_the_input():
  """Two blocks, in two segments: L = 2."""
  objective = tiny.build_objective(tiny_task.load_config())
  params = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  factors = paths(optimizer.depth_factors(params, 0.5))
  for name, depth in DEPTHS.items():
    found = np.asarray(factors[name]).ravel()
    np.testing.assert_allclose(found, 0.5 ** (3 - np.ravel(depth)), rtol=1e-6)


def test_updates_are_those_of_torchs_adamw_with_parameter_groups():
  """Three steps of three stacked blocks, tokens, norms and a head."""
  shapes = {
    "encoder": {
      "cls_token": (1, 4),
      "norm": {"scale": (4,)},
      "blocks": {
        "segment_0": {"ffn": {"kernel": (1, 4, 4), "bias": (1, 4)}},
        "segment_1": {"ffn": {"kernel": (2, 4, 3), "bias": (2, 3)}},
      },
    },
    "head": {"kernel": (3, 3, 4, 2), "bias": (2,)},
  }
  rng = np.random.default_rng(0)
  is_shape = lambda x: isinstance(x, tuple)  # noqa: E731

  def draw():
    return jax.tree.map(
      lambda shape: rng.normal(size=shape).astype(np.float32),
      shapes,
      is_leaf=is_shape,
    )

  params, grads = draw(), [draw() for _ in range(3)]
  config = tiny_task.load_config().optim
  rates = [float(schedules.learning_rate(config, step)) for step in range(3)]

  # One group a layer, as the reference makes them.
  powers = {
    "encoder/cls_token": [4],
    "encoder/norm/scale": [0],
    "encoder/blocks/segment_0/ffn/kernel": [3],
    "encoder/blocks/segment_0/ffn/bias": [3],
    "encoder/blocks/segment_1/ffn/kernel": [2, 1],
    "encoder/blocks/segment_1/ffn/bias": [2, 1],
    "head/kernel": [0],
    "head/bias": [0],
  }
  groups, weights = [], {}
  for name, value in paths(params).items():
    parts = value if "segment" in name else value[None]
    decay = 0.0 if name.endswith(("bias", "scale")) else config.weight_decay
    for layer, (part, power) in enumerate(zip(parts, powers[name])):
      weight = torch.nn.Parameter(torch.tensor(part))
      weights[name, layer] = weight
      factor = config.layer_decay**power
      groups.append({"params": [weight], "weight_decay": decay, "f": factor})
  adamw = torch.optim.AdamW(groups, betas=(config.b1, config.b2), eps=1e-8)

  tx = optimizer.make_optimizer(config)
  state = tx.init(params)
  for rate, gradient in zip(rates, grads):
    updates, state = tx.update(gradient, state, params)
    params = jax.tree.map(lambda p, u, r=rate: p - r * u, params, updates)
    named = paths(gradient)
    for (name, layer), weight in weights.items():
      value = named[name]
      weight.grad = torch.tensor(value[layer] if "segment" in name else value)
    torch.nn.utils.clip_grad_norm_(weights.values(), config.clip_norm)
    for group in adamw.param_groups:
      group["lr"] = rate * group["f"]
    adamw.step()
  for (name, layer), weight in weights.items():
    found = paths(params)[name]
    found = found[layer] if "segment" in name else found
    np.testing.assert_allclose(
      found, weight.detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=name
    )


def test_decay_acts_on_matrices_only():
  objective = tiny.build_objective(tiny.load_config())
  params = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  mask = optimizer.decay_mask(params, decay_tokens=False)
  flat = jax.tree_util.tree_flatten_with_path(mask)[0]
  decayed = decayed_names(tiny.load_config(), False)
  assert all(name.endswith(("kernel", "w12")) for name in decayed)
  kernels = [path for path, _ in flat if str(path[-1].key) in ("kernel", "w12")]
  assert len(decayed) == len(kernels)
  assert "encoder/patch_embed/kernel" in decayed


def test_adamw_agrees_with_a_hand_written_update():
  config = tiny.load_config("optim.clip_norm=0.5").optim
  tx = optimizer.make_optimizer(config)
  params = {"kernel": jnp.array([[0.5, -2.0]]), "bias": jnp.array([1.0])}
  grads = {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([4.0])}
  state = tx.init(params)
  mu = jax.tree.map(jnp.zeros_like, params)
  nu = jax.tree.map(jnp.zeros_like, params)
  for t in (1, 2):
    updates, state = tx.update(grads, state, params)
    clipped = jax.tree.map(lambda g: g * 0.5 / optax.global_norm(grads), grads)
    mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mu, clipped)
    nu = jax.tree.map(lambda v, g: 0.95 * v + 0.05 * g * g, nu, clipped)
    expected = jax.tree.map(
      lambda m, v, t=t: (
        (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.95**t)) + 1e-8)
      ),
      mu,
      nu,
    )
    expected["kernel"] += 0.05 * params["kernel"]
    for name in params:
      np.testing.assert_allclose(updates[name], expected[name], rtol=1e-4)


def muon_config(*overrides: str):
  return tiny.load_config("optim.name=muon", *overrides).optim


def test_muon_takes_matrices_but_outputs_and_adam_the_rest():
  objective = tiny.build_objective(tiny.load_config())
  params = jax.eval_shape(lambda: nn.unbox(objective.init(jax.random.key(0))))
  state = jax.eval_shape(optimizer.make_optimizer(muon_config()).init, params)
  by_muon, by_adam = (
    set(paths(state[1].inner_states[name].inner_state))
    for name in ("muon", "adam")
  )
  for name in paths(params):
    is_matrix = name.endswith(("kernel", "w12")) and not any(
      part in name for part in ("predict", "prototypes")
    )
    assert (f"0/mu/{name}" in by_muon) == is_matrix
    assert (f"mu/{name}" in by_adam) == (not is_matrix)


def test_muon_agrees_with_torchs():
  """A step on wide, tall and stacked matrices and on a convolution as one.

  Torch iterates in bfloat16.
  """
  rng = np.random.default_rng(0)
  shapes = {"k": (2, 8, 24), "w12": (3, 2, 8, 24), "w3": (2, 24, 8)}
  names = {"k": "kernel", "w12": "w12", "w3": "kernel"}
  tree = {
    "blocks": {k: {names[k]: rng.normal(size=s)} for k, s in shapes.items()},
    "conv": {"kernel": rng.normal(size=(3, 3, 4, 8))},
  }
  params = jax.tree.map(np.float32, tree)
  grads = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), tree)
  config = muon_config("optim.weight_decay=0.1")
  tx = optimizer.make_optimizer(config)
  updates, _ = tx.update(grads, tx.init(params), params)

  def matrices(tree):
    for name, x in paths(tree).items():
      rows = 36 if "conv" in name else x.shape[-2]
      yield from np.asarray(x).reshape(-1, rows, x.shape[-1])

  compared = 0
  for update, value, gradient in zip(*map(matrices, (updates, params, grads))):
    weight = torch.nn.Parameter(torch.tensor(value))
    weight.grad = torch.tensor(gradient)
    torch.optim.Muon(
      [weight], lr=1.0, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    ).step()
    expected = value - weight.detach().numpy()
    error = np.linalg.norm(update - expected)
    assert error < 0.05 * np.linalg.norm(expected)
    compared += 1
  assert compared == 2 + 6 + 2 + 1


def test_bfloat16_moments_are_stored_small_and_updated_in_float32():
  params = {"kernel": jnp.linspace(-1, 1, 64).reshape(8, 8)}
  grads = {"kernel": jnp.cos(jnp.arange(64.0)).reshape(8, 8)}

  def run(dtype):
    config = tiny.load_config(f"optim.moments_dtype={dtype}").optim
    tx = optimizer.make_optimizer(config)
    state = tx.init(params)
    for _ in range(5):
      updates, state = tx.update(grads, state, params)
    return updates["kernel"], state[1]

  full, whole = run("float32")
  half, stored = run("bfloat16")
  assert stored.mu["kernel"].dtype == stored.nu["kernel"].dtype == jnp.bfloat16
  assert whole.mu["kernel"].dtype == jnp.float32
  assert half.dtype == jnp.float32
  np.testing.assert_allclose(half, full, rtol=0.02, atol=0.01)
  assert not np.array_equal(half, full)
