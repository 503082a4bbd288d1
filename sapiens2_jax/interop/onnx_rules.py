"""Primitives of JAX as nodes of ONNX: those that our models are made of.

And a few that heads of other people's tasks may need.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

from sapiens2_jax.interop.onnx_graph import (
  Graph,
  Rule,
  Shape,
  Value,
  constant,
  is_static,
  onnx,
  unsupported,
)

Equation = core.JaxprEqn


def _whole(graph: Graph, equation: Equation, *values: Value) -> list[Value]:
  return [
    graph.whole(value, variable.aval.shape)
    for value, variable in zip(values, equation.invars)
  ]


def _result(equation: Equation, name: str) -> Value:
  return Value(name, equation.outvars[0].aval.shape)


def _is_one(size: Any) -> bool:
  return is_static((size,)) and size == 1


def _common(shapes: Sequence[Shape]) -> Shape:
  """The shape of arrays that are broadcast against each other."""
  rank = max(map(len, shapes))
  padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
  return tuple(
    next((size for size in sizes if not _is_one(size)), 1)
    for sizes in zip(*padded)
  )


def _elementwise(*ops: str) -> Rule:
  """The first node takes the inputs, each other one the result before."""

  def rule(graph: Graph, equation: Equation, *values: Value) -> Value:
    names = [graph.name(value) for value in values]
    for op in ops:
      names = [graph.add(op, *names)]
    return Value(names[0], _common([value.shape for value in values]))

  return rule


def _same(graph: Graph, equation: Equation, *values: Value) -> list[Value]:
  return list(values)


def _integer_pow(graph: Graph, equation: Equation, x: Value) -> Value:
  power, name = equation.params["y"], graph.name(x)
  if power == 2:
    return Value(graph.add("Mul", name, name), x.shape)
  power = constant(np.asarray(power, equation.invars[0].aval.dtype))
  return Value(graph.add("Pow", name, graph.name(power)), x.shape)


def _select(graph: Graph, equation: Equation, *values: Value) -> Value:
  if len(values) != 3 or equation.invars[0].aval.dtype != np.bool_:
    raise unsupported(equation)
  which, if_false, if_true = map(graph.name, values)
  shape = _common([value.shape for value in values])
  return Value(graph.add("Where", which, if_true, if_false), shape)


def _cast(graph: Graph, equation: Equation, x: Value) -> Value:
  kind = onnx.helper.np_dtype_to_tensor_dtype(
    np.dtype(equation.params["new_dtype"])
  )
  return Value(graph.add("Cast", graph.name(x), to=kind), x.shape)


def _broadcast(graph: Graph, equation: Equation, x: Value) -> Value:
  """Only puts the axes in their places: who reads it does the rest."""
  shape = [1] * len(equation.outvars[0].aval.shape)
  for axis, size in zip(equation.params["broadcast_dimensions"], x.shape):
    shape[axis] = size
  return graph.reshape(x, tuple(shape))


def _reshape(graph: Graph, equation: Equation, x: Value) -> Value:
  (x,) = _whole(graph, equation, x)
  return graph.reshape(x, equation.outvars[0].aval.shape)


def _transpose(graph: Graph, equation: Equation, x: Value) -> Value:
  return graph.transpose(x, equation.params["permutation"])


def _concatenate(graph: Graph, equation: Equation, *values: Value) -> Value:
  names = map(graph.name, _whole(graph, equation, *values))
  axis = equation.params["dimension"]
  return _result(equation, graph.add("Concat", *names, axis=axis))


def _stack(graph: Graph, equation: Equation, *values: Value) -> Value:
  values = _whole(graph, equation, *values)
  return graph.stack(values, equation.params["axis"])


def _split(graph: Graph, equation: Equation, x: Value) -> list[Value]:
  (x,) = _whole(graph, equation, x)
  params, count = equation.params, len(equation.outvars)
  if count == 1:
    return [x]
  sizes = graph.integers(params["sizes"])
  names = graph.add(
    "Split", graph.name(x), sizes, outputs=count, axis=params["axis"]
  )
  shapes = [variable.aval.shape for variable in equation.outvars]
  return list(map(Value, names, shapes))


def _cut(
  graph: Graph,
  x: Value,
  starts: Sequence[Any],
  ends: Sequence[Any],
  steps: Sequence[int],
) -> str:
  """The name of a part; axes that are whole may be of any size."""
  cuts = [
    (axis, *cut)
    for axis, (size, *cut) in enumerate(zip(x.shape, starts, ends, steps))
    if tuple(cut) != (0, size, 1)
  ]
  if not cuts:
    return graph.name(x)
  axes, *places = map(graph.integers, zip(*cuts))
  starts, ends, steps = places
  return graph.add("Slice", graph.name(x), starts, ends, axes, steps)


def _slice(graph: Graph, equation: Equation, x: Value) -> Value:
  (x,) = _whole(graph, equation, x)
  params = equation.params
  places = params["start_indices"], params["limit_indices"]
  steps = params["strides"] or (1,) * len(x.shape)
  return _result(equation, _cut(graph, x, *places, steps))


def _gather(
  graph: Graph, equation: Equation, x: Value, indices: Value
) -> Value:
  """One window at a known place: so is an array of a free size cut."""
  (x, _) = _whole(graph, equation, x, indices)
  params, shape = equation.params, equation.outvars[0].aval.shape
  numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
  is_window = len(indices.shape) == 1 and len(numbers.offset_dims) == len(shape)
  if not indices.is_constant or not is_window:
    raise unsupported(equation)
  starts = [0] * len(x.shape)
  for axis, start in zip(numbers.start_index_map, indices.source.tolist()):
    if not 0 <= start <= x.shape[axis] - sizes[axis]:
      raise unsupported(equation)
    starts[axis] = start
  ends = [start + size for start, size in zip(starts, sizes)]
  name = _cut(graph, x, starts, ends, (1,) * len(starts))
  return graph.reshape(Value(name, tuple(sizes)), shape)


def _pad(graph: Graph, equation: Equation, x: Value, value: Value) -> Value:
  before, after, inside = zip(*equation.params["padding_config"])
  if any(inside) or min(*before, *after) < 0:
    raise unsupported(equation)
  x, value = map(graph.name, _whole(graph, equation, x, value))
  sizes = graph.integers([*before, *after])
  return _result(equation, graph.add("Pad", x, sizes, value))


def _reduce(op: str) -> Rule:
  def rule(graph: Graph, equation: Equation, x: Value) -> Value:
    (x,) = _whole(graph, equation, x)
    axes = graph.integers(equation.params["axes"])
    return _result(equation, graph.add(op, graph.name(x), axes, keepdims=0))

  return rule


def _dot(graph: Graph, equation: Equation, a: Value, b: Value) -> Value:
  """One MatMul, of operands that have their axes in its order."""
  a, b = _whole(graph, equation, a, b)
  (a_sum, b_sum), (a_batch, b_batch) = equation.params["dimension_numbers"]
  is_swapped = a.is_constant and not a_batch
  if is_swapped:  # What stands on the left may have several free axes.
    (a, a_sum), (b, b_sum) = (b, b_sum), (a, a_sum)
  a_free = [i for i in range(len(a.shape)) if i not in (*a_sum, *a_batch)]
  b_free = [i for i in range(len(b.shape)) if i not in (*b_sum, *b_batch)]

  def sizes(value: Value, axes: Sequence[int]) -> Shape:
    return tuple(value.shape[axis] for axis in axes)

  batch, left, right = sizes(a, a_batch), sizes(a, a_free), sizes(b, b_free)
  rows = (math.prod(left),) if batch or not left else left
  summed, columns = math.prod(sizes(a, a_sum)), math.prod(right)
  a = graph.transpose(a, [*a_batch, *a_free, *a_sum])
  b = graph.transpose(b, [*b_batch, *b_sum, *b_free])
  a = graph.reshape(a, (*batch, *rows, summed))
  b = graph.reshape(b, (*batch, summed, columns))
  name = graph.add("MatMul", graph.name(a), graph.name(b))
  found = Value(name, (*batch, *rows, columns))
  found = graph.reshape(found, (*batch, *left, *right))
  if is_swapped:
    axes = range(len(found.shape))
    found = graph.transpose(found, [*axes[len(left) :], *axes[: len(left)]])
  return found


def _conv(graph: Graph, equation: Equation, x: Value, kernel: Value) -> Value:
  params, order = equation.params, equation.params["dimension_numbers"]
  if params["batch_group_count"] != 1 or set(params["lhs_dilation"]) != {1}:
    raise unsupported(equation)
  x, kernel = _whole(graph, equation, x, kernel)
  before, after = zip(*params["padding"])
  name = graph.add(
    "Conv",
    graph.name(graph.transpose(x, order.lhs_spec)),
    graph.name(graph.transpose(kernel, order.rhs_spec)),
    pads=[*before, *after],
    strides=params["window_strides"],
    dilations=params["rhs_dilation"],
    group=params["feature_group_count"],
  )
  shape = equation.outvars[0].aval.shape
  found = Value(name, tuple(shape[axis] for axis in order.out_spec))
  return graph.transpose(found, np.argsort(order.out_spec))


RULES: dict[str, Rule] = {
  "abs": _elementwise("Abs"),
  "add": _elementwise("Add"),
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "conv_general_dilated": _conv,
  "convert_element_type": _cast,
  "div": _elementwise("Div"),
  "dot_general": _dot,
  "eq": _elementwise("Equal"),
  "exp": _elementwise("Exp"),
  "gather": _gather,
  "ge": _elementwise("GreaterOrEqual"),
  "gt": _elementwise("Greater"),
  "integer_pow": _integer_pow,
  "le": _elementwise("LessOrEqual"),
  "log": _elementwise("Log"),
  "logistic": _elementwise("Sigmoid"),
  "lt": _elementwise("Less"),
  "max": _elementwise("Max"),
  "min": _elementwise("Min"),
  "mul": _elementwise("Mul"),
  "name": _same,
  "neg": _elementwise("Neg"),
  "optimization_barrier": _same,
  "pad": _pad,
  "reduce_max": _reduce("ReduceMax"),
  "reduce_sum": _reduce("ReduceSum"),
  "reshape": _reshape,
  "rsqrt": _elementwise("Sqrt", "Reciprocal"),
  "select_n": _select,
  "slice": _slice,
  "split": _split,
  "sqrt": _elementwise("Sqrt"),
  "squeeze": _reshape,
  "stack": _stack,
  "stop_gradient": _same,
  "sub": _elementwise("Sub"),
  "tanh": _elementwise("Tanh"),
  "transpose": _transpose,
}
