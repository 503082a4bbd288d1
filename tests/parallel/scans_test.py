import jax
import jax.numpy as jnp
import pytest

from sapiens2_jax.parallel import scans


def parts(function, *arguments):
  (equation,) = [
    e
    for e in jax.make_jaxpr(function)(*arguments).eqns
    if e.primitive.name in ("scan", "while", "add")
  ]
  return scans.count_parts(equation)


@pytest.mark.parametrize("length", [1, 3])
def test_parts_of_a_scan_are_counted(length):
  def layers(constant, carry, rows):
    def body(carry, row):
      x, y = carry
      return (x @ row + constant, y + 1), (x.sum(), x)

    return jax.lax.scan(body, carry, rows)

  carry = jnp.ones((length, length)), jnp.ones(())
  rows = jnp.ones((length, length, length))
  assert parts(layers, jnp.ones((length,)), carry, rows) == (1, 2)


def test_a_scan_without_rows_or_without_a_state():
  def counted(x):
    return jax.lax.scan(lambda c, _: (c + 1, None), x, None, length=3)[0]

  assert parts(counted, jnp.ones(3)) == (0, 1)
  assert parts(lambda x: jax.lax.map(jnp.sin, x), jnp.ones(3)) == (0, 0)


def test_another_primitive_has_none():
  assert parts(lambda x: x + 1, jnp.ones(3)) == (0, 0)
