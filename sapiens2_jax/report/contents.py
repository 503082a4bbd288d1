"""What the page says: sections with captions, from numbers and pictures."""

import math

from sapiens2_jax.report import export_check, facts, page
from sapiens2_jax.report.analysis import Findings, Retrieval
from sapiens2_jax.report.facts import show
from sapiens2_jax.report.page import Figure, Section
from sapiens2_jax.report.photographs import Photograph
from sapiens2_jax.report.run import Run, ends


def write_page(
  run: Run,
  num_records: int | None,
  findings: Findings | None,
  found: list[Photograph],
  missing: str,
  curves: dict[str, bytes],
  pictures: dict[str, bytes],
) -> str:
  """Puts everything together.

  Args:
    run: facts.
    num_records: photographs in the run's data source, None if not known.
    findings: on photographs, None if there are none.
    found: the photographs that were read.
    missing: what is not there or not as usual, "" if all is.
    curves: SVG files by name.
    pictures: PNG files by name.
  """
  sections = [
    _overview(run, num_records, findings, missing),
    _curves(run, findings, curves),
  ]
  if findings is not None:
    sections += [
      _reconstruction(findings, pictures["reconstruction"]),
      _components(findings, pictures["components"]),
      _neighbors(findings.retrieval, pictures["neighbors"]),
    ]
  else:
    absent = page.paragraph(missing, "warning")
    sections += [
      Section("reconstruction", "Reconstruction", absent),
      Section("features", "Patch features", absent),
      Section("neighbors", "Nearest neighbours", absent),
    ]
  sections += [
    Section(
      "export",
      "Export check",
      page.export_section(run.export_check, run.step),
    ),
    Section("next", "Next", page.commands(facts.next_commands(run))),
    photographs_section(found),
  ]
  subtitle = (
    f"step {run.step:,} of {run.config.optim.num_steps:,}, {run.workdir}"
  )
  return page.page(
    f"sapiens2_jax pretraining, size {run.config.model.size}",
    subtitle,
    sections,
  )


def _overview(
  run: Run, num_records: int | None, findings: Findings | None, missing: str
) -> Section:
  first, last = ends(run.metrics, "loss_mae")
  entropy = ends(run.metrics, "teacher_entropy")[1]
  rank = ends(run.metrics, "rank_me")[1]
  loss_note, retrieval = "no photographs to compare with", None
  if findings is not None:
    baseline = findings.reconstruction.training_baseline
    loss_note = f"{baseline:.3f} for patch means; first step {show(first)}"
    retrieval = findings.retrieval
  tiles = [
    ("Reconstruction loss", show(last), loss_note),
    (
      "Same photograph found",
      show(retrieval.share if retrieval else None, "{:.0%}"),
      f"{show(retrieval.random_share, '{:.0%}')} with random weights, "
      f"{show(retrieval.chance, '{:.0%}')} by chance"
      if retrieval
      else "no photographs",
    ),
    ("RankMe", show(rank, "{:.1f}"), f"between 1 and {run.rank_max}"),
    (
      "Teacher entropy",
      show(entropy),
      f"between 0 and log K = {math.log(run.num_prototypes):.3f} nats",
    ),
    ("Export check", _export_word(run), "in PyTorch, with transformers"),
  ]
  body = page.tiles(tiles) + page.pairs(facts.header(run, num_records))
  if missing:
    body += page.paragraph(missing, "warning")
  return Section("run", "The run", body)


def _export_word(run: Run) -> str:
  if run.export_check is None:
    return "not run"
  words = {True: "passed", False: "failed", None: "see below"}
  return words[export_check.verdict(run.export_check)]


def _curves(
  run: Run, findings: Findings | None, curves: dict[str, bytes]
) -> Section:
  losses = (
    "The objective and its terms; the number at the top right is the last "
    "value. loss_mae is the mean squared error of masked patches in "
    "normalised pixels."
  )
  if findings is not None:
    losses += (
      " Its dashed line is the loss of predicting each patch's own mean, "
      "measured on crops and masks that training drew: a model that learns "
      "falls below it."
    )
  losses += (
    " loss_cl is a cross-entropy over K prototypes; log K is what a student "
    "that tells nothing apart would have. loss_koleo is minus the mean log "
    "distance to the nearest other image: lower is further apart."
  )
  collapse = (
    "Signs of collapse. Teacher entropy at 0 (always one prototype) or at "
    "log K (all prototypes alike) means that the teacher teaches nothing. "
    "RankMe is the effective number of dimensions of [cls], measured on "
    f"at most {run.rank_max} images, so it cannot exceed {run.rank_max}; "
    "falling towards 1 is collapse. Feature std is 1 when features are spread "
    "evenly over the sphere and 0 when all are the same."
  )
  speed = (
    "Gradient norm before clipping at "
    f"{run.config.optim.clip_norm:g}, learning rate, throughput (the first "
    "value contains compilation), and the share of time in which the step "
    "waited for data, which should be near 0."
  )
  texts = {"losses": losses, "collapse": collapse, "speed": speed}
  body = "".join(
    page.figure(
      Figure(curves[name], "svg", f"Curves over steps: {name}", caption)
    )
    for name, caption in texts.items()
  )
  if not run.metrics:
    body = page.paragraph("No metrics were logged yet.", "warning") + body
  return Section("curves", "Curves", body)


def _reconstruction(findings: Findings, picture: bytes) -> Section:
  found = findings.reconstruction
  rows = [
    ("masked patches of", "student", "patch means", "ratio"),
    *(
      (name, f"{loss:.3f}", f"{mean:.3f}", f"{loss / mean:.2f}")
      for name, loss, mean in (
        (
          f"the {len(found.losses)} photographs below",
          found.losses.mean(),
          found.baselines.mean(),
        ),
        (
          "random crops, as in training",
          found.training_loss,
          found.training_baseline,
        ),
      )
    ),
  ]
  caption = (
    "For each photograph: the centre crop at the size of training; the "
    "patches that the student's encoder sees, all others gray; each masked "
    "patch filled with its own mean (one number for all three channels, "
    "hence gray); the reconstruction. The student "
    "predicts normalised patches, so the mean and the standard deviation of "
    "each true patch are put back, and visible patches are pasted from the "
    "image: brightness and contrast of a patch are given, its content is "
    "predicted. The numbers are the loss on masked patches. "
    "Photographs of the run's own data were trained on."
  )
  text = "Rows of photographs: image, masked image, patch means, reconstruction"
  return Section(
    "reconstruction",
    "Reconstruction",
    page.table(rows) + page.figure(Figure(picture, "png", text, caption)),
  )


def _components(findings: Findings, picture: bytes) -> Section:
  found = findings.components
  shares = ", ".join(f"{share:.0%}" for share in found.explained)
  height, width = found.input_size
  caption = (
    "Patch features of the teacher's encoder on whole photographs, resized "
    f"to {height} x {width} pixels (wide ones to {width} x {height}), beside "
    "the photograph. Red, green and blue are the first three principal "
    "components over all these photographs together, which explain "
    f"{shares} of the variance ({found.explained.sum():.0%} in all). "
    "Patches of one thing in one colour, also across photographs, are what "
    "good features show; smooth colours that only follow the position or "
    "the brightness are what little training shows."
  )
  text = "Photographs beside their patch features in false colours"
  return Section(
    "features",
    "Patch features",
    page.figure(Figure(picture, "png", text, caption)),
  )


def _neighbors(found: Retrieval, picture: bytes) -> Section:
  low, high = found.area
  lead = (
    f"Of {len(found.crops)} random crops ({low:.0%} to {high:.0%} of a "
    f"photograph's area), {show(found.share, '{:.0%}')} have another crop of "
    "the same photograph as their nearest neighbour; "
    f"{show(found.random_share, '{:.0%}')} with the same encoder at random "
    f"weights, {show(found.chance, '{:.0%}')} by chance. RankMe of these "
    f"features is {found.rank_me:.1f} of at most {found.rank_me_max}, "
    f"feature std {found.feature_std:.2f}."
  )
  caption = (
    "One crop of each photograph as query and the four nearest crops, by "
    "cosine similarity (above each) of the teacher's [cls]. Green frames: "
    "same photograph; orange: another one. The gap to random weights, not "
    "to chance, is what training added."
  )
  text = "Query crops and their nearest neighbours"
  return Section(
    "neighbors",
    "Nearest neighbours",
    page.paragraph(lead) + page.figure(Figure(picture, "png", text, caption)),
  )


def photographs_section(found: list[Photograph]) -> Section:
  """Whom the photographs are by."""
  if not found:
    return Section(
      "photographs", "Photographs", page.paragraph("None could be read.")
    )
  rows = [("name", "by", "licence", "from"), *facts.credits(found)]
  lead = (
    f"{len(found)} photographs were read for this report; what their records "
    "say of them:"
  )
  return Section(
    "photographs", "Photographs", page.paragraph(lead) + page.table(rows)
  )
