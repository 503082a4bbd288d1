import dataclasses

import numpy as np
import pytest

from data_pipelines.common import images
from data_pipelines.loading import crops, loader, skips
from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.open_source import open_source

CROPS = crops.CropConfig(global_size=(32, 24), local_size=(16, 20))
CONFIG = loader.LoaderConfig(
  PretrainExamples(CROPS), global_batch_size=8, accumulation_steps=2
)


def _read(source, config=CONFIG, start=0, num=5, process_index=0, count=1):
  iterator = loader.make_loader(
    source,
    config,
    start_step=start,
    num_steps=num,
    process_index=process_index,
    process_count=count,
  )
  try:
    return list(iterator)
  finally:
    iterator.close()


def _assert_same(batches, expected):
  assert len(batches) == len(expected)
  for batch, wanted in zip(batches, expected):
    assert batch.keys() == wanted.keys()
    for name in wanted:
      np.testing.assert_array_equal(batch[name], wanted[name])


@pytest.fixture
def source(photo_folder):
  return open_source(photo_folder)


@pytest.fixture
def batches(source):
  return [batch for batch, _ in _read(source)]


def test_a_batch_has_the_documented_arrays(batches):
  shapes = {name: array.shape for name, array in batches[0].items()}
  assert shapes == {
    "global_crops": (2, 4, 2, 32, 24, 3),
    "local_crops": (2, 4, 4, 16, 20, 3),
    "index": (2, 4),
    "epoch": (2, 4),
  }
  assert {name: array.dtype for name, array in batches[0].items()} == {
    "global_crops": np.uint8,
    "local_crops": np.uint8,
    "index": np.int32,
    "epoch": np.int32,
  }


def test_later_steps_have_other_sizes_whoever_makes_them(source, batches):
  small = crops.CropConfig(global_size=(16, 12), local_size=(8, 8))
  first = dataclasses.replace(CONFIG, examples=PretrainExamples(small))
  config = dataclasses.replace(first, later=((3, CONFIG.examples),))
  expected = [batch for batch, _ in _read(source, first)][:3] + batches[3:]
  in_worker = dataclasses.replace(config, num_workers=1)
  for start, given in ((0, config), (2, in_worker), (3, config)):
    found = _read(source, given, start, 5 - start)
    _assert_same([batch for batch, _ in found], expected[start:])


def test_crops_are_cut_from_their_record(source, batches):
  batch = batches[3]
  index, epoch = int(batch["index"][1, 2]), int(batch["epoch"][1, 2])
  record = source[index]
  size = (record.height, record.width)
  boxes = crops.draw_boxes(*size, CROPS, seed=0, index=index, epoch=epoch)
  photo = images.decode_image(record.image)
  for name, group, view_size in zip(
    ("global_crops", "local_crops"), boxes, ((32, 24), (16, 20))
  ):
    for view, box in zip(batch[name][1, 2], group):
      expected = crops.cut(photo, box, size, view_size).astype(int)
      # The loader may decode at half size or less, and rounds boxes there.
      assert np.abs(view - expected).mean() < 8


def test_each_epoch_has_each_record_once_in_another_order(batches):
  order = np.concatenate([batch["index"].ravel() for batch in batches])
  epoch = np.concatenate([batch["epoch"].ravel() for batch in batches])
  np.testing.assert_array_equal(epoch, np.arange(40) // 7)
  orders = [tuple(order[epoch == number]) for number in range(5)]
  assert all(sorted(one) == list(range(7)) for one in orders)
  assert len(set(orders)) == 5


def test_without_shuffle_records_come_in_order(source):
  config = dataclasses.replace(CONFIG, shuffle=False)
  order = np.concatenate([b["index"].ravel() for b, _ in _read(source, config)])
  np.testing.assert_array_equal(order, np.arange(40) % 7)


def test_one_record_fills_any_batch(photo_folder):
  for path in list(photo_folder.glob("[1-5].JPG")):
    path.unlink()
  (photo_folder / "more" / "last.webp").unlink()
  ((batch, _),) = _read(open_source(photo_folder), num=1)
  assert (batch["index"] == 0).all()
  np.testing.assert_array_equal(batch["epoch"].ravel(), np.arange(8))
  assert len(np.unique(batch["global_crops"].reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_read_the_same_global_batches(
  source, batches, count
):
  parts = [
    [batch for batch, _ in _read(source, process_index=index, count=count)]
    for index in range(count)
  ]
  joined = [
    {name: np.concatenate([p[name] for p in step], axis=1) for name in step[0]}
    for step in zip(*parts)
  ]
  _assert_same(joined, batches)


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_count_changes_nothing(source, batches, workers):
  config = dataclasses.replace(CONFIG, num_workers=workers)
  _assert_same([batch for batch, _ in _read(source, config)], batches)


@pytest.mark.parametrize("threads, prefetch", [(0, 0), (1, 1), (3, 5)])
def test_threads_and_prefetch_change_nothing(
  source, batches, threads, prefetch
):
  config = dataclasses.replace(CONFIG, num_threads=threads, prefetch=prefetch)
  _assert_same([batch for batch, _ in _read(source, config)], batches)


def test_starting_at_a_step_equals_skipping_to_it(source, batches):
  late = [batch for batch, _ in _read(source, start=3, num=2)]
  _assert_same(late, batches[3:])


def test_microbatches_joined_are_the_unaccumulated_batch(source, batches):
  for steps in (1, 4):
    config = dataclasses.replace(CONFIG, accumulation_steps=steps)
    for (batch, _), expected in zip(_read(source, config), batches):
      for name in expected:
        np.testing.assert_array_equal(
          batch[name].reshape(8, *batch[name].shape[2:]),
          expected[name].reshape(8, *expected[name].shape[2:]),
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unusable_record_is_replaced_and_reported(
  photo_folder, source, batches, workers
):
  (photo_folder / "3.JPG").write_bytes(b"")
  data = (photo_folder / "5.JPG").read_bytes()
  (photo_folder / "5.JPG").write_bytes(data[: len(data) // 2])
  config = dataclasses.replace(CONFIG, num_workers=workers)
  for (batch, skipped), before in zip(_read(source, config), batches):
    hit = np.isin(before["index"], [3, 5])
    np.testing.assert_array_equal(batch["index"][~hit], before["index"][~hit])
    np.testing.assert_array_equal(
      batch["local_crops"][~hit], before["local_crops"][~hit]
    )
    assert not np.isin(batch["index"], [3, 5]).any()
    np.testing.assert_array_equal(batch["epoch"], before["epoch"])
    wanted = before["index"][hit].tolist()
    # A stand-in may itself be unusable, so there can be more than one each.
    assert len(skipped) >= len(wanted)
    assert {f"{number}.JPG" for number in wanted} <= {s.name for s in skipped}
    assert {(s.name, s.reason) for s in skipped} <= {
      ("3.JPG", "empty file"),
      ("5.JPG", "truncated"),
    }
    assert all(isinstance(item, skips.Skipped) for item in skipped)


def test_a_stand_in_shows_what_it_would_show_itself(photo_folder, source):
  intact = _read(source, num=1)[0][0]
  place = tuple(np.argwhere(intact["index"] == 2)[0])
  (photo_folder / "2.JPG").write_bytes(b"")
  batch = _read(source, num=1)[0][0]
  used = int(batch["index"][place])
  other = tuple(np.argwhere(intact["index"] == used)[0])
  assert intact["epoch"][other] == batch["epoch"][place]
  np.testing.assert_array_equal(
    batch["global_crops"][place], intact["global_crops"][other]
  )


def test_images_above_the_pixel_limit_are_skipped(source):
  examples = PretrainExamples(CROPS, max_pixels=7000)
  config = dataclasses.replace(CONFIG, examples=examples)
  ((_, skipped),) = _read(source, config, num=1)
  assert skipped and {item.reason for item in skipped} == {"too many pixels"}


@pytest.mark.parametrize("workers", [0, 1])
def test_when_no_stand_in_helps_all_are_named(photo_folder, source, workers):
  for path in photo_folder.rglob("*.*"):
    path.write_bytes(b"no image")
  config = dataclasses.replace(CONFIG, num_workers=workers)
  with pytest.raises(RuntimeError, match="cannot be used: .*not an image") as e:
    _read(source, config)
  assert all(source.name(index) in str(e.value) for index in range(7))


def test_candidates_are_all_different_and_spread_out():
  for num_records in (1, 2, 6, 7, 100, 10**9):
    records = range(50, 50 + num_records)
    tried = loader._candidates(records[-1], records, 16)
    assert tried[0] == records[-1]
    assert all(record in records for record in tried)
    assert len(set(tried)) == len(tried) == min(16, num_records)
    if num_records >= 100:
      assert np.diff(sorted(tried)).min() > num_records / 100


@pytest.mark.parametrize(
  "config, arguments, message",
  [
    ({"accumulation_steps": 3}, {}, "accumulation_steps=3 must divide .*=8"),
    ({}, {"count": 3}, "process_count=3 must divide the microbatch of 4"),
    (
      {},
      {"count": 2, "process_index": 2},
      r"process_index=2 must be in \[0, 2",
    ),
    ({"global_batch_size": 0}, {}, "global_batch_size=0 must be at least 1"),
    ({"seed": -1}, {}, "seed=-1 must be at least 0"),
    ({"seed": 2**32}, {}, r"seed=4294967296 must be below"),
    ({"prefetch": 1}, {}, "prefetch=1 must be at least 2"),
    ({}, {"start": -1}, "start_step=-1 must be at least 0"),
  ],
)
def test_a_wrong_number_is_named(source, config, arguments, message):
  with pytest.raises(ValueError, match=message):
    _read(source, dataclasses.replace(CONFIG, **config), **arguments)
