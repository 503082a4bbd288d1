import math

from sapiens2_jax.report import curves

ROWS = [
  {"step": 0, "loss": 3.0, "rank_me": None, "loss_mae": 1.0},
  {"step": 5, "loss": 2.0, "rank_me": 7.5, "loss_mae": float("nan")},
  {"step": 9, "loss": 1.0},
]


def test_series_leaves_out_what_was_not_measured():
  assert curves.series(ROWS, "loss") == ([1, 6, 10], [3.0, 2.0, 1.0])
  assert curves.series(ROWS, "rank_me") == ([6], [7.5])
  assert curves.series(ROWS, "loss_mae") == ([1], [1.0])
  assert curves.series(ROWS, "lr") == ([], [])


def test_references_are_the_ones_of_the_run():
  losses = {p.key: p.reference for p in curves.loss_panels(0.9, 512)}
  assert losses["loss_mae"] == 0.9
  assert losses["loss_cl"] == math.log(512)
  collapse = {p.key: p.reference for p in curves.collapse_panels(512, 16)}
  assert collapse["teacher_entropy"] == math.log(512)
  assert collapse["rank_me"] == 16
  assert {p.key: p.reference for p in curves.loss_panels(None, 2)}[
    "loss_mae"
  ] is None


def test_curves_are_drawn_from_rows_and_from_nothing():
  for rows in (ROWS, []):
    figure = curves.draw_row(rows, curves.loss_panels(0.9, 512))
    svg = curves.to_svg(figure)
    assert svg == curves.to_svg(figure)
    assert b"<svg" in svg
    assert curves.to_png(figure).startswith(b"\x89PNG")
    curves.close(figure)
