import html.parser
import re

import pytest

from sapiens2_jax.report import export_check, page

PIXEL = b"\x89PNG not really"


class _Links(html.parser.HTMLParser):
  """Collects everything that a browser would load or follow."""

  def __init__(self):
    super().__init__()
    self.links, self.tags = [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.links += [v for k, v in attrs if k in ("src", "href", "srcset")]


def links(text):
  parser = _Links()
  parser.feed(text)
  return parser


def make_page(title="run", body="<p>body</p>"):
  figure = page.Figure(PIXEL, "png", "a picture", "what is seen")
  sections = [
    page.Section("first", "First", body),
    page.Section("second", "Second", page.figure(figure)),
  ]
  return page.page(title, "subtitle", sections)


def test_page_loads_nothing_from_outside():
  text = make_page()
  found = links(text)
  assert found.links == ["#first", "#second", found.links[-1]]
  assert found.links[-1].startswith("data:image/png;base64,")
  assert not {"script", "link", "iframe"} & set(found.tags)
  assert "@import" not in text and "url(" not in text


def test_every_link_has_its_section():
  text = make_page()
  for name in ("first", "second"):
    assert f'<section id="{name}">' in text


@pytest.mark.parametrize("name", ["<script>x</script>", 'a"b', "a & b <c>"])
def test_names_are_escaped_everywhere(name):
  figure = page.Figure(PIXEL, "png", name, name)
  text = make_page(
    name,
    page.figure(figure)
    + page.table([[name], [name]])
    + page.pairs([(name, name)])
    + page.tiles([(name, name, name)])
    + page.commands([(name, name)])
    + page.export_section({name: name, "rows": [{name: name}]}, 1),
  )
  assert name not in text
  assert "script" not in links(text).tags


def test_export_check_shows_what_is_there():
  check = {
    "passed": True,
    "max_abs_difference": 1.25e-6,
    "keys": {"missing": [], "unexpected": ["a.b"]},
    "comparisons": [
      {"input": "random", "size": [64, 48], "cls": 1e-6},
      {"input": "photographs", "cls": float("nan")},
    ],
    "versions": {"torch": "2.9"},
    "step": 60,
  }
  text = page.export_section(check, 60)
  for part in ("passed", "1.25e-06", "keys.missing", "none", "a.b", "64, 48"):
    assert part in text
  assert "photographs" in text and "nan" in text and "2.9" in text
  assert "again" not in text
  assert "again" in page.export_section(check, 80)


@pytest.mark.parametrize(
  "check", [[], {}, "text", 3, [1, [2]], {"passed": "yes"}, [{"a": {"b": 1}}]]
)
def test_export_check_of_any_shape_is_rendered(check):
  assert "<table>" in page.export_section(check, 1)
  assert export_check.verdict(check) is None


def test_missing_export_check_says_so():
  assert "Not run yet" in page.export_section(None, 1)


def test_failed_export_check_says_so():
  assert re.search("bad.*failed", page.export_section({"passed": False}, 1))


def test_long_commands_break_before_flags():
  command = "python -m x " + " ".join(f"--flag{i}=value" for i in range(9))
  folded = page.fold(command)
  assert max(map(len, folded.splitlines())) < 88
  assert folded.replace(" \\\n  ", " ") == command
  assert page.fold("python -m x --a=b") == "python -m x --a=b"
