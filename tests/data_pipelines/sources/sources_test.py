import json
import os
import pickle

import pytest

from data_pipelines import sources
from data_pipelines.common import images, tars
from data_pipelines.corpus import records
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora

KINDS = ["photo_folder", "corpus", "tar"]


@pytest.fixture
def corpus(photo_folder, tmp_path):
  return corpora.pack_folder(photo_folder, tmp_path / "corpus", shard_size=3)


@pytest.fixture
def tar(photo_folder, tmp_path):
  return corpora.tar_folder(photo_folder, tmp_path / "photos.tar")


@pytest.fixture(params=KINDS)
def spec(request):
  """Seven photographs: as a folder, a corpus and a tar."""
  return request.getfixturevalue(request.param)


def test_folder_corpus_and_tar_give_equal_records(photo_folder, corpus, tar):
  folder = sources.FolderSource(photo_folder)
  wanted = corpora.read_all(folder)
  assert len(wanted) == 7
  for source in (
    sources.ArrayRecordSource(corpus),
    sources.TarSource([str(tar)]),
  ):
    assert corpora.read_all(source) == wanted
    for index in range(7):
      assert source.name(index) == folder.name(index) == wanted[index].name


def test_a_record_has_the_files_bytes_and_upright_size(photo_folder):
  record = sources.FolderSource(photo_folder)[2]
  data = (photo_folder / "2.JPG").read_bytes()
  assert record.image == data
  assert record.content_hash == records.hash_content(data)
  assert (record.height, record.width) == (80, 86)


def test_folder_is_sorted_and_takes_images_only(tmp_path):
  wanted = ["B.PNG", "a.jpeg", "a/z.tiff", "a/é.Webp", "b.gif", "c.bmp"]
  others = ["notes.txt", ".hidden.jpg", ".git/a.png", "jpg", "a.jpg.part"]
  for name in wanted + others:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"never opened for the listing")
  source = sources.FolderSource(tmp_path)
  assert [source.name(i) for i in range(len(source))] == sorted(wanted)


def test_a_file_name_that_is_no_utf8_is_shown_with_escapes(
  tmp_path, encode, smooth_photo
):
  photo = encode(smooth_photo(20, 30))
  name = os.fsdecode(b"caf\xe9.png")
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / name).write_bytes(photo)
  (tmp_path / "t.tar").write_bytes(corpora.make_tar({name: photo}))
  for source in (
    sources.FolderSource(tmp_path / "folder"),
    sources.TarSource([str(tmp_path / "t.tar")]),
  ):
    assert source.name(0) == "caf\\xe9.png"
    record = source[0]
    assert record.image == photo
    assert records.decode_record(records.encode_record(record)) == record


def test_location_is_the_file_that_holds_a_record(photo_folder, corpus, tar):
  folder, packed, tarred = map(open_source, (photo_folder, corpus, tar))
  assert folder.location(6) == str(photo_folder / "more/last.webp")
  assert packed.location(4) == str(corpus / "shard-00001-of-00003.array_record")
  assert tarred.location(4) == str(tar)


def test_sources_survive_pickling_before_and_after_use(spec):
  source = open_source(spec)
  fresh = pickle.loads(pickle.dumps(source))
  assert fresh[5] == source[5]
  assert pickle.loads(pickle.dumps(source))[6] == source[6]


@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_out_of_range_is_an_error(spec, index):
  source = open_source(spec)
  for read in (source.__getitem__, source.name, source.location):
    with pytest.raises(IndexError, match=f"index={index}"):
      read(index)


def test_a_file_that_vanished_is_an_image_error(photo_folder):
  source = sources.FolderSource(photo_folder)
  (photo_folder / "0.JPG").unlink()
  with pytest.raises(images.ImageDecodeError, match="cannot be read"):
    source[0]
  assert source.name(0) == "0.JPG"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
  with pytest.raises(ValueError, match="nowhere: cannot be listed: .*No such"):
    sources.FolderSource(tmp_path / "nowhere")


def test_a_flipped_bit_in_a_shard_is_noticed(corpus):
  shard = corpus / "shard-00000-of-00003.array_record"
  data = bytearray(shard.read_bytes())
  image = open_source(corpus)[1].image
  data[data.index(image) + len(image) // 2] ^= 4
  shard.write_bytes(data)
  source = open_source(corpus)
  assert source[0].name == "0.JPG"
  with pytest.raises(sources.ShardReadError, match="record 1: .*shard-00000"):
    source[1]


def test_no_shard_is_opened_before_it_is_needed(corpus):
  source = sources.ArrayRecordSource(corpus)
  assert corpora.num_open(corpus) == 0
  damaged = corpus / "shard-00001-of-00003.array_record"
  damaged.write_bytes(bytes(damaged.stat().st_size))
  assert source[0].name == "0.JPG" and source[6].name == "more/last.webp"
  with pytest.raises(sources.ShardReadError, match="shard-00001-of-00003"):
    source[4]


def test_a_missing_or_short_shard_is_named_at_once(corpus):
  shard = corpus / "shard-00002-of-00003.array_record"
  shard.write_bytes(shard.read_bytes()[:-5])
  with pytest.raises(sources.ShardReadError, match="00002.*the manifest says"):
    open_source(corpus)
  shard.unlink()
  with pytest.raises(sources.ShardReadError, match="00002.*No such file"):
    open_source(corpus)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"format": "other"}, "format='other', expected"),
    ({"version": "2.3"}, "version=2.3 is newer"),
    ({"shards": None}, "entry shards is NoneType, expected list"),
  ],
)
def test_a_foreign_or_newer_manifest_is_refused(corpus, change, message):
  path = corpus / "manifest.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  with pytest.raises(ValueError, match=message):
    open_source(corpus)


def test_a_manifest_without_an_entry_is_refused(corpus):
  path = corpus / "manifest.json"
  manifest = json.loads(path.read_text())
  del manifest["shards"]
  path.write_text(json.dumps(manifest))
  with pytest.raises(ValueError, match="entry shards is missing"):
    open_source(corpus)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_an_unreadable_manifest_is_named(corpus, text):
  (corpus / "manifest.json").write_text(text)
  with pytest.raises(ValueError, match="manifest.json"):
    open_source(corpus)


def test_tars_follow_one_another(tmp_path, encode, smooth_photo):
  photos = [encode(smooth_photo(20 + n, 30, n)) for n in range(4)]
  files = [
    {"a/1.json": b"{}", "a/1.png": photos[0], "a/1.txt": b"-"},
    {},
    {"2.png": photos[1], "3.PNG": photos[2], ".4.png": b"", "x.mask.png": b""},
    {"1.png": photos[3]},
  ]
  for number, content in enumerate(files):
    (tmp_path / f"{number}.tar").write_bytes(corpora.make_tar(content))
  paths = [tmp_path / f"{number}.tar" for number in range(4)]
  source = sources.TarSource(list(map(str, paths)))
  assert [record.image for record in corpora.read_all(source)] == photos
  names = ["a/1.png", "2.png", "3.PNG", "1.png"]
  assert [source.name(index) for index in range(4)] == names
  assert [source.location(index) for index in range(4)] == [
    str(tmp_path / name) for name in ("0.tar", "2.tar", "2.tar", "3.tar")
  ]


def test_a_broken_tar_among_others_is_named_at_once(tar, tmp_path):
  cut = tmp_path / "cut.tar"
  cut.write_bytes(tar.read_bytes()[:1500])
  with pytest.raises(tars.TarError, match="cut.tar"):
    sources.TarSource([str(tar), str(cut), str(tar)])
  with pytest.raises(sources.ShardReadError, match="none.tar"):
    sources.TarSource([str(tar), str(tmp_path / "none.tar")])


def test_a_tar_that_vanished_or_shrank_is_named(tar):
  source = sources.TarSource([str(tar)])
  tar.write_bytes(tar.read_bytes()[:1000])
  with pytest.raises(sources.ShardReadError, match="photos.tar: 5.JPG: 0 byte"):
    source[5]
  tar.unlink()
  with pytest.raises(sources.ShardReadError, match="photos.tar.*No such file"):
    source[0]
  assert source.name(5) == "5.JPG"


def test_what_is_no_image_in_a_tar_is_an_image_error(tmp_path):
  files = {"a.png": b"", "b.png": b"not an image"}
  (tmp_path / "t.tar").write_bytes(corpora.make_tar(files))
  source = sources.TarSource([str(tmp_path / "t.tar")])
  for index, message in ((0, "empty file"), (1, "not an image")):
    with pytest.raises(images.ImageDecodeError, match=message):
      source[index]
