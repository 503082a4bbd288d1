import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sapiens2_jax.report import export_check, page
from sapiens2_jax.report.page import Card, Figure, Section, Table, Verdict
from sapiens2_jax.report.pictures import Sheet, Tile
from tests.report.pages import Page, check_page

PIXEL = Image.new("RGB", (1, 1))
SHEET = Sheet([[Tile(PIXEL, "a label", text="a pixel")]])


def full_section(text, name="all", is_folded=False):
  """A section with `text` wherever there can be one."""
  return Section(
    name,
    text,
    is_folded=is_folded,
    verdict=Verdict(text, True),
    passed=True,
    warnings=[text],
    text=[text],
    tiles=[(text, text, text)],
    facts=[(text, text)],
    tables=[Table([[text]], [text], text)],
    figures=[
      Figure(Sheet([[Tile(PIXEL, text, text=text)]]), text, text, text),
      Figure(b"<svg></svg>", text, text, text),
      Figure(b"<svg></svg>", text, text, text, is_small=True),
    ],
    commands=[(text, text)],
    files=[(text, text)],
    legend=[(text, (1, 2, 3))],
    cards=[Card([(text, f"a/{text}")], text, [(text, f"b/{text}")])],
  )


def render(*sections, title="run"):
  return page.render(title, "subtitle", sections)


def test_page_loads_nothing_from_outside():
  figure = Figure(SHEET, "a picture", "what is seen")
  text = render(
    Section("first", "First", text=["body"]),
    Section("second", "Second", figures=[figure]),
  )
  found = check_page(text)
  assert found.links == ["#main", "#first", "#second", found.links[-1]]
  assert found.links[-1].startswith("data:image/webp;base64,")
  assert not {"script", "link", "iframe"} & set(found.tags)
  for name in ("first", "second"):
    assert f'<section id="{name}">' in text


@pytest.mark.parametrize("is_folded", [False, True])
def test_everything_a_section_can_have_is_a_valid_page(is_folded):
  plain = full_section("x", is_folded=is_folded)
  found = check_page(render(plain, Section("more", "More")), ("a/", "b/"))
  assert found.tags.count("img") == 4 and found.texts.count("x") > 15
  assert ("details" in found.tags) == is_folded


@pytest.mark.parametrize(
  "is_good, look", [(True, "good"), (False, "bad"), (None, "")]
)
def test_the_verdict_leads_the_page_and_is_not_in_the_list(is_good, look):
  lead = Section("short", "In short", verdict=Verdict("It has.", is_good))
  text = render(lead, Section("more", "More"))
  assert f'<p class="verdict {look}">It has.</p>' in text
  assert "#short" not in check_page(text).links


def test_a_problem_of_markup_is_seen():
  whole = render(Section("first", "First", figures=[Figure(SHEET, "seen")]))
  for before, after in (
    ('alt="a pixel"', 'alt=""'),
    ("</section>", ""),
    ('id="first"', 'id="main"'),
    ("<h2>First</h2>", "<h3>First</h3>"),
    ("data:image/webp", "https://example.org"),
  ):
    assert before in whole
    with pytest.raises(AssertionError):
      check_page(whole.replace(before, after))


def test_sections_show_no_more_than_they_have():
  tags = Page(render(Section("first", "First"))).tags
  assert not {"p", "div", "dl", "table", "figure", "pre", "ul"} & set(
    tags[tags.index("section") :]
  )


@pytest.mark.parametrize("name", ["<script>x</script>", 'a"b', "a & b <c>"])
def test_names_are_escaped_everywhere(name):
  check = export_check.make_section({name: name, "rows": [{name: name}]}, 1)
  text = render(full_section(name), check, title=name)
  assert name not in text
  assert "script" not in Page(text).tags


HOSTILE = st.text("<>&\"'`/=!-{}%#; \u00e9\u2026abcscript", min_size=1)


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_no_text_becomes_markup_and_none_is_lost(text):
  harmless = Page(render(full_section("x"), title="x"))
  found = Page(render(full_section(text), title=text))
  assert found.tags == harmless.tags
  assert found.attributes == harmless.attributes
  places = sum("x" in shown for shown in harmless.texts)
  kept = sum(text in shown for shown in found.texts)
  # A command may be broken before its flags.
  assert kept >= places - 1
  outside = [link for link in found.links if link[0] not in "#ab"]
  assert all(link.startswith("data:image/") for link in outside)


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
  text = render(export_check.make_section(check, 60))
  for part in ("passed", "1.25e-06", "keys.missing", "none", "a.b", "64, 48"):
    assert part in text
  assert "photographs" in text and "nan" in text and "2.9" in text
  assert "again" not in text
  assert "again" in render(export_check.make_section(check, 80))


@pytest.mark.parametrize(
  "check", [[], {}, "text", 3, [1, [2]], {"passed": "yes"}, [{"a": {"b": 1}}]]
)
def test_export_check_of_any_shape_is_rendered(check):
  assert "<table>" in render(export_check.make_section(check, 1))
  assert export_check.verdict(check) is None
  assert export_check.make_tile(check)[1] == "see below"


def test_missing_export_check_says_so():
  assert "Not run yet" in render(export_check.make_section(None, 1))
  assert export_check.make_tile(None)[1] == "not run"


@pytest.mark.parametrize("passed, word", [(True, "good"), (False, "bad")])
def test_the_verdict_of_the_export_check_is_shown(passed, word):
  text = render(export_check.make_section({"passed": passed}, 1))
  assert f'class="badge {word}"' in text


def test_long_commands_break_before_flags():
  command = "python -m x " + " ".join(f"--flag{i}=value" for i in range(9))
  folded = page.fold(command)
  assert max(map(len, folded.splitlines())) < 88
  assert folded.replace(" \\\n  ", " ") == command
  assert page.fold("python -m x --a=b") == "python -m x --a=b"
