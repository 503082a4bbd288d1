"""Colours of all our plots, on white and on a dark page.

Text in them has a contrast of at least 4.5 to the page, also in the dark.
"""

GRAY, BLUE, ORANGE, RED = "#616874", "#2b6cb0", "#a85a12", "#b0352a"
# Of several runs: told apart also by readers who see fewer colours.
MANY = (BLUE, "#b3480a", "#0b7a5c", "#a3387f", "#7a5c00", "#5a4fb0")
_DARK = {
  GRAY: "#a3acba",
  BLUE: "#6fb0f0",
  ORANGE: "#e3a45f",
  RED: "#f0897e",
  "#b3480a": "#ff9a5c",
  "#0b7a5c": "#4fc9a4",
  "#a3387f": "#ea8cc8",
  "#7a5c00": "#d9b84a",
  "#5a4fb0": "#a99df5",
}


def to_rgb(color: str) -> tuple[int, ...]:
  """ "#616874" as (97, 104, 116)."""
  return tuple(bytes.fromhex(color[1:]))


def in_the_dark(rgb: tuple[int, int, int]) -> tuple[int, ...]:
  """What a colour is on a dark page; those of others stay as they are."""
  color = "#" + bytes(rgb).hex()
  return to_rgb(_DARK.get(color, color))


def follow_page(svg: bytes) -> bytes:
  """An SVG file whose colours change with those of the page it is in."""
  dark = ""
  for number, (color, other) in enumerate(_DARK.items()):
    name = b"var(--c%d, %s)" % (number, color.encode())
    svg = svg.replace(color.encode(), name)
    dark += f"--c{number}: {other};"
  style = "<style>@media (prefers-color-scheme: dark) {:root {%s}}</style>"
  start = svg.index(b">", svg.index(b"<svg")) + 1
  return svg[:start] + (style % dark).encode() + svg[start:]
