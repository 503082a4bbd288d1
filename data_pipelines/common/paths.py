"""Paths as people write them."""

from __future__ import annotations

import os
import re

# At the start, or where a dataset spec or an option goes on.
_HOME = re.compile(r"(?:^|(?<=[=,;:]))~(?=/|$)")


def expand_home(text: str) -> str:
  """Puts the user's home in place of each `~` that stands for it.

  A shell does so only where a word starts: not in `--output=~/x`, nor in
  `~/a,1;~/b,2` or `coco:~/a.json,images=~/img`, nor in a file.
  """
  if "~" not in text:
    return text
  home = os.path.expanduser("~")
  return _HOME.sub(lambda _: home, text)
