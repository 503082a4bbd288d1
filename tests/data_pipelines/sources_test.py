import json
import os
import pickle

import pytest

from data_pipelines import build_corpus, images, records, sources


@pytest.fixture
def corpus(photo_folder, tmp_path):
  build_corpus.build_corpus([photo_folder], tmp_path / "corpus", shard_size=3)
  return tmp_path / "corpus"


def test_folder_and_corpus_give_equal_records(photo_folder, corpus):
  folder, packed = (
    sources.open_source(photo_folder),
    sources.open_source(corpus),
  )
  assert isinstance(folder, sources.FolderSource)
  assert isinstance(packed, sources.ArrayRecordSource)
  assert len(folder) == len(packed) == 7
  for index in range(7):
    assert folder[index] == packed[index]
    assert folder.name(index) == packed.name(index) == folder[index].name


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
  (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(photo)
  source = sources.FolderSource(tmp_path)
  assert source.name(0) == "caf\\xe9.png"
  record = source[0]
  assert record.image == photo
  assert records.decode_record(records.encode_record(record)) == record


def test_a_flipped_bit_in_a_shard_is_noticed(corpus):
  shard = corpus / "shard-00000-of-00003.array_record"
  data = bytearray(shard.read_bytes())
  image = sources.open_source(corpus)[1].image
  data[data.index(image) + len(image) // 2] ^= 4
  shard.write_bytes(data)
  source = sources.open_source(corpus)
  assert source[0].name == "0.JPG"
  with pytest.raises(sources.ShardReadError, match="record 1: .*shard-00000"):
    source[1]


@pytest.mark.parametrize("kind", ["photo_folder", "corpus"])
def test_sources_survive_pickling_before_and_after_use(request, kind):
  source = sources.open_source(request.getfixturevalue(kind))
  fresh = pickle.loads(pickle.dumps(source))
  assert fresh[5] == source[5]
  assert pickle.loads(pickle.dumps(source))[6] == source[6]


@pytest.mark.parametrize("kind", ["photo_folder", "corpus"])
@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_out_of_range_is_an_error(request, kind, index):
  source = sources.open_source(request.getfixturevalue(kind))
  with pytest.raises(IndexError, match=f"index={index}"):
    source[index]


def test_a_file_that_vanished_is_an_image_error(photo_folder):
  source = sources.FolderSource(photo_folder)
  (photo_folder / "0.JPG").unlink()
  with pytest.raises(images.ImageDecodeError, match="cannot be read"):
    source[0]
  assert source.name(0) == "0.JPG"


def test_no_shard_is_opened_before_it_is_needed(corpus):
  source = sources.ArrayRecordSource(corpus)
  damaged = corpus / "shard-00001-of-00003.array_record"
  damaged.write_bytes(bytes(damaged.stat().st_size))
  assert source[0].name == "0.JPG" and source[6].name == "more/last.webp"
  with pytest.raises(sources.ShardReadError, match="shard-00001-of-00003"):
    source[4]


def test_a_missing_or_short_shard_is_named_at_once(corpus):
  shard = corpus / "shard-00002-of-00003.array_record"
  shard.write_bytes(shard.read_bytes()[:-5])
  with pytest.raises(sources.ShardReadError, match="00002.*the manifest says"):
    sources.open_source(corpus)
  shard.unlink()
  with pytest.raises(sources.ShardReadError, match="00002.*No such file"):
    sources.open_source(corpus)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"format": "other"}, "format='other', expected"),
    ({"version": "2.3"}, "version=2.3 is newer"),
  ],
)
def test_a_foreign_or_newer_manifest_is_refused(corpus, change, message):
  path = corpus / "manifest.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  with pytest.raises(ValueError, match=message):
    sources.open_source(corpus)


def test_a_manifest_without_an_entry_is_refused(corpus):
  path = corpus / "manifest.json"
  manifest = json.loads(path.read_text())
  del manifest["shards"]
  path.write_text(json.dumps(manifest))
  with pytest.raises(ValueError, match="entry shards is missing"):
    sources.open_source(corpus)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_an_unreadable_manifest_is_named(corpus, text):
  (corpus / "manifest.json").write_text(text)
  with pytest.raises(ValueError, match="manifest.json"):
    sources.open_source(corpus)


def test_open_source_says_what_it_expected(tmp_path):
  with pytest.raises(ValueError, match="empty: neither a corpus"):
    (tmp_path / "empty").mkdir()
    sources.open_source(tmp_path / "empty")
  with pytest.raises(ValueError, match="nowhere: no such directory; expected"):
    sources.open_source(tmp_path / "nowhere")
