"""Photographs that a report looks at: which, and whom they are by."""

from collections.abc import Sequence

from data_pipelines.corpus.records import Record
from sapiens2_jax.report.page import Section, Table

Credit = tuple[str, str, str, str]


def choose(num_records: int, count: int) -> list[int]:
  """At most `count` record numbers, evenly spread over all records."""
  count = min(count, num_records)
  return [i * num_records // count for i in range(count)]


def credit(record: Record) -> Credit:
  """Name, by, licence, from; `-` where nothing is known."""
  known = record.name, record.attribution, record.licence, record.source
  return tuple(text or "-" for text in known)


def make_section(credits: Sequence[Credit]) -> Section:
  """Whom the photographs are by."""
  name, title = "photographs", "Photographs"
  if not credits:
    return Section(name, title, text=["None could be read."])
  lead = (
    f"{len(credits)} photographs were read for this report; what their records "
    "say of them:"
  )
  table = Table(credits, ("name", "by", "licence", "from"))
  return Section(name, title, is_folded=True, text=[lead], tables=[table])
