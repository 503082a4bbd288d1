"""Scorers by name; each module is imported when its scorer is asked for."""

from __future__ import annotations

import importlib

from data_pipelines.curation.scorers.base import Scorer

# Name -> module:class. The order is that of cost, the cheapest first.
SCORERS = {
  "quality": "data_pipelines.curation.scorers.quality:Quality",
  "hashes": "data_pipelines.curation.scorers.hashes:Hashes",
  "person": "data_pipelines.curation.scorers.person:PersonScorer",
  "face": "data_pipelines.curation.scorers.face:FaceScorer",
  "mask": "data_pipelines.curation.scorers.mask:MaskScorer",
  "render": "data_pipelines.curation.scorers.render:RenderScorer",
  "safety": "data_pipelines.curation.scorers.safety:SafetyScorer",
  "text": "data_pipelines.curation.scorers.text:TextScorer",
}


def make_scorer(name: str, **options) -> Scorer:
  """Makes a scorer; it opens nothing before `load`.

  Raises:
    ValueError: no scorer has this name; the known ones are listed.
  """
  if name not in SCORERS:
    raise ValueError(f"{name!r} is no scorer; known: {', '.join(SCORERS)}.")
  module, _, attribute = SCORERS[name].partition(":")
  return getattr(importlib.import_module(module), attribute)(**options)
