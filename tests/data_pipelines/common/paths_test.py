import pytest

from data_pipelines.common import paths


@pytest.mark.parametrize(
  ("text", "expanded"),
  [
    ("~", "/me"),
    ("~/a b", "/me/a b"),
    ("--output=~/x", "--output=/me/x"),
    ("~/a,1;~/b,2", "/me/a,1;/me/b,2"),
    ("coco:~/a.json,images=~/img", "coco:/me/a.json,images=/me/img"),
    ("/a/~/b", "/a/~/b"),
    ("a~/b", "a~/b"),
    ("/x/~backup", "/x/~backup"),
    ("", ""),
  ],
)
def test_a_tilde_is_the_home_where_a_path_starts(monkeypatch, text, expanded):
  monkeypatch.setenv("HOME", "/me")
  assert paths.expand_home(text) == expanded
