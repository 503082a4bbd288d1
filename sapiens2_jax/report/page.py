"""The page: one HTML file that needs nothing else."""

import base64
import dataclasses
import html
from collections.abc import Sequence

from sapiens2_jax.report import export_check
from sapiens2_jax.report.style import CSS

MIME = {"png": "image/png", "svg": "image/svg+xml"}


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture in the page.

  Attributes:
    data: the file.
    kind: "png" or "svg".
    text: what is seen, for those who cannot see it.
    caption: below the picture.
  """

  data: bytes
  kind: str
  text: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the page; bodies are HTML, all else is text."""

  name: str
  title: str
  body: str


def escape(text: object) -> str:
  return html.escape(str(text), quote=True)


def figure(item: Figure) -> str:
  """A picture as HTML with the file inside."""
  data = base64.b64encode(item.data).decode()
  return (
    f'<figure><img alt="{escape(item.text)}" '
    f'src="data:{MIME[item.kind]};base64,{data}">'
    f"<figcaption>{escape(item.caption)}</figcaption></figure>"
  )


def paragraph(text: str, kind: str = "") -> str:
  start = f'<p class="{kind}">' if kind else "<p>"
  return f"{start}{escape(text)}</p>"


def pairs(items: Sequence[tuple[str, str]]) -> str:
  """Name and value pairs in columns."""
  cells = "".join(
    f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    for name, value in items
  )
  return f'<dl class="facts">{cells}</dl>'


def tiles(items: Sequence[tuple[str, str, str]]) -> str:
  """Key numbers: (name, value, what to compare it with)."""
  cells = "".join(
    f'<div class="tile"><div class="name">{escape(name)}</div>'
    f'<div class="value">{escape(value)}</div>'
    f'<div class="note">{escape(note)}</div></div>'
    for name, value, note in items
  )
  return f'<div class="tiles">{cells}</div>'


def table(rows: Sequence[Sequence[str]], header: bool = True) -> str:
  """Rows of texts; the first one heads the columns if `header`."""
  parts = []
  for number, row in enumerate(rows):
    tag = "th" if header and number == 0 else "td"
    cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
    parts.append(f"<tr>{cells}</tr>")
  return f'<div class="wide"><table>{"".join(parts)}</table></div>'


def fold(command: str, width: int = 88) -> str:
  """Breaks a long command before its flags, so that it can be copied."""
  if len(command) <= width:
    return command
  return command.replace(" --", " \\\n  --")


def commands(items: Sequence[tuple[str, str]]) -> str:
  """Commands to copy, each with its reason above."""
  return "".join(
    f"{paragraph(why + ':', 'why')}<pre><code>{escape(fold(line))}</code></pre>"
    for why, line in items
  )


def export_section(check: object, step: int) -> str:
  """The export check, or that there is none."""
  if check is None:
    return paragraph("Not run yet. The command is in the last section.")
  passed = export_check.verdict(check)
  parts = []
  if passed is not None:
    kind, word = ("good", "passed") if passed else ("bad", "failed")
    parts.append(f'<p><span class="badge {kind}">{word}</span></p>')
  saved = check.get("step") if isinstance(check, dict) else None
  if isinstance(saved, int) and saved != step:
    parts.append(
      paragraph(
        f"The check is of step {saved}, this report of step {step}: export "
        "and check again.",
        "warning",
      )
    )
  for name, rows in export_check.tables(check):
    parts += [paragraph(name, "why"), table(rows)]
  parts.append(table(list(export_check.rows(check)), header=False))
  return "".join(parts)


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
  """The whole document."""
  links = "".join(
    f'<a href="#{escape(s.name)}">{escape(s.title)}</a>' for s in sections
  )
  body = "".join(
    f'<section id="{escape(s.name)}"><h2>{escape(s.title)}</h2>{s.body}'
    "</section>"
    for s in sections
  )
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>"
    f"<header><h1>{escape(title)}</h1>"
    f'<p class="subtitle">{escape(subtitle)}</p><nav>{links}</nav></header>'
    f"{body}</main></body></html>\n"
  )
