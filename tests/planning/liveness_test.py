"""What a traced program holds at once, against what can be counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from sapiens2_jax.planning import liveness

N = 64
SIZE = N * N * 4  # of one float32 matrix
X = jax.ShapeDtypeStruct((N, N), jnp.float32)


def label(aval, backward):
  return "backward" if backward else "forward", liveness.size_of(aval)


def peak(function, *args):
  return liveness.peak(jax.make_jaxpr(function)(*args).jaxpr, label)


def test_products_write_buffers_that_live_until_they_are_read():
  assert peak(lambda x: x @ x, X).total() == SIZE
  # The first product is no longer there when the third is written.
  assert peak(lambda x: x @ x @ x @ x, X).total() == 2 * SIZE

  def kept(x):
    y = x @ x
    return (y @ x) @ x + y

  assert peak(kept, X).total() == 3 * SIZE


def test_elementwise_work_costs_nothing_until_a_product_reads_it():
  assert peak(lambda x: jnp.sin(x) + 1, X).total() == 0
  assert peak(lambda x: jnp.exp(x @ x) + 1, X).total() == SIZE
  # Written over the product that it is made of.
  assert peak(lambda x: jnp.exp(x @ x) @ x, X).total() == 2 * SIZE
  assert peak(lambda x: jnp.sum(jnp.sin(x)), X).total() == 4


def test_what_nobody_reads_is_not_made():
  assert peak(lambda x: (x @ x, x + 1)[1], X).total() == 0


@pytest.mark.parametrize("length", [3, 7])
def test_a_loop_keeps_a_row_of_each_round_for_the_backward_pass(length):
  def loss(x, w, policy):
    def body(x, w):
      return jnp.sin(x @ w) @ w, None

    body = jax.checkpoint(body, policy=policy)
    return jnp.sum(lax.scan(body, x, w)[0])

  policies = jax.checkpoint_policies
  w = jax.ShapeDtypeStruct((length, N, N), jnp.float32)

  def held(policy):
    grad = jax.grad(lambda *args: loss(*args, policy), argnums=(0, 1))
    return peak(grad, X, w)

  few = held(policies.nothing_saveable)
  many = held(policies.dots_saveable)
  # The input of each round; or both of its products, of which one is the
  # next one's input. Backward the gradient of each round, and what it needs.
  assert few["forward"] == length * SIZE
  assert many["forward"] == 2 * length * SIZE
  assert few["backward"] == many["backward"] == (length + 5) * SIZE


def test_the_larger_side_of_a_branch_counts():
  def branch(x, flag):
    return lax.cond(flag, lambda x: x @ x @ x @ x, lambda x: x, x)

  # Two products at once, what the branch returns, and which one it is.
  flag = jax.ShapeDtypeStruct((), jnp.bool_)
  assert peak(branch, X, flag).total() == 3 * SIZE + 4
