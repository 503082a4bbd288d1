from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax import validation
from sapiens2_jax.pretrain import collapse
from sapiens2_jax.pretrain.terms import distillation
from sapiens2_jax.pretrain.terms.base import StudentOutputs
from sapiens2_jax.pretrain.terms.koleo import KoLeo, koleo_loss
from sapiens2_jax.pretrain.views import Views


def test_rank_me_is_one_when_collapsed_and_full_when_orthogonal():
  assert collapse.rank_me(jnp.ones((16, 8))) < 1.01
  np.testing.assert_allclose(collapse.rank_me(jnp.eye(8)), 8, rtol=1e-3)


def test_rank_me_agrees_with_singular_values():
  x = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)
  s = np.linalg.svd(x, compute_uv=False)
  p = s / s.sum()
  expected = np.exp(-np.sum(p * np.log(p)))
  # The Gram matrix squares the condition number, float32.
  np.testing.assert_allclose(collapse.rank_me(x), expected, rtol=1e-4)
  np.testing.assert_allclose(collapse.rank_me(x.T), expected, rtol=1e-4)


def test_feature_std_tells_spread_from_collapse():
  spread = jax.random.normal(jax.random.key(0), (512, 64))
  np.testing.assert_allclose(collapse.feature_std(spread), 1, atol=0.02)
  np.testing.assert_allclose(
    collapse.feature_std(jnp.ones((8, 64))), 0, atol=1e-5
  )


def test_entropy_of_uniform_and_certain_targets():
  uniform = jnp.full((3, 10), 0.1)
  np.testing.assert_allclose(
    distillation.entropy(uniform), np.log(10), rtol=1e-6
  )
  assert distillation.entropy(jnp.eye(10)) == 0


def test_koleo_groups_are_independent():
  x = jax.random.normal(jax.random.key(1), (8, 5))
  halves = [koleo_loss(part, group_size=4) for part in (x[:4], x[4:])]
  np.testing.assert_allclose(
    koleo_loss(x, group_size=4), np.mean(halves), rtol=1e-6
  )


@pytest.mark.parametrize("group_size", [1, 3, 16])
def test_koleo_refuses_groups_that_do_not_divide(group_size):
  with pytest.raises(ValueError, match=f"group_size={group_size} .*batch"):
    koleo_loss(jnp.ones((8, 4)), group_size=group_size)


def test_koleo_pushes_neighbors_apart():
  x = jnp.array([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0], [-1.0, 0.9]])
  moved = x - 0.01 * jax.grad(lambda f: koleo_loss(f, group_size=4))(x)

  def cosine(a, b):
    return a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))

  assert cosine(moved[0], moved[1]) < cosine(x[0], x[1])


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 3.0), ("mean", 1.0)])
def test_koleo_sums_or_averages_over_the_global_views(reduction, factor):
  config = validation.default_config("pretrain")
  config.objective.update(koleo_group_size=4, koleo_reduction=reduction)
  cls = jax.random.normal(jax.random.key(2), (8, 5, 6))  # 3 global, 2 local
  patches = jnp.zeros((8, 3, 1, 6))
  views = mock.Mock(spec=Views)
  student = StudentOutputs({}, views, cls, patches, lambda: None)
  loss, _ = KoLeo(config, 1.0).loss(student, ())
  each = [koleo_loss(cls[:, view], group_size=4) for view in range(3)]
  np.testing.assert_allclose(loss, factor * np.mean(each), rtol=1e-6)
