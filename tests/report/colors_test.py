"""Text and curves can be read on both pages."""

import pathlib
import re

import pytest

from sapiens2_jax.report import colors, page

STYLE = pathlib.Path(page.__file__).with_name("page.html").read_text()
LIGHT, DARK = (
  dict(re.findall(r"--(\w+): (#\w{6})", block))
  for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
)
TEXTS = ("text", "soft", "good", "bad", "warn", "link")
PLOTS = {*colors.MANY, colors.GRAY, colors.ORANGE, colors.RED}


def luminance(rgb):
  def linear(level):
    return (
      level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4
    )

  red, green, blue = (linear(level / 255) for level in rgb)
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
  """WCAG 2.2."""
  low, high = sorted(map(luminance, map(colors.to_rgb, (one, other))))
  return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast(theme):
  for name in TEXTS:
    for ground in ("back", "panel"):
      assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)


def test_plots_have_contrast_on_both_pages():
  for color in PLOTS:
    assert contrast(color, LIGHT["back"]) >= 4.5, color
    dark = "#" + bytes(colors.in_the_dark(colors.to_rgb(color))).hex()
    assert dark != color and contrast(dark, DARK["back"]) >= 4.5, color


def test_a_plot_follows_its_page():
  svg = b'<?xml?><svg a="b"><path style="fill: %s"/></svg>'
  drawn = colors.follow_page(svg % colors.BLUE.encode()).decode()
  (name,) = re.findall(r'<path style="fill: var\((--c\d+), #2b6cb0\)"/>', drawn)
  style = drawn[drawn.index("<style>") : drawn.index("</style>")]
  assert "prefers-color-scheme: dark" in style and f"{name}: #6fb0f0" in style
  assert drawn.index('a="b">') < drawn.index("<style>")
