import dataclasses

import msgpack
import pytest

from data_pipelines import records

RECORD = records.Record(
  image=b"\x00\xffpixels",
  height=48,
  width=64,
  content_hash=records.hash_content(b"\x00\xffpixels"),
  name="säule/a b.jpg",
  source="package==1.0",
  licence="CC0",
  attribution="someone",
)


def _changed(**changes):
  fields = msgpack.unpackb(records.encode_record(RECORD))
  return msgpack.packb({**fields, **changes})


def test_a_record_survives_the_round_trip():
  assert records.decode_record(records.encode_record(RECORD)) == RECORD


def test_content_hash_is_sha256_hex():
  expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
  assert records.hash_content(b"hello") == expected


def test_unknown_fields_and_newer_minor_versions_are_ignored():
  data = _changed(boxes=[[1, 2, 3, 4]], version="1.7")
  assert records.decode_record(data) == RECORD


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(RECORD)])
def test_a_missing_field_is_named(name):
  fields = msgpack.unpackb(records.encode_record(RECORD))
  del fields[name]
  with pytest.raises(ValueError, match=f"field {name} is missing"):
    records.decode_record(msgpack.packb(fields))


def test_a_field_of_the_wrong_type_is_named():
  with pytest.raises(ValueError, match="field height is str, expected int"):
    records.decode_record(_changed(height="48"))


def test_a_newer_major_version_is_refused():
  with pytest.raises(ValueError, match="version=2.0 is newer than 1.0"):
    records.decode_record(_changed(version="2.0"))


@pytest.mark.parametrize("version", [None, "new", ""])
def test_an_unreadable_version_is_refused(version):
  with pytest.raises(ValueError, match="MAJOR.MINOR"):
    records.decode_record(_changed(version=version))


@pytest.mark.parametrize("data", [b"", b"\xc1", msgpack.packb([1, 2]), b"\x81"])
def test_what_is_no_msgpack_map_is_refused(data):
  with pytest.raises(ValueError, match="record: not a"):
    records.decode_record(data)
