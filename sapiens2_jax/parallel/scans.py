"""What a scan in a traced program is made of."""

from jax.extend import core


def count_parts(equation: core.JaxprEqn) -> tuple[int, int]:
  """Numbers of constants and of carried values, the first inputs of a scan.

  By shapes, not by parameters of the primitive, whose names JAX changes: what
  is scanned has a leading axis that the body does not see. Of another
  primitive: zeros.
  """
  if equation.primitive.name != "scan":
    return 0, 0
  body = equation.params["jaxpr"]
  body = getattr(body, "jaxpr", body)

  def count(outside, inside) -> int:
    pairs = zip(outside, inside, strict=True)
    return sum(len(x.aval.shape) == len(y.aval.shape) for x, y in pairs)

  carried = count(equation.outvars, body.outvars)
  return count(equation.invars, body.invars) - carried, carried
