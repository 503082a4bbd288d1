"""Corpora whose files are not those that the manifest lists."""

import json
import shutil

import pytest

from data_pipelines import sources
from data_pipelines.common import images
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records, writer
from data_pipelines.loading.loader import LoaderConfig, make_loader
from data_pipelines.open_source import open_source
from data_pipelines.sources import array_record
from tests.data_pipelines import corpora

SIZE = 20, 30


@pytest.fixture
def corpus(tmp_path, encode, smooth_photo):
  """Two shards of two images each, all files of the same size."""
  entries = []
  for number in range(2):
    found = []
    for seed in (2 * number, 2 * number + 1):
      image = encode(smooth_photo(*SIZE, seed), "BMP")
      name = f"{seed}.bmp"
      content_hash = records.hash_content(image)
      found.append(records.Record(image, *SIZE, content_hash, name))
    shard_id = writer.number_shard(number, 2)
    entries.append(writer.write_shard(tmp_path / "corpus", shard_id, found))
  writer.commit(tmp_path / "corpus", entries)
  return tmp_path / "corpus"


def shard(corpus, number):
  return corpus / f"shard-0000{number}-of-00002.array_record"


def swap(one, other):
  between = one.with_suffix(".between")
  one.rename(between)
  other.rename(one)
  between.rename(other)


def test_swapped_shards_are_named_at_the_first_record(corpus):
  swap(shard(corpus, 0), shard(corpus, 1))
  source = open_source(corpus)
  message = "shard-0000.*another shard than the manifest lists"
  for index in range(4):
    with pytest.raises(sources.ShardReadError, match=message):
      source[index]


def test_without_room_for_indices_the_first_record_is_compared(
  corpus, monkeypatch
):
  monkeypatch.setattr(array_record, "MAX_KEPT", 3)  # One of two shards.
  swap(shard(corpus, 0), shard(corpus, 1))
  source = open_source(corpus)
  for index in (1, 3, 3):
    with pytest.raises(sources.ShardReadError, match="another shard"):
      source[index]
  swap(shard(corpus, 0), shard(corpus, 1))
  source = open_source(corpus)
  names = [source[index].name for index in (3, 0, 2, 1)]
  assert names == ["3.bmp", "0.bmp", "2.bmp", "1.bmp"]
  for path in corpus.glob("index-*"):
    path.unlink()  # They are not read again.
  assert [record.name for record in corpora.read_all(source)] == sorted(names)


def test_one_shard_twice_is_named(corpus):
  shutil.copy(shard(corpus, 0), shard(corpus, 1))
  source = open_source(corpus)
  assert source[1].name == "1.bmp"
  with pytest.raises(sources.ShardReadError, match="shard-00001.*another"):
    source[2]


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda m: m.update(num_records=3), "num_records is 3, its shards say 4"),
    (lambda m: m["shards"].reverse(), "content_hash is .*, its shards say"),
    (lambda m: m.update(inputs_hash=""), "manifest_hash is .*, its entries"),
    (
      lambda m: (m["shards"][0].update(num_records=1), m.update(num_records=3)),
      "manifest_hash is .*, its entries",
    ),
  ],
)
def test_a_manifest_that_was_changed_is_refused(corpus, change, message):
  path = corpus / manifests.NAME
  found = json.loads(path.read_text())
  change(found)
  path.write_text(json.dumps(found))
  with pytest.raises(ValueError, match=f"manifest.json: .*{message}"):
    open_source(corpus)


def test_a_manifest_may_begin_with_a_byte_order_mark(corpus):
  path = corpus / manifests.NAME
  path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
  assert len(open_source(corpus)) == 4


def test_a_missing_index_is_named_at_once(corpus):
  (corpus / "index-00001-of-00002.npz").unlink()
  with pytest.raises(sources.ShardReadError, match="index-00001.*No such file"):
    open_source(corpus)


def test_a_damaged_index_is_named_when_its_shard_is_read(corpus):
  path = corpus / "index-00001-of-00002.npz"
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  source = open_source(corpus)
  assert source[0].name == "0.bmp"
  with pytest.raises(sources.ShardReadError, match="index-00001.*sha256 is"):
    source[2]


@pytest.fixture
def with_wrong_bytes(corpus, tmp_path):
  """The same corpus; the bytes of record 2 are not those of its hash."""
  found = corpora.read_all(open_source(corpus))[2:]
  wrong = records.Record(
    found[1].image, *SIZE, found[0].content_hash, "wrong.bmp"
  )
  entries = [
    manifests.ShardEntry(**manifests.read_manifest(corpus)["shards"][0]),
    writer.write_shard(corpus, writer.number_shard(1, 2), [wrong, found[1]]),
  ]
  writer.commit(corpus, entries)
  return corpus


def test_a_record_of_wrong_bytes_is_an_image_error(with_wrong_bytes):
  source = open_source(with_wrong_bytes)
  with pytest.raises(images.ImageDecodeError) as caught:
    source[2]
  assert caught.value.reason == "wrong bytes"
  assert "shard-00001-of-00002.array_record: record 0" in caught.value.detail
  assert source.name(2) == "wrong.bmp"
  assert source[3].name == "3.bmp"


class Names:
  """Makes an example of nothing but the record."""

  def element_spec(self):
    return {}

  def make(self, record, index, epoch, out):
    pass


def test_a_record_of_wrong_bytes_is_replaced_and_listed(with_wrong_bytes):
  config = LoaderConfig(Names(), global_batch_size=4, num_threads=0)
  loader = make_loader(
    open_source(with_wrong_bytes), config, start_step=0, num_steps=1
  )
  batch, skipped = next(loader)
  loader.close()
  assert 2 not in batch["index"]
  assert [(item.name, item.reason) for item in skipped] == [
    ("wrong.bmp", "wrong bytes")
  ]


def test_a_name_is_given_also_of_what_cannot_be_read(corpus):
  path = shard(corpus, 0)
  path.write_bytes(bytes(path.stat().st_size))
  name = open_source(corpus).name(1)
  assert name == "shard-00000-of-00002.array_record: record 1"
