"""Who imports whom, against the table of docs/architecture.md."""

import ast
import pathlib
import re

import pytest

TOPS = ("data_pipelines", "sapiens2_jax")
PAGE = pathlib.Path("docs/architecture.md")
ROW = re.compile(r"^\| (`\S+/.+?) \| .+ \| (.+) \|$", re.MULTILINE)


def read_table() -> dict[str, set[str]]:
  """Of each package or module the names that it may import."""
  table = {}
  for names, allowed in ROW.findall(PAGE.read_text()):
    for name in re.findall(r"`(.+?)`", names):
      top, _, rest = name.removesuffix("/").removesuffix(".py").partition("/")
      table[f"{top}.{rest}"] = {
        f"{top}.{other.strip()}" for other in allowed.split(",") if other != "-"
      }
  return table


def unit_of(module: str) -> str:
  """The package right below the top, or the module that lies there."""
  return ".".join(module.split(".")[:2])


def is_command(path: pathlib.Path) -> bool:
  """Whether a file is run: those may import everything."""
  is_top = len(path.parts) == 2 and path.parts[0] == "sapiens2_jax"
  runs = '__name__ == "__main__"' in path.read_text()
  return path.name == "__main__.py" or (is_top and runs)


def imported(path: pathlib.Path) -> set[str]:
  """Units that a file imports, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path}: a relative import"
      inside = node.module in TOPS
      found |= {
        f"{node.module}.{alias.name}" if inside else node.module
        for alias in node.names
      }
  return {unit_of(name) for name in found if name.split(".")[0] in TOPS}


FILES = [
  path
  for top in TOPS
  for path in sorted(pathlib.Path(top).rglob("*.py"))
  if path != pathlib.Path("sapiens2_jax/__init__.py")
]
TABLE = read_table()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_what_its_row_allows(path):
  if is_command(path):
    return
  unit = unit_of(".".join(path.with_suffix("").parts))
  if path.name == "__init__.py" and len(path.parts) == 2:
    assert not imported(path)
    return
  assert unit in TABLE, f"{unit} has no row in {PAGE}"
  allowed = {unit, *TABLE[unit]}
  if unit.startswith("sapiens2_jax"):
    allowed |= {name for name in TABLE if name.startswith("data_pipelines")}
  assert imported(path) <= allowed, imported(path) - allowed


def test_the_table_has_no_circles():
  below = {unit: set(allowed) for unit, allowed in TABLE.items()}
  while free := {unit for unit, rest in below.items() if not rest & {*below}}:
    below = {u: rest - {u} for u, rest in below.items() if u not in free}
  assert not below, f"these import each other: {sorted(below)}"


def test_every_row_is_of_something_that_exists():
  units = {unit_of(".".join(path.with_suffix("").parts)) for path in FILES}
  assert {*TABLE} <= units
  assert {name for allowed in TABLE.values() for name in allowed} <= units


def test_nothing_imports_an_experiment():
  for path in FILES:
    assert "experiments" not in {
      name.split(".")[0]
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Import | ast.ImportFrom)
      for name in (
        [node.module]
        if isinstance(node, ast.ImportFrom)
        else [alias.name for alias in node.names]
      )
    }
