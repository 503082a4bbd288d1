import dataclasses

import hypothesis
import msgpack
import pytest
from hypothesis import strategies

from data_pipelines.corpus import records

RECORD = records.Record(
  image=b"\x00\xffpixels",
  height=48,
  width=64,
  content_hash=records.hash_content(b"\x00\xffpixels"),
  name="säule/a b.jpg",
  source="package==1.0",
  licence="CC0",
  attribution="someone",
  person_boxes=((0.5, 1, 20, 30),),
  scores={"sharpness": 0.25, "people": 2},
)
REQUIRED = ("image", "height", "width", "content_hash", "name")


def _changed(**changes):
  fields = msgpack.unpackb(records.encode_record(RECORD))
  return msgpack.packb({**fields, **changes})


def _numbers():
  return strategies.one_of(
    strategies.integers(-(2**63), 2**63 - 1),
    strategies.floats(allow_nan=False, allow_infinity=False),
  )


def _made_records():
  text = strategies.text(max_size=8)
  return strategies.builds(
    records.Record,
    image=strategies.binary(max_size=40),
    height=strategies.integers(1, 10**6),
    width=strategies.integers(1, 10**6),
    content_hash=text,
    name=text,
    source=text,
    licence=text,
    attribution=text,
    person_boxes=strategies.lists(
      strategies.tuples(*[_numbers()] * 4), max_size=3
    ).map(tuple),
    scores=strategies.dictionaries(text, _numbers(), max_size=3),
  )


@hypothesis.given(
  _made_records(),
  strategies.dictionaries(
    strategies.text(min_size=1).filter(lambda name: name not in FIELDS),
    strategies.one_of(strategies.none(), strategies.binary(), _numbers()),
  ),
)
def test_a_record_survives_the_round_trip_whatever_is_added(record, added):
  data = records.encode_record(record)
  assert records.decode_record(data) == record
  fields = msgpack.unpackb(data)
  assert records.decode_record(msgpack.packb({**added, **fields})) == record


FIELDS = ("version", *(field.name for field in dataclasses.fields(RECORD)))


def test_content_hash_is_sha256_hex():
  expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
  assert records.hash_content(b"hello") == expected


def test_unknown_fields_and_newer_minor_versions_are_ignored():
  data = _changed(boxes=[[1, 2, 3, 4]], version="1.7")
  assert records.decode_record(data) == RECORD


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name):
  fields = msgpack.unpackb(records.encode_record(RECORD))
  del fields[name]
  with pytest.raises(ValueError, match=f"field {name} is missing"):
    records.decode_record(msgpack.packb(fields))


@pytest.mark.parametrize("name", records.METADATA)
def test_a_field_that_may_be_missing_is_empty_then(name):
  fields = msgpack.unpackb(records.encode_record(RECORD))
  del fields[name]
  found = getattr(records.decode_record(msgpack.packb(fields)), name)
  assert not found and type(found) is type(getattr(RECORD, name))


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"height": "48"}, "field height is str, expected int"),
    ({"person_boxes": {}}, "field person_boxes is dict, expected list"),
    ({"person_boxes": [1]}, "person_boxes is not a list of lists"),
    ({"person_boxes": [[1, 2, 3]]}, r"\(1, 2, 3\) is not four numbers"),
    ({"person_boxes": [[1, 2, 3, True]]}, "is not four numbers"),
    ({"person_boxes": [[1, 2, 3, float("inf")]]}, "is not four numbers"),
    ({"scores": [1]}, "field scores is list, expected dict"),
    ({"scores": {"a": "b"}}, "'a': 'b' is not a name and a number"),
    ({"scores": {"a": float("nan")}}, "'a': nan is not a name and a number"),
    ({"scores": {b"a": 1}}, "is not a name and a number"),
  ],
)
def test_a_field_of_a_wrong_form_is_named(changes, message):
  with pytest.raises(ValueError, match=message):
    records.decode_record(_changed(**changes))


def test_a_number_that_cannot_be_stored_is_refused():
  with pytest.raises(ValueError, match="is not a name and a number"):
    dataclasses.replace(RECORD, scores={"a": 10**400})


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
