"""What every page of ours must be; used by the tests of each of them."""

import html.parser
import re

MAX_BYTES = 3_000_000
_VOID = {"meta", "link", "img", "br", "input", "hr"}
_LANDMARKS = ("header", "nav", "main")


class Page(html.parser.HTMLParser):
  """Collects everything that a browser would load, follow or show.

  Attributes:
    links: of src, href and srcset.
    tags: in their order.
    attributes: names.
    texts: that are shown or read out.
    problems: of markup.
  """

  def __init__(self, text):
    super().__init__()
    self.links, self.tags, self.attributes, self.texts = [], [], set(), []
    self.problems, self.ids, self.headings = [], [], []
    self._open = []
    self.feed(text)
    self.close()
    self.problems += [f"<{tag}> is not closed" for tag in self._open]

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    if len(given) < len(attrs):
      self.problems.append(f"<{tag}> has an attribute twice")
    self.tags.append(tag)
    self.attributes |= set(given)
    self.links += [v for k, v in attrs if k in ("src", "href", "srcset")]
    self.texts += [v for k, v in attrs if k == "alt"]
    self.ids += [v for k, v in attrs if k == "id"]
    if tag not in _VOID:
      self._open.append(tag)
    if re.fullmatch("h[1-6]", tag):
      self.headings.append(int(tag[1]))
    if tag == "img" and not given.get("alt"):
      self.problems.append("an <img> has no alt text")
    if given.get("tabindex") == "0" and not given.get("aria-label"):
      self.problems.append(f"<{tag}> takes the focus and has no name")
    if tag == "th" and "scope" not in given:
      self.problems.append("a <th> has no scope")

  def handle_endtag(self, tag):
    if not self._open or self._open.pop() != tag:
      self.problems.append(f"</{tag}> closes something else")

  def handle_data(self, data):
    self.texts.append(data)


def check_page(text, beside=()):
  """Markup, names, order of headings, size; nothing from outside.

  Args:
    text: of the page.
    beside: beginnings of links to files that lie beside the page.
  """
  page = Page(text)
  assert not page.problems, page.problems
  assert len(set(page.ids)) == len(page.ids), page.ids
  assert page.tags.count("h1") == 1 and page.headings[0] == 1
  steps = zip(page.headings, page.headings[1:])
  assert all(after <= before + 1 for before, after in steps), page.headings
  for landmark in _LANDMARKS:
    assert page.tags.count(landmark) == 1, landmark
  inside = ("data:image/", "#", *beside)
  for link in page.links:
    assert link.startswith(inside), link[:100]
    if link.startswith("#"):
      assert link[1:] in page.ids, link
  assert "@import" not in text and "url(" not in text
  assert '<html lang="en">' in text and "prefers-color-scheme: dark" in text
  assert 'name="viewport"' in text
  assert len(text.encode()) < MAX_BYTES
  return page
