"""The error of data that cannot be used."""


class UnusableExample(ValueError):
  """A record that no example can be made of; another one is taken.

  Attributes:
    reason: one of a few short phrases, to count by.
    detail: more about this one, may be empty.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail

  def __str__(self) -> str:
    return f"{self.reason} ({self.detail})" if self.detail else self.reason
