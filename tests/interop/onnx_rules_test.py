"""What JAX computes, and ONNX Runtime on the graph of the same program."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import lax

from sapiens2_jax.interop import onnx_graph
from sapiens2_jax.interop.onnx_rules import RULES

WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 5), np.float32)
SQUARES = np.random.default_rng(3).standard_normal((3, 5, 5), np.float32)
KERNEL = np.random.default_rng(1).standard_normal((3, 2, 2, 8), np.float32)


def make_model(function, shape, constants=()):
  return onnx_graph.make_model(
    lambda constants, x: {"found": function(x, *constants)},
    list(constants),
    "x",
    shape,
    rules=RULES,
    store=lambda name, array: onnx.numpy_helper.from_array(array, name),
  )


def conv(x, kernel, **options):
  options = {"window_strides": (1, 1), "padding": "SAME"} | options
  numbers = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(
    x, kernel, dimension_numbers=numbers, **options
  )


PROGRAMS = {
  "a matrix on the right": (lambda x, w: x @ w[:, 0], (6, 4), WEIGHT),
  "a tensor on the left": (
    lambda x, w: jnp.einsum("dhe,bnd->bhen", w, x),
    (6, 4),
    WEIGHT,
  ),
  "two summed axes": (
    lambda x, w: jnp.einsum("bhne,ehd->bnd", x, w),
    (3, 6, 4),
    WEIGHT,
  ),
  "everything summed": (lambda x, w: jnp.tensordot(x, w, 3), (4, 3, 5), WEIGHT),
  "batches of matrices": (
    lambda x: jnp.einsum("bgen,bgem->bgnm", x, x[..., 1:]),
    (2, 4, 6),
  ),
  "batches of vectors": (lambda x: jnp.einsum("bne,bne->bn", x, x), (3, 4)),
  "an outer product": (lambda x: jnp.einsum("bi,bj->bij", x, x[:, 1:]), (3,)),
  "a strided convolution": (
    lambda x, w: conv(x, w, window_strides=(2, 1), padding=((1, 0), (0, 1))),
    (7, 4, 2),
    KERNEL,
  ),
  "a dilated one": (
    lambda x, w: conv(x, w, rhs_dilation=(2, 1)),
    (7, 4, 2),
    KERNEL,
  ),
  "groups of channels": (
    lambda x, w: conv(x, w, feature_group_count=2),
    (7, 4, 4),
    KERNEL,
  ),
  "one of a free number": (lambda x: x[:, 1, -1], (3, 4)),
  "parts of a free number": (lambda x: x[:, 1:, :2], (3, 4)),
  "a step": (
    lambda x: lax.slice(x, (0, 0, 1), x.shape, (1, 3, 2)),
    (4, 6),
  ),
  "parts": (lambda x: jnp.split(x, (1, 3), axis=-1)[1] * 2, (3, 4)),
  "a border": (
    lambda x: jnp.pad(x, ((0, 0), (1, 2)), constant_values=7),
    (3,),
  ),
  "constants for all": (
    lambda x, w: jnp.concatenate(
      [jnp.broadcast_to(w[0], (x.shape[0], 3, 5)), x], axis=1
    ),
    (2, 5),
    WEIGHT,
  ),
  "constants for several times all": (
    lambda x, w: jnp.concatenate(
      [
        jnp.broadcast_to(w[0, 0], (2 * x.shape[0], 5)),
        x.reshape(2 * x.shape[0], 5),
      ],
      axis=1,
    ),
    (2, 5),
    WEIGHT,
  ),
  "a constant alone": (lambda x, w: w[0] + jnp.zeros_like(x), (3, 5), WEIGHT),
  "a sum of what is broadcast": (
    lambda x: jnp.broadcast_to(x[:, :, None], (*x.shape, 4)).sum((1, 2)),
    (3,),
  ),
  "cases": (
    lambda x: jnp.where(x > 0, x, jnp.where(x <= -1, -x, x == x)),
    (3,),
  ),
  "comparisons": (lambda x: (x < 0) * 2 + (x >= 1), (9,)),
  "activations": (
    lambda x: nn.gelu(x) + nn.relu(x) + nn.swish(x) + nn.tanh(x),
    (3,),
  ),
  "roots": (lambda x: jnp.log(jnp.sqrt(jnp.abs(x)) + 1), (3,)),
  "clipping": (lambda x: jnp.clip(2 * x, -1, 1.5).astype(jnp.int32), (3,)),
  "powers": (lambda x: x**2 + x**3 + (x * x + 1) ** -2, (3,)),
  "a norm": (
    lambda x: nn.silu(x) * lax.rsqrt((x * x).mean((1, 2), keepdims=True)),
    (3, 4),
  ),
  "a softmax": (lambda x: nn.softmax(x), (3, 4)),
  "a new axis": (lambda x: jnp.stack([x, x * 2, x], axis=1), (3, 4)),
  "a loop over layers": (
    lambda x, w: lax.scan(lambda x, row: (x @ row, None), x, w)[0],
    (5,),
    SQUARES,
  ),
  "a loop backwards over parts": (
    lambda x, w: lax.scan(
      lambda total, part: (total + part, total @ w[0] + part),
      jnp.zeros((x.shape[0], 5)),
      x.swapaxes(0, 1),
      reverse=True,
    )[1],
    (3, 5),
    SQUARES,
  ),
  "rematerialisation": (lambda x: jax.checkpoint(nn.silu)(x), (3,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_computes_the_same(name):
  function, shape, *constants = PROGRAMS[name]
  model = make_model(function, shape, constants)
  onnx.checker.check_model(model, full_check=True)
  session = onnxruntime.InferenceSession(model.SerializeToString())
  for count in (1, 3):
    x = np.random.default_rng(2).standard_normal((count, *shape), np.float32)
    (found,) = session.run(["found"], {"x": x})
    expected = np.asarray(function(jnp.asarray(x), *constants))
    assert found.dtype == expected.dtype and found.shape == expected.shape
    # Sums of a few dozen numbers of order one.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_does_not_depend_on_the_input_is_computed_once():
  def function(x, w):
    table = jnp.cos(w.transpose(2, 0, 1)[1:].reshape(4, -1))
    return x @ table + x @ (table * 1)

  model = make_model(function, (4,), [WEIGHT])
  assert [node.op_type for node in model.graph.node] == [
    *("MatMul", "MatMul", "Add", "Identity"),
  ]
  (kept,) = model.graph.initializer  # Equal ones once.
  expected = np.cos(WEIGHT.transpose(2, 0, 1)[1:].reshape(4, -1))
  np.testing.assert_allclose(
    onnx.numpy_helper.to_array(kept), expected, atol=1e-6
  )


@pytest.mark.parametrize(
  "function, shape, what",
  [
    (lambda x: jnp.cumsum(x, axis=1), (4,), "cumsum(float32[batch,4])"),
    (
      lambda x: conv(x, KERNEL, lhs_dilation=(2, 2), padding=[(1, 1)] * 2),
      (4, 4, 2),
      "conv_general_dilated(float32[batch,4,4,2], float32[3,2,2,8])",
    ),
    (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1))), (4,), "pad("),
    (lambda x: jnp.take(x, jnp.array([2, 0]), axis=1), (4,), "gather("),
    (lambda x: x - x.mean(), (4,), "dim_as_value()"),
  ],
)
def test_what_there_is_no_rule_for_is_named(function, shape, what):
  what = re.escape(f"the model computes {what}")
  with pytest.raises(ValueError, match=what):
    make_model(function, shape)
