"""A traced JAX program as an ONNX graph.

The program has one input, whose sizes are known but for the batch. All that
does not depend on it is computed here and becomes a constant.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import export
from jax.extend import core

from data_pipelines.common import packages
from sapiens2_jax.parallel import scans

onnx = packages.require("onnx", "onnx")

OPSET = 18
IR_VERSION = 8  # the first with this opset
BATCH = "batch"  # name of the free size

Shape = tuple[Any, ...]
# A constant's name and numbers, contiguous, to what stands for it in the graph.
Store = Callable[[str, np.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class Value:
  """A value of the program.

  Attributes:
    source: the numbers of a constant, or a name in the graph.
    shape: of the source. It may be 1 where the program has an array broadcast:
      most nodes of ONNX broadcast by themselves.
  """

  source: np.ndarray | str
  shape: Shape

  @property
  def is_constant(self) -> bool:
    return not isinstance(self.source, str)


def constant(array: Any) -> Value:
  array = np.asarray(array)
  return Value(array, array.shape)


def is_static(shape: Sequence[Any]) -> bool:
  """Whether all sizes are numbers."""
  return all(isinstance(size, (int, np.integer)) for size in shape)


class Graph:
  """Nodes and constants so far, and how to add more.

  Attributes:
    batch: the symbolic size.
    nodes, constants: of the graph, in order.
  """

  def __init__(self, input_name: str, batch: Any, store: Store):
    self.batch = batch
    self.nodes, self.constants = [], []
    self._input, self._store = input_name, store
    self._known = {}  # names of what is needed often

  def add(self, op: str, *inputs: str, outputs: int = 1, **attributes) -> Any:
    """Adds a node; returns the name of its output, or of each output."""
    node = f"{op}_{len(self.nodes)}"
    names = [node] if outputs == 1 else [f"{node}_{i}" for i in range(outputs)]
    self.nodes.append(
      onnx.helper.make_node(op, inputs, names, name=node, **attributes)
    )
    return names[0] if outputs == 1 else names

  def output(self, value: Value, name: str) -> None:
    """Gives a value the name of an output."""
    self.nodes.append(
      onnx.helper.make_node("Identity", [self.name(value)], [name])
    )

  def integers(self, numbers: Sequence[int]) -> str:
    """The name of a constant: sizes, axes, places."""
    return self.name(constant(np.array(numbers, np.int64)))

  def name(self, value: Value) -> str:
    """Of a value in the graph, maybe of size 1 where it is broadcast."""
    if not value.is_constant:
      return value.source
    array = value.source
    if not array.flags.c_contiguous:
      array = array.copy()
    # Every layer has the same table of positions.
    content = hashlib.sha256(array.reshape(-1).view(np.uint8)).digest()
    key = (array.dtype.str, array.shape, content)
    if key not in self._known:
      self._known[key] = f"constant_{len(self.constants)}"
      self.constants.append(self._store(self._known[key], array))
    return self._known[key]

  def whole(self, value: Value, shape: Shape) -> Value:
    """A value in its full shape."""
    shape = tuple(shape)
    if value.shape == shape:
      return value
    if value.is_constant and is_static(shape):
      return constant(np.broadcast_to(value.source, shape))
    name = self.add("Expand", self.name(value), self._sizes(shape))
    return Value(name, shape)

  def reshape(self, value: Value, shape: Shape) -> Value:
    """The same numbers in another shape; a size that is free follows."""
    if value.shape == shape:
      return value
    if value.is_constant:
      return constant(value.source.reshape(shape))
    sizes = [int(size) if is_static((size,)) else -1 for size in shape]
    if sizes.count(-1) > 1:
      raise ValueError(f"ONNX: more than one free size in {shape}")
    name = self.add("Reshape", value.source, self.integers(sizes))
    return Value(name, shape)

  def transpose(self, value: Value, order: Sequence[int]) -> Value:
    """Axis `order[i]` becomes axis i."""
    order = list(map(int, order))
    if order == list(range(len(order))):
      return value
    if value.is_constant:
      return constant(value.source.transpose(order))
    name = self.add("Transpose", value.source, perm=order)
    return Value(name, tuple(value.shape[axis] for axis in order))

  def row(self, value: Value, index: int) -> Value:
    """One of the first axis."""
    if value.is_constant:
      return constant(value.source[index])
    place = self.name(constant(np.array(index, np.int64)))
    name = self.add("Gather", value.source, place, axis=0)
    return Value(name, value.shape[1:])

  def stack(self, values: Sequence[Value], axis: int) -> Value:
    """Values of one full shape, along a new axis."""
    shape = values[0].shape
    shape = (*shape[:axis], 1, *shape[axis:])
    parts = [self.reshape(value, shape) for value in values]
    if all(part.is_constant for part in parts):
      return constant(np.concatenate([part.source for part in parts], axis))
    name = self.add("Concat", *map(self.name, parts), axis=axis)
    return Value(name, (*shape[:axis], len(parts), *shape[axis + 1 :]))

  def _sizes(self, shape: Shape) -> str:
    """The name of a shape, as integers."""
    if is_static(shape):
      return self.integers(shape)
    if shape not in self._known:
      parts = [
        self.integers([size]) if is_static((size,)) else self._multiple(size)
        for size in shape
      ]
      self._known[shape] = self.add("Concat", *parts, axis=0)
    return self._known[shape]

  def _multiple(self, size: Any) -> str:
    """The name of a size that is a multiple of the batch."""
    factor = size // self.batch
    if not is_static((factor,)) or factor * self.batch != size:
      raise ValueError(f"ONNX: a size is {size}, no multiple of the batch")
    if BATCH not in self._known:
      self._known[BATCH] = self.add("Shape", self._input, start=0, end=1)
    if factor == 1:
      return self._known[BATCH]
    return self.add("Mul", self._known[BATCH], self.integers([factor]))


# Of constants without a copy: parameters are stacked and then cut.
_VIEWS = {
  "reshape": lambda x, sizes, params: x.reshape(sizes),
  "slice": lambda x, sizes, params: x[
    tuple(
      map(
        slice,
        params["start_indices"],
        params["limit_indices"],
        params["strides"] or (1,) * x.ndim,
      )
    )
  ],
  "split": lambda x, sizes, params: np.split(
    x, np.cumsum(params["sizes"])[:-1], params["axis"]
  ),
  "squeeze": lambda x, sizes, params: x.reshape(sizes),
  "transpose": lambda x, sizes, params: x.transpose(params["permutation"]),
}
# Of these the jaxpr that they hold takes the place.
_CALLS = {
  "closed_call": "call_jaxpr",
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
  "jit": "jaxpr",
  "remat2": "jaxpr",
}

# Adds the nodes of an equation; its inputs as values.
Rule = Callable[..., Value | list[Value]]


def _is_known(equation: core.JaxprEqn, inputs: Sequence[Value]) -> bool:
  shapes = [
    variable.aval.shape for variable in (*equation.invars, *equation.outvars)
  ]
  return all(x.is_constant for x in inputs) and all(map(is_static, shapes))


def _evaluate(equation: core.JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
  """The results, from constants alone."""
  arrays = [
    np.broadcast_to(value.source, variable.aval.shape)
    for value, variable in zip(inputs, equation.invars)
  ]
  primitive, params = equation.primitive, equation.params
  if primitive.name in _VIEWS:
    sizes = equation.outvars[0].aval.shape
    found = _VIEWS[primitive.name](*arrays, sizes, params)
  else:
    try:
      found = primitive.bind(*arrays, **params)
    except NotImplementedError as error:  # The batch as a number.
      raise unsupported(equation) from error
  return list(map(constant, found if primitive.multiple_results else [found]))


def _run(
  graph: Graph,
  jaxpr: core.ClosedJaxpr | core.Jaxpr,
  values: Sequence[Value],
  rules: Mapping[str, Rule],
) -> list[Value]:
  """Adds what a jaxpr computes; returns its outputs."""
  consts = map(constant, getattr(jaxpr, "consts", ()))
  jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
  known = dict(zip(jaxpr.constvars, consts, strict=True))
  known.update(zip(jaxpr.invars, values, strict=True))

  def read(variable: Any) -> Value:
    if isinstance(variable, core.Literal):
      return constant(np.asarray(variable.val, variable.aval.dtype))
    return known[variable]

  for equation in jaxpr.eqns:
    inputs = list(map(read, equation.invars))
    name = equation.primitive.name
    if name in _CALLS:
      outputs = _run(graph, equation.params[_CALLS[name]], inputs, rules)
    elif name == "scan":
      outputs = _unroll(graph, equation, inputs, rules)
    elif _is_known(equation, inputs):
      outputs = _evaluate(equation, inputs)
    elif name in rules:
      outputs = rules[name](graph, equation, *inputs)
    else:
      raise unsupported(equation)
    if isinstance(outputs, Value):
      outputs = [outputs]
    known.update(zip(equation.outvars, outputs, strict=True))
  return list(map(read, jaxpr.outvars))


def _unroll(
  graph: Graph,
  equation: core.JaxprEqn,
  inputs: Sequence[Value],
  rules: Mapping[str, Rule],
) -> list[Value]:
  """Adds a loop, step by step: layers have constants of their own."""
  params = equation.params
  num_consts, num_carry = scans.count_parts(equation)
  num_first = num_consts + num_carry
  consts, carry = inputs[:num_consts], inputs[num_consts:num_first]
  rows = [
    graph.whole(value, variable.aval.shape)
    for value, variable in zip(inputs[num_first:], equation.invars[num_first:])
  ]
  specs = [x.aval for x in equation.outvars[num_carry:]]
  steps, results = list(range(params["length"])), {}
  for step in reversed(steps) if params["reverse"] else steps:
    found = [graph.row(value, step) for value in rows]
    found = _run(graph, params["jaxpr"], [*consts, *carry, *found], rules)
    carry, made = found[: len(carry)], found[len(carry) :]
    results[step] = [
      graph.whole(value, spec.shape[1:]) for value, spec in zip(made, specs)
    ]
  columns = zip(*(results[step] for step in steps))
  return [*carry, *(graph.stack(column, 0) for column in columns)]


def unsupported(equation: core.JaxprEqn) -> ValueError:
  inputs = ", ".join(variable.aval.str_short() for variable in equation.invars)
  return ValueError(
    f"ONNX: the model computes {equation.primitive.name}({inputs}); "
    "sapiens2_jax/interop/onnx_rules.py has no rule for that"
  )


def make_model(
  function: Callable[[Any, Any], dict[str, Any]],
  constants: Any,
  input_name: str,
  input_shape: tuple[int, ...],
  *,
  rules: Mapping[str, Rule],
  store: Store,
) -> Any:
  """Traces a function and writes it down.

  Args:
    function: of the constants and one float32 array (batch, *input_shape) to
      arrays by name.
    constants: a tree of float32 NumPy arrays.
    input_name: of the array.
    input_shape: without the batch.
    rules: by name of the primitive.
    store: see `Store`; called once for each constant.

  Returns:
    An `onnx.ModelProto`.

  Raises:
    ValueError: there is no rule for something that the function computes.
  """
  (batch,) = export.symbolic_shape(BATCH)
  arrays, _ = jax.tree.flatten(constants)
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), constants
  )
  given = jax.ShapeDtypeStruct((batch, *input_shape), np.float32)
  closed, found = jax.make_jaxpr(function, return_shape=True)(abstract, given)
  graph = Graph(input_name, batch, store)
  inputs = [*map(constant, arrays), Value(input_name, given.shape)]
  values = _run(graph, closed, inputs, rules)
  # A tree of a dict has its names in order.
  specs = sorted(found.items())
  for (name, spec), value in zip(specs, values, strict=True):
    graph.output(graph.whole(value, spec.shape), name)

  def describe(name: str, spec: jax.ShapeDtypeStruct):
    sizes = [int(n) if is_static((n,)) else str(n) for n in spec.shape]
    kind = onnx.helper.np_dtype_to_tensor_dtype(spec.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, sizes)

  made = onnx.helper.make_graph(
    graph.nodes,
    "sapiens2",
    [describe(input_name, given)],
    [describe(name, spec) for name, spec in specs],
    graph.constants,
  )
  return onnx.helper.make_model(
    made,
    opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    ir_version=IR_VERSION,
    producer_name="sapiens2_jax",
  )
