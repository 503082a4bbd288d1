"""Renders the export check, whatever fields it has."""

from collections.abc import Iterator

EMPTY = "none"


def rows(value: object, name: str = "") -> Iterator[tuple[str, str]]:
  """Flattens a JSON value to (dotted name, text) pairs, without tables."""
  if isinstance(value, dict) and value:
    for key, item in value.items():
      yield from rows(item, f"{name}.{key}" if name else str(key))
  elif is_table(value):
    return
  elif isinstance(value, list) and any(
    isinstance(item, (dict, list)) for item in value
  ):
    for number, item in enumerate(value):
      yield from rows(item, f"{name}[{number}]")
  else:
    yield name or "value", as_text(value)


def is_table(value: object) -> bool:
  """Whether a value is a list of flat objects."""
  return (
    isinstance(value, list)
    and bool(value)
    and all(
      isinstance(item, dict)
      and not any(isinstance(part, dict) for part in item.values())
      for item in value
    )
  )


def tables(value: object, name: str = "") -> Iterator[tuple[str, list[list]]]:
  """The lists of flat objects in a JSON value: name, header and rows."""
  if is_table(value):
    columns = list(dict.fromkeys(key for item in value for key in item))
    body = [[as_text(item.get(key)) for key in columns] for item in value]
    yield name or "value", [columns, *body]
  elif isinstance(value, dict):
    for key, item in value.items():
      yield from tables(item, f"{name}.{key}" if name else str(key))


def as_text(value: object) -> str:
  """A JSON scalar, or a flat list, for people."""
  if value is None:
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, float):
    return f"{value:.4g}"
  if isinstance(value, list):
    return ", ".join(as_text(item) for item in value) or EMPTY
  if isinstance(value, dict):
    return EMPTY
  return str(value)


def verdict(value: object) -> bool | None:
  """The field `passed`, if the check has one."""
  passed = value.get("passed") if isinstance(value, dict) else None
  return passed if isinstance(passed, bool) else None
