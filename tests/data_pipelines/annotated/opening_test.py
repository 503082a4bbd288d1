"""Places of labelled images: taken apart, opened, or refused in full."""

import pathlib
import re

import numpy as np
import pytest

from data_pipelines import annotated
from data_pipelines.annotated import folders, keypoints344, matting, opening
from data_pipelines.loading import crops, loader
from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.open_source import open_source
from tests.data_pipelines.annotated import made

SIZE = (12, 16)
DOCS = pathlib.Path(__file__).parents[3] / "docs" / "data.md"


@pytest.fixture
def spec(tmp_path):
  """The text of a spec with one matting image."""
  made.write_pixels(tmp_path / "a.png", np.full((*SIZE, 4), 200, np.uint8))
  (tmp_path / "list.txt").write_text("a.png")
  return f"matting:{tmp_path}/list.txt"


def test_open_source_opens_labelled_images(spec):
  source = open_source(spec)
  assert len(source) == 1
  assert (made.labels_of(source).alpha == 200).all()


def test_other_annotations_of_the_same_images_are_other_data(tmp_path):
  """So a run that goes on with them says so."""
  for name in ("a", "m", "n"):
    made.write_pixels(tmp_path / f"{name}.png", np.zeros(SIZE, np.uint8))
  found = set()
  for mask in ("m.png", "n.png", "m.png"):
    pairs = [{"image": "a.png", "mask": mask}]
    path = made.write_json(tmp_path / "list.json", pairs)
    found.add(open_source(f"matting:{path}").identity())
  assert len(found) == 2


def test_labelled_images_are_mixed_with_weights(spec, photo_folder):
  mixture = open_source(f"{spec},3;{photo_folder},1")
  assert (mixture.sizes, mixture.weights) == ((1, 7), (3, 1))


def test_the_loader_replaces_images_with_bad_labels(tmp_path):
  pairs = []
  for number in range(4):
    made.write_image(tmp_path / f"{number}.png", (64, 48), number)
    made.write_pixels(tmp_path / f"m{number}.png", np.zeros((64, 48), np.uint8))
    pairs.append({"image": f"{number}.png", "mask": f"m{number}.png"})
  (tmp_path / "m2.png").write_bytes(b"nothing")
  path = made.write_json(tmp_path / "list.json", pairs)
  views = crops.CropConfig(global_size=(32, 24), local_size=(16, 20))
  batches = loader.make_loader(
    open_source(f"matting:{path}"),
    loader.LoaderConfig(PretrainExamples(views), global_batch_size=4),
    start_step=0,
    num_steps=3,
  )
  used, skipped = set(), []
  for batch, found in batches:
    used |= set(batch["index"].ravel().tolist())
    skipped += found
  assert used == {0, 1, 3}
  assert {(item.name, item.reason) for item in skipped} == {
    ("2.png", "bad labels")
  }


def test_options_become_arguments(tmp_path):
  name, path, options = annotated.parse_spec(
    "keypoints344:gs://b/l.json, images=i ,keypoints=k,min_visible=3,"
    "min_body=0,keep_grey=true"
  )
  assert (name, path) == ("keypoints344", "gs://b/l.json")
  assert options == {
    **{"images": "i", "keypoints": "k"},
    **{"min_visible": 3, "min_body": 0, "keep_grey": True},
  }
  _, _, options = annotated.parse_spec("folders:d,maps=normal+depth,axes=x-yz")
  assert options == {"maps": ("normal", "depth"), "axes": ("x", "-y", "z")}
  _, _, options = annotated.parse_spec(
    "folders:d,normal=rgb8,depth_scale=0.001,exif=stored"
  )
  assert options == {"normal": "rgb8", "depth_scale": 0.001, "exif": "stored"}
  _, _, options = annotated.parse_spec("coco:a,images=b,category=the child")
  assert options == {"images": "b", "category": "the child"}


def test_each_option_is_an_argument_of_its_source():
  for known in annotated.FORMATS.values():
    arguments = known.open.__init__.__kwdefaults__ or {}
    required = set(known.options) - set(arguments)
    assert required == set(known.required)
    names = known.open.__init__.__annotations__
    assert set(known.options) <= set(names)
    assert set(known.options) <= set(opening._READERS)
  assert {known.open for known in annotated.FORMATS.values()} > {
    *(folders.FoldersSource, matting.MattingSource),
    keypoints344.KeypointFilesSource,
  }


@pytest.mark.parametrize(
  ("text", "lines"),
  [
    (
      "coco:a.json,image=b,c,images=,images=d",
      [
        "  image: no such option; did you mean images?",
        "  c: is not OPTION=VALUE",
        "  images=: no path",
        "  images: is given twice",
      ],
    ),
    ("coco:", ["  coco: no path", "  images: is missing"]),
    (
      "keypoints344:a,images=b,min_visible=-1,keep_grey=no",
      [
        "  min_visible=-1: is no whole number from 0 on",
        "  keep_grey=no: expected true or false",
        "  keypoints: is missing",
      ],
    ),
    (
      "folders:a,exif=yes,normal=png,depth_scale=0",
      [
        "  exif=yes: expected stored or upright",
        "  normal=png: expected rgb8 or rgb16",
        "  depth_scale=0: expected a number above 0, such as 0.001",
      ],
    ),
    (
      "folders:a,axes=xya",
      ["  axes=xya: expected something like x-y-z"],
    ),
    (
      "folders:a,axes=xyy",
      [
        "  axes=xyy: x,y,y are not the axes x, y and z in some order, each "
        "with or without a sign."
      ],
    ),
    (
      "parts:a,images=b,labels=c,taxonomy=d",
      [
        "  taxonomy=d: no such taxonomy as 'd'; expected one of dome34, "
        "dome52, internal33, sapiens29."
      ],
    ),
  ],
)
def test_all_that_is_wrong_with_a_spec_is_said_at_once(text, lines):
  with pytest.raises(ValueError) as caught:
    open_source(text)
  first, *rest = str(caught.value).split("\n")
  assert rest == lines
  noun = "problem" if len(lines) == 1 else "problems"
  usage = annotated.FORMATS[text.partition(":")[0]].usage
  assert first == f"{text} (expected {usage}): {len(lines)} {noun}"


def test_other_formats_are_refused_with_those_that_there_are():
  wanted = f"formats {', '.join(annotated.FORMATS)}"
  for text in ("voc:/data", "/data", "coco"):
    with pytest.raises(ValueError, match=wanted):
      annotated.open_annotated(text)
  with pytest.raises(
    ValueError, match="no such directory; .*FORMAT:PATH of co"
  ):
    open_source("voc:/data")


def test_every_spec_in_the_docs_can_be_taken_apart():
  names = "|".join(annotated.FORMATS)
  text = DOCS.read_text().replace("\\\n", "")
  found = re.findall(rf"--input +((?:{names}):[^\s`]+)", text)
  assert {spec.partition(":")[0] for spec in found} == set(annotated.FORMATS)
  for spec in found:
    annotated.parse_spec(spec)


def test_the_docs_have_each_usage():
  text = DOCS.read_text()
  for known in annotated.FORMATS.values():
    for option in known.options:
      assert f"`{option}" in text
