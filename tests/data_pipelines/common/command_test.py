import os
import sys

from data_pipelines.common import command


def test_every_path_of_a_command_may_begin_with_the_users_home(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  parser = command.make_parser("some", "")
  command.add_inputs(parser, "")
  command.add_output(parser, 3)
  given = ["--input", "coco:~/a.json,images=~/img", "--output=~/out"]
  for arguments in (given, None):
    monkeypatch.setattr(sys, "argv", ["some", *given])
    found = parser.parse_args(arguments)
    assert found.input == ["coco:/home/me/a.json,images=/home/me/img"]
    assert found.output == os.path.expanduser("~/out")
