"""The page for operators says what the code says."""

import ast
import functools
import inspect
import pathlib
import re

import pytest

from sapiens2_jax.training import endings, loop, profiling
from sapiens2_jax.validation import schema

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operating.md").read_text()
MESSAGES = re.findall(
  r"^\| `([^|]+)` \|", PAGE.split("| message | means | do |")[1], re.M
)
_VALUE = "\0"


@functools.cache
def templates(path: pathlib.Path) -> tuple[str, ...]:
  """All texts of a file but docstrings; what is filled in is _VALUE."""
  found = []
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Expr):  # A docstring.
      node.value = ast.Pass() if is_text(node.value) else node.value
    elif isinstance(node, ast.JoinedStr):
      parts = [part.value if is_text(part) else _VALUE for part in node.values]
      found.append("".join(parts))
    elif is_text(node):
      found.append(re.sub("%[sd]|%.3g", _VALUE, node.value))
  return tuple(found)


def is_text(node: ast.AST) -> bool:
  return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_said(message: str, paths=None) -> bool:
  """Whether a text has these words, with anything for each `...`."""
  if paths is None:
    roots = [ROOT / "sapiens2_jax", ROOT / "data_pipelines"]
    paths = [path for root in roots for path in root.rglob("*.py")]
  pattern = re.compile(".*".join(map(re.escape, message.split("..."))))
  return any(pattern.search(text) for at in paths for text in templates(at))


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_has_every_message_of_the_page(message):
  assert is_said(message)


def test_a_message_that_nobody_says_would_be_found():
  assert not is_said("nothing moved for ... hours")
  assert len(MESSAGES) > 30


def test_every_kind_of_error_that_ends_a_run_has_a_message():
  for kind in endings._FATAL:
    if kind is not OSError:  # Of anything; it names the file.
      package = pathlib.Path(inspect.getsourcefile(kind)).parent
      paths = tuple(package.glob("*.py"))
      assert any(is_said(message, paths) for message in MESSAGES), kind


def test_the_page_names_real_fields_metrics_and_files():
  fields = {*schema.PRETRAIN}
  groups = {name.partition(".")[0] for name in fields}
  named = re.findall(r"`-*(?:config\.)?([a-z]+\.[a-z_]+)[`=]", PAGE)
  named = [n for n in named if n.partition(".")[0] in groups]
  assert len(set(named)) > 15
  assert set(named) <= fields
  assert f"touch RUN/{profiling.REQUEST}" in PAGE
  line = re.search(r"^step 111.*", PAGE, re.M)[0]
  shown = loop.format_line(
    110,
    220,
    {"loss": 2.044, "grad_norm": 0.53, "lr": 1.1e-3}
    | {"loss_cl": 3.175, "loss_koleo": -0.069, "loss_mae": 0.776},
    {
      **{"mfu": None, "device_bytes_peak": None, "device_bytes_limit": None},
      **{"eta_seconds": 129, "images_per_second": 13.5, "data_wait": 0},
    },
  )
  assert line == shown
