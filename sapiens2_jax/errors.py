"""How named choices are looked up, so that every mistake reads the same."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
  """`; did you mean X?` for the known name nearest to `name`, or nothing."""
  match = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
  return f"; did you mean {match[0]}?" if match else ""


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
  """Takes `table[name]`.

  Raises:
    ValueError: if the name is unknown; lists the known ones.
  """
  if name not in table:
    raise ValueError(
      f"unknown {what} {name!r}{nearest(str(name), table)} "
      f"(known: {', '.join(sorted(table))})"
    )
  return table[name]
