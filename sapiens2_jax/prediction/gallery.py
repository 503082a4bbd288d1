"""The page beside predictions: each image and what was found in it."""

import urllib.parse

from data_pipelines import vocabulary
from data_pipelines.common.progress import format_seconds
from sapiens2_jax.prediction.run import Predicted, Predictions
from sapiens2_jax.report import page
from sapiens2_jax.report.page import Section, escape

# What the colours of a picture mean, and what is in the files.
NOTES = {
  "pose": "Keypoints that score 0.3 or more, and the links between them. "
  "keypoints/*.json is a list of people: bbox (x0, y0, x1, y1), 308 keypoints "
  "(x, y) and keypoint_scores, in pixels of the image.",
  "segmentation": "Each part in its colour over the image. parts/*.png holds "
  "the number of a class in each pixel.",
  "normal": "Red is to the right, green up, blue towards the camera. "
  "normals/*.npy is (h, w, 3) float16. The model has learned people; what is "
  "around them means nothing.",
  "pointmap": "Bright is near. depth/*.npy is (h, w), pointmaps/*.npy "
  "(h, w, 3): right, down and away from the camera in metres, float16. The "
  "model has learned people; what is around them means nothing.",
  "albedo": "The colour of surfaces without light, in predictions/*.png. The "
  "model has learned people; what is around them means nothing.",
  "matting": "People before a checkerboard. mattes/*.png holds their colour "
  "and, as alpha, how much of a pixel they cover.",
}


def write_gallery(
  task: str, facts: list[tuple[str, str]], found: Predictions
) -> str:
  """The HTML page; its pictures are files beside it.

  Args:
    task: name of the task.
    facts: what is known of model and images.
    found: of all images.
  """
  count = len(found.done)
  rate = count / found.seconds if found.seconds else 0.0
  facts = [
    *facts,
    ("images", f"{count:,}"),
    ("left out", f"{len(found.skipped):,}"),
    ("time", f"{format_seconds(found.seconds)}, {rate:.2g} images/s"),
  ]
  body = page.paragraph(NOTES.get(task, ""))
  if task == "segmentation":
    body += _legend()
  body += f'<div class="gallery">{"".join(map(_card, found.done))}</div>'
  sections = [
    Section("facts", "Facts", page.pairs(facts)),
    Section("predictions", "Predictions", body),
  ]
  if found.skipped:
    rows = [("image", "reason"), *found.skipped]
    sections.append(Section("skipped", "Left out", page.table(rows)))
  return page.page(f"sapiens2_jax, {task}", f"{count:,} images", sections)


def _card(item: Predicted) -> str:
  """Input beside prediction, and links to the files."""
  height, width = item.size
  pictures = "".join(
    f'<a href="{_link(item.files[0])}"><img loading="lazy" '
    f'alt="{escape(f"{what} {item.name}")}" src="{_link(path)}"></a>'
    for what, path in (("input", item.input), ("prediction", item.picture))
  )
  links = ", ".join(
    f'<a href="{_link(path)}">{escape(path.partition("/")[0])}</a>'
    for path in item.files
  )
  return (
    f'<figure><div class="pair">{pictures}</div><figcaption>'
    f"{escape(item.name)}, {width} × {height} pixels: {links}"
    "</figcaption></figure>"
  )


def _legend() -> str:
  """The colours of the parts."""
  known = vocabulary.parts()
  items = "".join(
    f'<li><span style="background: rgb{tuple(color)}"></span>'
    f"{escape(name.replace('_', ' '))}</li>"
    for name, color in list(zip(known["names"], known["palette_rgb"]))[1:]
  )
  return f'<ul class="legend">{items}</ul>'


def _link(path: str) -> str:
  return urllib.parse.quote(path)
