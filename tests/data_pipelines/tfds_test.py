import io
import json
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.corpus import records
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora

tfds = pytest.importorskip("tensorflow_datasets")

from data_pipelines import humans_tfds  # noqa: E402
from data_pipelines.humans_tfds import __main__ as main  # noqa: E402
from data_pipelines.humans_tfds import features  # noqa: E402
from data_pipelines.humans_tfds import source as tfds_source  # noqa: E402

METADATA = {
  "source": "https://example.org/é",
  "licence": "CC BY 4.0",
  "attribution": "A. Person",
  "person_boxes": [[1.5, 2, 30, 20.25], [10, 0, 5, 5]],
  "scores": {"sharpness": 0.75, "faces": 2},
}


@pytest.fixture
def kinds(tmp_path, encode, smooth_photo):
  """A folder of one image of every kind, one of them with metadata."""
  folder = tmp_path / "kinds"
  folder.mkdir()
  photo = smooth_photo(60, 40)
  turned = Image.Exif()
  turned[0x0112] = 6
  grey = np.linspace(0, 65535, 60 * 40).reshape(60, 40).astype(np.uint16)
  files = {
    "bmp.bmp": encode(photo, "BMP"),
    "cmyk.jpg": encode(photo.convert("CMYK"), "JPEG"),
    "gif.gif": encode(photo, "GIF"),
    "grey.png": encode(photo.convert("L")),
    "grey16.png": encode(Image.fromarray(grey)),
    "jpeg.jpg": encode(photo, "JPEG"),
    "tiff.tiff": encode(photo, "TIFF"),
    "transparent.png": encode(photo.convert("RGBA")),
    "turned.jpg": encode(photo, "JPEG", exif=turned),
    "webp.webp": encode(photo, "WEBP"),
  }
  for name, data in files.items():
    (folder / name).write_bytes(data)
  (folder / "jpeg.json").write_text(json.dumps(METADATA))
  return folder


@pytest.fixture
def corpus(kinds, tmp_path):
  return corpora.pack_folder(kinds, tmp_path / "corpus", shard_size=4)


@pytest.fixture
def data_dir(corpus, tmp_path):
  """Where the dataset "humans" is prepared."""
  main.build(corpus, tmp_path / "data")
  return tmp_path / "data"


def run(script, *arguments):
  """Runs Python in a process of its own."""
  return subprocess.run(
    [sys.executable, "-c", textwrap.dedent(script), *arguments],
    capture_output=True,
    text=True,
    timeout=120,
    cwd=pathlib.Path(__file__).parents[2],
    env={**os.environ, "PYTHONPATH": "."},
  )


def test_the_builder_is_listed_under_its_name():
  assert "humans" in tfds.list_builders(with_community_datasets=False)
  assert tfds.builder_cls("humans") is humans_tfds.Humans


def test_data_source_gives_the_pixels_upright_whatever_the_kind(
  corpus, data_dir
):
  packed = sources.ArrayRecordSource(corpus)
  source = tfds.data_source("humans", split="train", data_dir=data_dir)
  assert len(source) == len(packed) == 10
  for example, record in zip(source, corpora.read_all(packed)):
    np.testing.assert_array_equal(
      example["image"], images.decode_image(record.image)
    )
    assert example["image"].shape == (record.height, record.width, 3)
    assert example["image"].dtype == np.uint8
    assert example["name"] == record.name.encode()


def test_skipping_the_decoding_gives_the_files_bytes(corpus, data_dir):
  source = tfds.data_source(
    "humans",
    split="train",
    data_dir=data_dir,
    decoders={"image": tfds.decode.SkipDecoding()},
  )
  for example, record in zip(source, corpora.read_all(opened(corpus))):
    assert example["image"] == record.image


def opened(spec):
  return open_source(spec)


def test_every_field_of_a_record_is_kept(corpus, data_dir):
  source = tfds_source.TfdsSource(data_dir / "humans" / "1.0.0")
  packed = sources.ArrayRecordSource(corpus)
  assert len(source) == len(packed)
  for index in range(len(packed)):
    found, wanted = source[index], packed[index]
    for field in (*("image", "height", "width", "content_hash"), *TEXTS):
      assert getattr(found, field) == getattr(wanted, field), field
    np.testing.assert_allclose(
      found.person_boxes,
      wanted.person_boxes,
      atol=1e-4,  # float32, 60 pixels
    )
    assert found.scores == wanted.scores  # Exact in float32.
    assert source.name(index) == packed.name(index)
  assert source[5].person_boxes and source[5].attribution == "A. Person"


TEXTS = ("name", "source", "licence", "attribution")


def test_boxes_are_fractions_cut_at_the_edges():
  record = records.Record(
    image=b"",
    height=200,
    width=100,
    content_hash="",
    name="",
    person_boxes=((20, 10, 40, 50), (-50, 90, 100, 500), (300, 0, 10, 10)),
  )
  example = features.make_features().encode_example(features.to_example(record))
  np.testing.assert_allclose(
    example["person_boxes"],
    [
      [0.1, 0.1, 0.3, 0.6],  # ymin, xmin, ymax, xmax
      [0.0, 0.9, 0.25, 1.0],
      [1.0, 0.0, 1.0, 0.1],
    ],
    rtol=1e-6,
  )


def test_a_box_of_negative_size_is_named_with_its_record():
  record = records.Record(
    image=b"",
    height=200,
    width=100,
    content_hash="",
    name="some/photo.jpg",
    person_boxes=((20, 10, -4, 5),),
  )
  with pytest.raises(ValueError, match="some/photo.jpg: person_boxes: .*-4"):
    features.to_example(record)


def test_shards_and_order_are_the_corpuss(corpus, data_dir):
  split = humans_tfds.Humans(data_dir=data_dir).info.splits["train"]
  assert split.shard_lengths == [4, 4, 2]
  assert split.num_examples == 10
  manifest = json.loads((corpus / "manifest.json").read_text())
  metadata = (data_dir / "humans/1.0.0/metadata.json").read_text()
  assert json.loads(metadata) == {
    "corpus_content_hash": manifest["content_hash"]
  }


def test_a_build_does_not_hold_the_images_of_a_shard(
  corpus, tmp_path, monkeypatch
):
  made = []

  def to_example(record):
    assert not any(made), "the one before is still held"
    made.append(features.to_example(record))
    return made[-1]

  module = sys.modules[humans_tfds.Humans.__module__]
  monkeypatch.setattr(
    module,
    "features",
    type(
      "M",
      (),
      {
        "to_example": staticmethod(to_example),
        "make_features": staticmethod(features.make_features),
      },
    ),
  )
  main.build(corpus, tmp_path / "data")
  assert len(made) == 10 and not any(made)


def test_the_command_builds_once_and_says_what_is_there(
  corpus, tmp_path, capsys
):
  arguments = ["--data", str(corpus), "--output", str(tmp_path / "data")]
  path = tmp_path / "data" / "humans" / "1.0.0"
  assert main.main(arguments) == 0
  printed = capsys.readouterr()
  assert printed.out.startswith(f"{path}: done: 10 images in 3 shards, ")
  assert "building 10/10" in printed.err
  before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
  assert main.main(arguments) == 0
  assert f"{path}: already complete: 10 images" in capsys.readouterr().out
  assert before == {file: file.stat().st_mtime_ns for file in path.iterdir()}


def test_the_command_refuses_what_is_no_corpus(kinds, tmp_path, capsys):
  data_dir = tmp_path / "data"
  arguments = ["--data", str(kinds), "--output", str(data_dir)]
  assert main.main(arguments) == 2
  printed = capsys.readouterr().err
  assert f"{kinds}: no corpus (no manifest.json); make one with" in printed
  assert printed.count("\n") == 1 and not data_dir.exists()


def test_the_command_does_not_replace_another_corpus(
  photo_folder, data_dir, tmp_path, capsys
):
  other = corpora.pack_folder(photo_folder, tmp_path / "other", shard_size=4)
  capsys.readouterr()
  arguments = ["--data", str(other), "--output", str(data_dir)]
  assert main.main(arguments) == 2
  assert "1.0.0: was built from another corpus" in capsys.readouterr().err
  assert len(opened(data_dir / "humans" / "1.0.0")) == 10


def test_a_build_that_fails_leaves_no_dataset(corpus, tmp_path, capsys):
  shard = corpus / "shard-00002-of-00003.array_record"
  data = bytearray(shard.read_bytes())
  image = sources.ArrayRecordSource(corpus)[9].image
  data[data.index(image) + 10] ^= 1
  shard.write_bytes(data)
  arguments = ["--data", str(corpus), "--output", str(tmp_path / "data")]
  assert main.main(arguments) == 1
  assert "shard-00002-of-00003.array_record" in capsys.readouterr().err
  assert list((tmp_path / "data" / "humans").iterdir()) == []


def test_the_commands_of_the_documentation_need_no_tensorflow(corpus, tmp_path):
  script = """
    import sys
    from data_pipelines.humans_tfds import __main__
    assert __main__.main() == 0
    assert "tensorflow" not in sys.modules
  """
  done = run(script, *("--data", corpus), *("--output", tmp_path / "data"))
  assert done.returncode == 0, done.stderr
  assert "done: 10 images" in done.stdout
  script = """
    import sys
    import tensorflow_datasets as tfds
    from data_pipelines import humans_tfds
    source = tfds.data_source("humans", split="train", data_dir=sys.argv[1])
    print(source[0]["image"].shape)
    assert "tensorflow" not in sys.modules
  """
  done = run(script, tmp_path / "data")
  assert done.stdout == "(60, 40, 3)\n", done.stderr


def test_the_tfds_command_finds_the_builder_by_its_path(corpus, tmp_path):
  # `tfds build` itself imports TensorFlow; this is what it then does.
  script = """
    import pathlib
    import sys
    from tensorflow_datasets.scripts.cli import build, cli_utils
    paths = cli_utils.PathOptions(
      manual_dir=pathlib.Path(sys.argv[1]), data_dir=pathlib.Path(sys.argv[2])
    )
    build.Args(
      positional_datasets=["data_pipelines/humans_tfds"],
      datasets=[],
      paths=paths,
    ).execute()
  """
  done = run(script, corpus, tmp_path / "data")
  assert done.returncode == 0, done.stderr
  assert len(opened(tmp_path / "data" / "humans" / "1.0.0")) == 10


def test_a_prepared_dataset_opens_as_data_to_train_from(corpus, data_dir):
  source = opened(data_dir / "humans" / "1.0.0")
  assert source[3].image == opened(corpus)[3].image
  assert source.location(5) == str(
    data_dir / "humans/1.0.0/humans-train.array_record-00001-of-00003"
  )
  with pytest.raises(IndexError, match="index=10"):
    source[10]


def test_copies_and_other_processes_read_the_same(data_dir):
  source = tfds_source.TfdsSource(data_dir / "humans" / "1.0.0")
  wanted = source[3]
  assert pickle.loads(pickle.dumps(source))[3] == wanted
  with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.map(source.__getitem__, [3]) == [wanted]


def build_other(directory, *, split="train", **changed):
  """Prepares a dataset of somebody else, three images; returns its path."""
  fields = {"image": tfds.features.Image(), **changed}

  class Other(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("2.1.0")

    def _info(self):
      given = {name: feature for name, feature in fields.items() if feature}
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(given)
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples()}

    def _generate_examples(self):
      for number in range(3):
        buffer = io.BytesIO()
        Image.new("RGB", (30, 20 + number)).save(buffer, "PNG")
        example = {
          "image": buffer.getvalue(),
          "label": number,
          "file_name": f"{number}.png",
          # Of the image as stored, or of something else: nobody knows.
          "height": 7,
        }
        yield number, {name: example[name] for name in fields if fields[name]}

  builder = Other(data_dir=directory, file_format="array_record")
  builder.download_and_prepare()
  return builder.data_path


@pytest.mark.parametrize("has_label", [False, True])
def test_of_other_datasets_the_rest_follows_from_the_file(tmp_path, has_label):
  text = tfds.features.Text() if has_label else None
  path = build_other(tmp_path, label=np.int64, height=np.int64, file_name=text)
  source = tfds_source.TfdsSource(path)
  found = sorted(corpora.read_all(source), key=lambda record: record.height)
  assert [(r.height, r.width) for r in found] == [(20, 30), (21, 30), (22, 30)]
  for number, record in enumerate(found):
    assert record.content_hash == records.hash_content(record.image)
    assert images.image_size(record.image) == (20 + number, 30)
  names = [source.name(index) for index in range(3)]
  assert names == [source[index].name for index in range(3)]
  if has_label:
    assert sorted(names) == ["0.png", "1.png", "2.png"]
  else:
    assert names == ["other train[0]", "other train[1]", "other train[2]"]


@pytest.mark.parametrize(
  "changed, message",
  [
    ({"split": "test"}, "2.1.0: no split 'train'; it has 'test'"),
    (
      {"image": None, "label": np.int64},
      "feature 'image' is not in .'label'.; expected an Image",
    ),
    ({"image": tfds.features.Text()}, "feature 'image' is Text.*an Image"),
  ],
)
def test_a_dataset_that_cannot_be_trained_from_is_refused(
  tmp_path, changed, message
):
  path = build_other(tmp_path, **changed)
  with pytest.raises(ValueError, match=f"{tmp_path}.*{message}"):
    opened(path)


def test_a_dataset_of_another_format_is_refused(tmp_path):
  path = build_other(tmp_path) / "dataset_info.json"
  info = json.loads(path.read_text())
  path.write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
  with pytest.raises(ValueError, match="file_format='tfrecord', expected 'arr"):
    opened(path.parent)


def test_a_damaged_description_is_named(data_dir):
  path = data_dir / "humans" / "1.0.0"
  features_file = (path / "features.json").read_text()
  broken = features_file.replace("data_pipelines.", "no_such_package.")
  (path / "features.json").write_text(broken)
  with pytest.raises(ValueError, match=f"{path}: .*no_such_package"):
    opened(path)
  (path / "dataset_info.json").write_text("{")
  with pytest.raises(ValueError, match=f"{path}: "):
    opened(path)


def test_a_missing_or_damaged_shard_is_named(data_dir):
  path = data_dir / "humans" / "1.0.0"
  source = opened(path)
  shard = path / "humans-train.array_record-00001-of-00003"
  writer = array_record_module.ArrayRecordWriter(str(shard), "group_size:1")
  for _ in range(4):
    writer.write(b"no example")
  writer.close()
  assert source[0].name == "bmp.bmp"
  with pytest.raises(sources.ShardReadError, match=f"record 5: {shard}: "):
    source[5]
  shard.unlink()
  with pytest.raises(sources.ShardReadError, match=f"{shard}: No such file"):
    opened(path)


def test_an_example_of_wrong_bytes_is_an_image_error(data_dir, monkeypatch):
  to_record = features.to_record

  def of_another_image(example):
    return to_record({**example, "image": example["image"] + b"x"})

  source = opened(data_dir / "humans" / "1.0.0")
  assert source[0].name == "bmp.bmp"
  monkeypatch.setattr(features, "to_record", of_another_image)
  with pytest.raises(images.ImageDecodeError, match="wrong bytes .*record 0"):
    source[0]
