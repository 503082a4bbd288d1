"""How much memory a traced program holds at once, from its shapes alone.

The account walks a jaxpr in its order, as a compiler would run it, under a
simple model of fusion:

- matrix products, convolutions, kernels, loops and all that moves values about
  read and write buffers;
- elementwise work in between is fused into what reads it, and costs nothing
  until one of those needs its result as a buffer; it keeps what it reads alive;
- a buffer lives from what writes it to the last that reads it;
- a loop holds its carry, what it stacks up, and the most that its body holds
  beside them.
"""

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import Any

from jax.extend import core

from sapiens2_jax.parallel import scans

Sizes = collections.Counter  # bytes by label
# (array, whether a backward pass made it) -> what it is for, bytes.
Measure = Callable[[Any, bool], tuple[str, int]]

# Only another view of the same bytes.
_VIEWS = frozenset(
  "reshape squeeze expand_dims name copy transpose sharding_constraint "
  "mesh_cast pvary".split()
)
# Reads through fusions, writes a buffer.
_REDUCTIONS = frozenset(
  "reduce_sum reduce_max reduce_min reduce_and reduce_or reduce_prod argmax "
  "argmin cumsum cumlogsumexp cummax cumprod".split()
)
# Reads and writes buffers. Everything else that is not inlined is fused.
_HEAVY = frozenset(
  "dot_general ragged_dot_general conv_general_dilated pallas_call "
  "pure_callback sort top_k scatter scatter-add scatter_add concatenate "
  "dynamic_update_slice gather reduce_window reduce_window_sum "
  "reduce_window_max select_and_scatter_add fft cholesky triangular_solve "
  "optimization_barrier custom_call rng_bit_generator random_bits eigh qr "
  "svd lu".split()
)
_INLINED = frozenset(
  "jit pjit closed_call core_call custom_jvp_call custom_vjp_call checkpoint "
  "remat remat2 custom_vjp_call_jaxpr shard_map".split()
)


@dataclasses.dataclass(eq=False)
class _Value:
  """What a variable stands for: a view of one buffer, or a fusion of some."""

  buffers: frozenset[int]
  is_buffer: bool


@dataclasses.dataclass
class _Step:
  reads: set[int]
  writes: set[int]
  inside: Sizes  # held only while it runs
  in_place: bool  # may write where it has read for the last time


def peak(jaxpr: core.Jaxpr, measure: Measure) -> Sizes:
  """Bytes by label at the moment when a program holds the most.

  Its arguments are not counted: they are there all the time, and what it
  returns of their shapes is written over them (donated).

  Args:
    jaxpr: of the program.
    measure: of every buffer.
  """
  return _Account(measure).body(jaxpr, backward=False)


def size_of(aval) -> int:
  """Bytes of an array; keys of random numbers count as nothing."""
  itemsize = getattr(aval.dtype, "itemsize", 0)
  return math.prod(aval.shape) * itemsize


class _Account:
  """The steps of one body, and the buffers that it fills."""

  def __init__(self, measure: Measure):
    self._measure = measure
    self._steps: list[_Step] = []
    self._buffers: list[tuple[str, int]] = []

  def body(self, jaxpr: core.Jaxpr, *, backward: bool) -> Sizes:
    """The most that it holds beside arguments and results."""
    env = {v: _external() for v in (*jaxpr.constvars, *jaxpr.invars)}
    self._walk(jaxpr, env, backward)
    results = [self._read(env, v).buffers for v in jaxpr.outvars]
    self._steps.append(_Step(set().union(*results), set(), Sizes(), False))
    return self._sweep()

  def _sweep(self) -> Sizes:
    last = {}
    for index, step in enumerate(self._steps):
      for buffer in step.reads | step.writes:
        last[buffer] = index
    held, most = Sizes(), Sizes()

    def change(buffers: set[int], sign: int) -> None:
      for buffer in buffers:
        name, size = self._buffers[buffer]
        held[name] += sign * size

    for index, step in enumerate(self._steps):
      done = {b for b in step.reads | step.writes if last[b] == index}
      early = done & step.reads if step.in_place else set()
      change(early, -1)
      change(step.writes, 1)
      now = held + step.inside
      if now.total() > most.total():
        most = now
      change(done - early, -1)
    return most

  def _read(self, env: dict, var) -> _Value:
    if isinstance(var, core.Literal):
      return _external()
    return env[var]

  def _new(self, aval, backward: bool) -> _Value:
    self._buffers.append(self._measure(aval, backward))
    return _Value(frozenset((len(self._buffers) - 1,)), True)

  def _as_buffer(self, value: _Value, aval, backward: bool) -> _Value:
    """Writes a fusion's result where something needs it whole."""
    if value.is_buffer:
      return value
    made = self._new(aval, backward)
    reads = set(value.buffers)
    self._steps.append(_Step(reads, set(made.buffers), Sizes(), True))
    value.buffers, value.is_buffer = made.buffers, True
    return value

  def _inputs(self, env: dict, variables, backward: bool) -> list[_Value]:
    return [
      self._as_buffer(self._read(env, v), v.aval, backward) for v in variables
    ]

  def _walk(self, jaxpr: core.Jaxpr, env: dict, backward: bool) -> None:
    used = _used(jaxpr)
    for equation in jaxpr.eqns:
      if not equation.effects and not used.intersection(
        map(id, equation.outvars)
      ):
        continue
      self._equation(equation, env, backward)

  def _equation(self, equation, env: dict, backward: bool) -> None:
    name = equation.primitive.name
    backward |= "transpose(" in str(equation.source_info.name_stack)
    if name in _INLINED:
      self._inline(equation, env, backward)
    elif name in ("scan", "while", "cond"):
      self._control(equation, env, backward)
    elif name in _HEAVY:
      inputs = self._inputs(env, equation.invars, backward)
      self._write(equation, env, inputs, Sizes(), backward)
    elif name in _REDUCTIONS:
      inputs = [self._read(env, v) for v in equation.invars]
      self._write(equation, env, inputs, Sizes(), backward)
    else:
      inputs = [self._read(env, v) for v in equation.invars]
      buffers = frozenset().union(*(x.buffers for x in inputs))
      whole = name in _VIEWS and inputs[0].is_buffer
      for out in equation.outvars:
        env[out] = _Value(buffers, whole)

  def _write(self, equation, env, inputs, inside: Sizes, backward) -> None:
    for out in equation.outvars:
      env[out] = self._new(out.aval, backward)
    reads = set().union(*(x.buffers for x in inputs)) if inputs else set()
    writes = set().union(*(env[out].buffers for out in equation.outvars))
    self._steps.append(_Step(reads, writes, inside, False))

  def _inline(self, equation, env: dict, backward: bool) -> None:
    inner = next(core.jaxprs_in_params(equation.params))
    if equation.primitive.name in ("checkpoint", "remat", "remat2"):
      # What is computed again is not fused with what it starts from.
      inputs = self._inputs(env, equation.invars, backward)
    else:
      inputs = [self._read(env, v) for v in equation.invars]
    inside = dict(zip(inner.invars, inputs[-len(inner.invars) :]))
    inside |= {v: _external() for v in inner.constvars}
    self._walk(inner, inside, backward)
    for out, var in zip(equation.outvars, inner.outvars):
      env[out] = self._read(inside, var)

  def _control(self, equation, env: dict, backward: bool) -> None:
    """Loops and branches: the most that a body holds beside its results."""
    bodies = [
      _Account(self._measure).body(inner, backward=backward)
      for inner in core.jaxprs_in_params(equation.params)
    ]
    inside = max(bodies, key=Sizes.total)
    inputs = self._inputs(env, equation.invars, backward)
    start, num_carry = scans.count_parts(equation)
    carry = inputs[start : start + num_carry]
    if num_carry:  # The loop writes over what it starts from, if it may.
      kept = [x for i, x in enumerate(inputs) if not 0 <= i - start < num_carry]
      made = [self._new(v.aval, backward) for v in equation.outvars[:num_carry]]
      reads = set().union(*(x.buffers for x in carry))
      writes = set().union(*(x.buffers for x in made))
      self._steps.append(_Step(reads, writes, Sizes(), True))
      env.update(zip(equation.outvars, made))
      stacked = equation.outvars[num_carry:]
      for out in stacked:
        env[out] = self._new(out.aval, backward)
      reads = set().union(writes, *(x.buffers for x in kept))
      writes = set().union(*(env[out].buffers for out in stacked))
      self._steps.append(_Step(reads, writes, inside, False))
    else:
      self._write(equation, env, inputs, inside, backward)


def _external() -> _Value:
  """What somebody else holds."""
  return _Value(frozenset(), True)


def _used(jaxpr: core.Jaxpr) -> set[int]:
  """Variables that a result depends on, by identity."""
  used = {id(v) for v in jaxpr.outvars}
  for equation in reversed(jaxpr.eqns):
    if equation.effects or used.intersection(map(id, equation.outvars)):
      used.update(map(id, equation.invars))
  return used
