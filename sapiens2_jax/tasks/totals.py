"""What metrics add up over the images of a set."""


class Totals:
  """Of what adds up: every attribute is a number, an array, or such totals."""

  def merge(self, other: "Totals") -> None:
    """Takes in all that another one took in."""
    for name, value in vars(other).items():
      own = getattr(self, name)
      if isinstance(own, Totals):
        own.merge(value)
      else:
        setattr(self, name, own + value)
