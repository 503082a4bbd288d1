"""What an objective adds to the report of a run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from PIL import Image

from sapiens2_jax.report.metrics import Note
from sapiens2_jax.report.page import Section
from sapiens2_jax.report.photographs import Credit
from sapiens2_jax.report.run import Run


@dataclasses.dataclass(frozen=True)
class Contents:
  """What an objective adds.

  Attributes:
    title: of the page.
    experiment: file and arguments that `--config` of such a run names.
    facts: of the run, (name, value).
    sections: in the order of the page.
    notes: what is known of metrics, by their names; any may be missing.
    commands: what to run next, (why, command), beside what fits every run.
    pictures: by file name without ending, written beside the page.
    credits: of the photographs that were read.
    missing: what is not there or not as usual, "" if all is.
    can_export: whether the model can be exported.
  """

  title: str
  experiment: str
  facts: Sequence[tuple[str, str]]
  sections: Sequence[Section]
  notes: Mapping[str, Note]
  commands: Sequence[tuple[str, str]]
  pictures: Mapping[str, Image.Image]
  credits: Sequence[Credit]
  missing: str
  can_export: bool = True


# What `Objective.report` returns; it takes the run, the photographs to look
# at (None: those of the run), and how many of them are read, at most.
MakeContents = Callable[[Run, str | None, int], Contents]
