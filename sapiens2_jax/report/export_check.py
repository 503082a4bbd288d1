"""Shows the export check, whatever fields it has."""

from sapiens2_jax.report.page import Section, Table


def make_tables(check: object) -> list[Table]:
  """Lists of objects as tables; all else as (dotted name, text) in the last."""
  tables, rows = [], []

  def visit(value: object, name: str) -> None:
    if isinstance(value, dict) and value:
      for key, item in value.items():
        visit(item, f"{name}.{key}" if name else str(key))
    elif _is_table(value):
      columns = list(dict.fromkeys(key for item in value for key in item))
      body = [[as_text(item.get(key)) for key in columns] for item in value]
      tables.append(Table(body, columns, name or "value"))
    else:
      rows.append((name or "value", as_text(value)))

  visit(check, "")
  return [*tables, Table(rows)]


def _is_table(value: object) -> bool:
  is_list = isinstance(value, list) and bool(value)
  return is_list and all(isinstance(item, dict) for item in value)


def as_text(value: object) -> str:
  """A JSON value for people, in one line."""
  if value is None:
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, float):
    return f"{value:.4g}"
  if isinstance(value, dict):
    value = [f"{key} {as_text(item)}" for key, item in value.items()]
  if isinstance(value, list):
    return ", ".join(map(as_text, value)) or "none"
  return str(value)


def verdict(value: object) -> bool | None:
  """The field `passed`, if the check has one."""
  passed = value.get("passed") if isinstance(value, dict) else None
  return passed if isinstance(passed, bool) else None


def make_section(check: object, step: int) -> Section:
  """The export check, or that there is none; `step` is of the report."""
  name, title = "export", "Export check"
  if check is None:
    text = "Not run yet. The command is in the last section."
    return Section(name, title, text=[text])
  saved = check.get("step") if isinstance(check, dict) else None
  warnings = []
  if isinstance(saved, int) and saved != step:
    warnings.append(
      f"The check is of step {saved}, this report of step {step}: export and "
      "check again."
    )
  passed = verdict(check)
  return Section(
    name,
    title,
    # What went well needs no look.
    is_folded=passed is True and not warnings,
    passed=passed,
    warnings=warnings,
    tables=make_tables(check),
  )


def make_tile(check: object) -> tuple[str, str, str]:
  """Whether the export is right, in a word."""
  words = {True: "passed", False: "failed", None: "see below"}
  word = "not run" if check is None else words[verdict(check)]
  return "Export check", word, "in PyTorch, with transformers"
