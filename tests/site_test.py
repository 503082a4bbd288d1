"""The documentation: its links in the repository, and the site made of it."""

import html.parser
import os
import pathlib
import re
import runpy
import subprocess
import sys
import urllib.parse

import pytest
from pymdownx import slugs

from tests import extras_test

ROOT = pathlib.Path(__file__).parents[1]
HOOK = runpy.run_path(str(ROOT / "launch" / "docs.py"))
PAGES = sorted(
  [
    *ROOT.glob("docs/*.md"),
    *(ROOT / name for name in HOOK["COPIES"].values()),
  ]
)
slugify = slugs.slugify(case="lower")


def anchors(path: pathlib.Path) -> set[str]:
  """What GitHub makes of the headings of a page."""
  text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
  return {slugify(name, "-") for name in re.findall(r"^#+ (.*)", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_repository_lead_somewhere(page):
  for link in HOOK["find_links"](page.read_text()):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists(), link
    assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_starts_with_a_sentence_that_says_what_it_is(page):
  found = HOOK["first_sentence"](page.read_text())
  assert found.endswith(".") and len(found) < 160, found


def test_pages_made_from_code_need_no_extra_but_docs():
  done = extras_test.run(
    "import runpy\n"
    "made = runpy.run_path(sys.argv[1])\n"
    "print(len(made['list_verbs']()), len(made['list_fields']()))",
    ROOT / "launch" / "docs.py",
  )
  assert done.returncode == 0, done.stderr


class Links(html.parser.HTMLParser):
  """What a page of the site asks for, where it leads, and its anchors."""

  def __init__(self, path: pathlib.Path):
    super().__init__()
    self.anchors, self.asked, self.links = set(), [], []
    self.feed(path.read_text())

  def handle_starttag(self, tag, attributes):
    given = dict(attributes)
    self.anchors |= {given.get("id"), given.get("name")}
    target = given.get("src") or given.get("href")
    # "." is the home of the 404 page.
    if target and target != "." and not target.startswith("data:"):
      (self.links if tag == "a" else self.asked).append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  path = tmp_path_factory.mktemp("site")
  done = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--site-dir", path],
    cwd=ROOT,
    env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr  # --strict of mkdocs.yml.
  return path


@pytest.mark.slow
def test_the_site_is_whole_and_asks_no_other_server(site):
  pages = {path: Links(path) for path in site.rglob("*.html")}
  for path, page in pages.items():
    for link in page.asked + page.links:
      if path.name == "404.html" or ":" in link:
        assert link not in page.asked or path.name == "404.html", link
        continue
      target, _, anchor = urllib.parse.unquote(link).partition("#")
      at = (path.parent / target).resolve() if target else path
      assert at.is_file(), (path, link)
      if anchor and at in pages:
        assert anchor in pages[at].anchors, (path, link)


@pytest.mark.slow
def test_the_site_has_what_the_code_says(site):
  def read(name: str) -> str:
    return re.sub(r"<[^>]*>", "", (site / name).read_text())

  reference = html.unescape(read("reference.html"))
  assert 'Float[Array, "b h w 3"]' in reference
  assert "multiples of 16" in reference  # A docstring.
  assert "sapiens2 corpus build --input" in read("verbs.html")
  assert "optim.peak_lr=" in read("fields.html")
  assert "degrees off in the mean" in read("first_steps.html")
  assert "class Task" in read("source/sapiens2_jax/tasks/base.py.html")


@pytest.mark.slow
def test_llms_txt_lists_every_page_with_a_sentence(site):
  lines = re.findall(
    r"^- \[.+\]\((.+)\): (.+)", (site / "llms.txt").read_text(), re.M
  )
  listed = {name: about for name, about in lines}
  assert set(listed) == {path.name for path in site.glob("*.html")} - {
    "404.html"
  }
  assert all(about.endswith(".") for about in listed.values())
