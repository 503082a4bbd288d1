r"""Shows a curation; proposes limits from a reviewer's marks.

    sapiens2 corpus audit --data curated/ --output page.html
    sapiens2 corpus audit --data curated/ --calibrate marks.json

curated/ is what `sapiens2 corpus curate` wrote. The page is one file with
everything inside, also the images: think of who may see them. Images are read
from the pool where it was; what is gone there is shown by its name.
"""

from absl import flags

from data_pipelines.common.files import write_file
from sapiens2_jax import command
from sapiens2_jax.audit import calibration
from sapiens2_jax.audit.curation import Curation
from sapiens2_jax.audit.marks import read_marks
from sapiens2_jax.audit.page import Page

_DATA = flags.DEFINE_string("data", None, "Output of corpus curate")
_OUTPUT = flags.DEFINE_string("output", None, "HTML file to write.")
_TILES = flags.DEFINE_integer(
  "tiles", 24, "Images on each side of a limit.", lower_bound=1
)
_CALIBRATE = flags.DEFINE_string(
  "calibrate", None, "Marks that were saved in the page."
)


def main() -> None:
  if (_OUTPUT.value is None) == (_CALIBRATE.value is None):
    raise ValueError("expected one of --output and --calibrate.")
  curation = Curation(_DATA.value)
  if _CALIBRATE.value is not None:
    print(calibrate(curation, _CALIBRATE.value))
    return
  page = Page(curation, _TILES.value)
  data = page.render().encode()
  write_file(_OUTPUT.value, data)
  gone = f", {page.num_missing} not there any more" if page.num_missing else ""
  size = f"{len(data) / 1e6:.1f} MB"
  print(f"{_OUTPUT.value}: {size}, {page.num_images} images{gone}")


def calibrate(curation: Curation, path: str) -> str:
  """What the marks of a file say of each limit, and the overrides."""
  marks = read_marks(path, curation)
  proposals = [
    calibration.propose(threshold, marks[threshold.field])
    for threshold in curation.thresholds
    if threshold.field in marks and len(marks[threshold.field].values)
  ]
  if not proposals:
    raise ValueError(f"{path}: nothing is marked.")
  lines = [calibration.format_proposal(proposal) for proposal in proposals]
  given = calibration.overrides(proposals)
  lines.append(f"overrides\n  {given}" if given else "No limit is proposed.")
  return "\n".join(lines)


def run() -> None:
  command.run(main, "data")


if __name__ == "__main__":
  run()
