from sapiens2_jax.training.loop import format_line

SPEED = {
  "mfu": None,
  "step_seconds": 2.0,
  "images_per_second": 8.0,
  "data_wait": 0.25,
}
METRICS = {"loss": 1.5, "grad_norm": 0.5, "lr": 1e-4}


def test_the_line_has_every_part_of_the_loss():
  parts = {"loss_cl": 2.0, "rank_me": 7.0, "loss_mae": 0.25}
  line = format_line(9, 20, {**METRICS, **parts}, SPEED)
  assert line == (
    "step 10/20  loss 1.500 (cl 2.000 mae 0.250)  gnorm 0.50  lr 1.0e-04  "
    "8.0 img/s  mfu -  wait 25%  eta 20s"
  )


def test_a_loss_without_parts_stands_alone():
  assert "  loss 1.500  gnorm" in format_line(9, 20, METRICS, SPEED)
