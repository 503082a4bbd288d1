import pytest

from sapiens2_jax.report import curves, metrics
from sapiens2_jax.report.metrics import Note

ROWS = [
  {"step": 0, "rank_me": None, "loss_mae": 1.0, "loss": 3.0},
  {"step": 5, "loss": 2.0, "rank_me": 7.5, "loss_mae": float("nan")},
  {"step": 9, "loss": 1.0},
]


def test_series_leaves_out_what_was_not_measured():
  assert metrics.series(ROWS, "loss") == ([1, 6, 10], [3.0, 2.0, 1.0])
  assert metrics.series(ROWS, "rank_me") == ([6], [7.5])
  assert metrics.series(ROWS, "loss_mae") == ([1], [1.0])
  assert metrics.series(ROWS, "lr") == ([], [])
  assert metrics.ends(ROWS, "loss") == (3.0, 1.0)
  assert metrics.ends(ROWS, "lr") == (None, None)


def test_metrics_are_found_and_grouped_by_their_names():
  rows = [
    {"step": 0, "accuracy": 1, "loss": 2, "loss_foo": 1, "lr": 1},
    {"step": 0, "probe_bar": 1, "eval_x": 1, "eval_images": 1, "grad_norm": 1},
    {"step": 0, "eval_skipped": 1, "nonfinite_streak": 0},
  ]
  found = [(group.name, keys) for group, keys in metrics.group(rows)]
  assert found == [
    ("losses", ["loss", "loss_foo"]),
    ("evaluation", ["eval_x"]),
    ("probes", ["probe_bar"]),
    ("statistics", ["accuracy"]),
    ("speed", ["grad_norm", "lr", "images_per_second", "data_wait"]),
  ]
  assert [group.name for group, _ in metrics.group([])] == ["speed"]


def test_titles_and_references_are_those_of_the_notes():
  notes = {"loss_mae": Note("error", 0.9, "patch means", "{:.5f}")}
  ((losses, keys), *_) = metrics.group(ROWS)
  figure = curves.draw_group(ROWS, losses, keys, notes)
  plain, noted = figure.axes[:2]
  assert (plain.get_title("left"), noted.get_title("left")) == (
    "loss",
    "loss_mae",
  )
  assert len(plain.lines) == 2
  assert list(noted.lines[2].get_ydata()) == [0.9, 0.9]
  assert [text.get_text() for text in noted.texts] == ["1.00000", "patch means"]


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_each_metric_has_a_panel_however_many_there_are(count):
  rows = [{"step": 0, **{f"loss_{i}": float(i) for i in range(count)}}]
  ((losses, keys), *_) = metrics.group(rows)
  figure = curves.draw_group(rows, losses, keys, {})
  shown = [ax for ax in figure.axes if ax.get_visible()]
  assert [ax.get_title("left") for ax in shown] == keys
  inches = [ax.get_position().height * figure.get_figheight() for ax in shown]
  assert inches == pytest.approx([1.48] * count)  # in any number of rows


def test_curves_are_drawn_from_rows_and_from_nothing():
  for rows in (ROWS, []):
    for group, keys in metrics.group(rows):
      figure = curves.draw_group(rows, group, keys, metrics.SPEED_NOTES)
      svg = curves.to_svg(figure)
      assert svg == curves.to_svg(figure)
      assert b"<svg" in svg
      assert curves.to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
  "values, scale",
  [
    ([400.0, 40.0, 4.0, 3.0, 3.0], "log"),
    ([4.0, 3.5, 3.0], "linear"),
    ([400.0, 4.0, 3.0, 0.0, -1.0], "linear"),
  ],
)
def test_a_start_far_above_leaves_the_rest_to_be_seen(values, scale):
  rows = [{"step": i, "loss": value} for i, value in enumerate(values)]
  ((losses, keys), *_) = metrics.group(rows)
  figure = curves.draw_group(rows, losses, keys, {"loss": Note("x", 3.5, "y")})
  assert figure.axes[0].get_yscale() == scale


def test_curves_are_told_in_words():
  curve = curves.Curve([1, 6, 10], [3.0, 4.0, 1.0])
  assert curves.describe(curve, Note("", 2.0, "best 2")) == (
    "3.000 at step 1, 1.000 at step 10, between 1.000 and 4.000; dashed: best 2"
  )
  assert curves.describe(curves.Curve([], []), Note()) == "not recorded"
