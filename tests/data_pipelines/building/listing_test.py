import json
import os

import pytest

from data_pipelines import build_corpus
from data_pipelines.building import listing, workspace
from data_pipelines.common import worker_pool
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora


def _list(output, units, sizes=workspace.DEFAULT_SIZES):
  """All listed rows of each piece."""
  with (
    workspace.open_building(output, {}, sizes) as building,
    worker_pool.WorkerPool(0) as workers,
  ):
    units = listing.list_units(building, units, workers)
    return [
      [
        json.loads(line)
        for line in (building.root / "list" / piece.file).open("rb")
      ]
      for piece in listing.read_pieces(building, units)
    ]


def _prefixes(inputs):
  return [unit.prefix for unit in listing.find_units(inputs)]


def test_one_input_has_no_prefix(photo_folder):
  assert _prefixes([photo_folder]) == [""]


def test_prefixes_are_as_short_as_they_can_be(tmp_path):
  for name in ("train/0.tar", "train/1.tar", "val/0.tar"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
  assert _prefixes([f"{tmp_path}/train/*.tar"]) == ["0/", "1/"]
  assert _prefixes([f"{tmp_path}/*/*.tar"]) == [
    "train/0/",
    "train/1/",
    "val/0/",
  ]


def test_a_folder_and_a_tar_of_one_name_are_told_apart(photo_folder, tmp_path):
  corpora.tar_folder(photo_folder, tmp_path / "photos.tar")
  assert _prefixes([photo_folder, tmp_path / "photos.tar"]) == [
    "photos/",
    "photos.tar/",
  ]


def test_a_folder_with_signs_of_a_glob_is_a_folder(photo_folder, tmp_path):
  photo_folder.rename(tmp_path / "photos[1]")
  (unit,) = listing.find_units([tmp_path / "photos[1]"])
  assert not unit.is_tar


def test_pieces_hold_all_images_in_order(photo_folder, tmp_path):
  tar = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  units = listing.find_units([tar, photo_folder])
  pieces = _list(tmp_path / "out", units, workspace.Sizes(piece=3))
  assert [len(piece) for piece in pieces] == [3, 3, 1, 3, 3, 1]
  names = [f"{n}.JPG" for n in range(6)] + ["more/last.webp"]
  assert [row[0] for piece in pieces for row in piece] == names * 2
  data = tar.read_bytes()
  for name, start, size, _ in pieces[0]:
    expected = (photo_folder / name).read_bytes()
    assert data[start : start + size] == expected


def test_a_tar_cut_anywhere_is_refused(photo_folder, tmp_path):
  tar = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  data = tar.read_bytes()
  (unit,) = listing.find_units([tar])
  end = len(data.rstrip(b"\0"))
  for cut in (*range(0, end, 512), end):
    tar.write_bytes(data[:cut])
    with pytest.raises(workspace.InputError, match="packed.tar: "):
      _list(tmp_path / "out", [unit])


def test_sidecars_in_a_tar_belong_to_their_sample(photo_folder, tmp_path):
  photo = (photo_folder / "1.JPG").read_bytes()
  other = (photo_folder / "2.JPG").read_bytes()
  tar = tmp_path / "a.tar"
  tar.write_bytes(
    corpora.make_tar(
      {
        "x/a.json": b'{"licence": "MIT"}',
        "x/a.jpg": photo,
        "x/a.mask.png": b"not looked at",
        "x/b.jpg": other,
        "x/c.json": b'{"licence": "GPL"}',
      }
    )
  )
  manifest, _ = build_corpus.build_corpus([tar], tmp_path / "corpus")
  assert manifest["num_records"] == 2 and not manifest["rejected"]["count"]
  source = open_source(tmp_path / "corpus")
  assert [source[i].name for i in range(2)] == ["x/a.jpg", "x/b.jpg"]
  assert [source[i].licence for i in range(2)] == ["MIT", ""]


@pytest.mark.parametrize("kind", ["folder", "tar", "glob"])
def test_urls_give_the_shards_of_paths(photo_folder, tmp_path, kind):
  (photo_folder / "1.json").write_text('{"licence": "MIT"}')
  spec = photo_folder
  if kind != "folder":
    spec = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  url = f"file://{tmp_path}/pack*.tar" if kind == "glob" else f"file://{spec}"
  contents = []
  for output, given in (("a", spec), ("b", url)):
    build_corpus.build_corpus([given], tmp_path / output, shard_size=3)
    contents.append(
      {
        path.name: path.read_bytes()
        for path in (tmp_path / output).iterdir()
        if path.name != "manifest.json"
      }
    )
  assert contents[0] == contents[1]
  assert not build_corpus.build_corpus([url], tmp_path / "b", shard_size=3)[1]


def test_notes_may_begin_with_a_byte_order_mark(photo_folder, tmp_path):
  notes = b'\xef\xbb\xbf{"licence": "MIT"}'
  (photo_folder / "0.json").write_bytes(notes)
  os.mkfifo(photo_folder / "1.json")  # Reading it would wait for ever.
  build_corpus.build_corpus([photo_folder], tmp_path / "corpus")
  source = open_source(tmp_path / "corpus")
  assert (source[0].name, source[0].licence) == ("0.JPG", "MIT")
  rejected = (tmp_path / "corpus/rejected.jsonl").read_text()
  expected = {"name": "1.JPG", "reason": "bad notes", "detail": "a FIFO"}
  assert json.loads(rejected) == expected
