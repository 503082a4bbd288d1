"""The page: plain data to one HTML file that needs nothing else.

How it looks is in page.html, which shows the fields of a section in their
order; all text is escaped there.
"""

import base64
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import jinja2
from PIL import Image

from sapiens2_jax.report import colors, pictures
from sapiens2_jax.report.pictures import Sheet

Rows = Sequence[Sequence[str]]
Element = tuple[str, Mapping[str, object], str]  # tag, attributes, text


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture in the page."""

  picture: Sheet | bytes  # tiles, or an SVG file
  text: str  # what is seen, for those who cannot see it
  caption: str = ""  # below the picture
  title: str = ""  # above it
  is_small: bool = False  # whether others may stand beside it


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of texts under a header, with a title above; each may be empty."""

  rows: Rows
  header: Sequence[str] = ()
  title: str = ""


@dataclasses.dataclass(frozen=True)
class Card:
  """Pictures side by side that are files beside the page."""

  pictures: Rows  # (what is seen, path); they lead to the first of the links
  caption: str  # below
  links: Rows  # (name, path)


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What was found, in a sentence made from measured numbers."""

  text: str
  is_good: bool | None = None  # None: in part, or nothing can be said


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the page, and what it says elsewhere."""

  name: str  # of its anchor, and of its pictures beside the page
  title: str  # above it
  _: dataclasses.KW_ONLY
  is_folded: bool = False  # whether only the title is seen at first
  verdict: Verdict | None = None  # with it, the section leads the page
  passed: bool | None = None  # whether a check passed, None if there was none
  warnings: Sequence[str] = ()  # paragraphs
  text: Sequence[str] = ()  # paragraphs
  tiles: Rows = ()  # key numbers, (name, value, what to compare it with)
  facts: Rows = ()  # (name, value)
  tables: Sequence[Table] = ()  # one below another
  # What colours mean, (name, (red, green, blue)).
  legend: Sequence[tuple[str, Sequence[int]]] = ()
  figures: Sequence[Figure] = ()  # one below another
  commands: Rows = ()  # to copy, (why, command)
  files: Rows = ()  # to read as they are, (name, text)
  cards: Sequence[Card] = ()  # as many a row as fit
  key_numbers: Rows = ()  # tiles for the section of the run
  line: str = ""  # for the console, "" for none
  numbers: dict | None = None  # for summary.json, None if not known


def fold(command: str, width: int = 88) -> str:
  """Breaks a long command before its flags, so that it can be copied."""
  if len(command) <= width:
    return command
  return command.replace(" --", " \\\n  --")


def _data_url(picture: Image.Image | bytes) -> str:
  is_svg = isinstance(picture, bytes)
  data = colors.follow_page(picture) if is_svg else pictures.to_webp(picture)
  kind = "svg+xml" if is_svg else "webp"
  return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


_TEMPLATE = pathlib.Path(__file__).with_name("page.html")
_PLOT = pathlib.Path(__file__).with_name("plot.svg")


@functools.cache
def _load(template: pathlib.Path) -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader([template.parent, _TEMPLATE.parent]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters.update(
    fold=fold, data_url=_data_url, in_the_dark=colors.in_the_dark
  )
  environment.tests["svg"] = lambda picture: isinstance(picture, bytes)
  return environment.get_template(template.name)


def render(
  title: str,
  subtitle: str,
  sections: Sequence[Section],
  template: pathlib.Path = _TEMPLATE,
  **values: object,
) -> str:
  """The whole document.

  Args:
    title, subtitle, sections: of the page.
    template: one that extends page.html, if it shows more.
    **values: for such a template.
  """
  return _load(template).render(
    title=title, subtitle=subtitle, sections=sections, **values
  )


def render_svg(elements: Sequence[Element], width: int, height: int) -> bytes:
  """An SVG file of its elements, for a figure."""
  size = {"width": width, "height": height}
  return _load(_PLOT).render(elements=elements, **size).encode()
