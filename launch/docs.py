"""What the site has besides docs/*.md; a hook of MkDocs, see mkdocs.yml.

Pages out of other files of the repository: README.md is the first one, and the
notebook is one with its outputs. Links that leave docs/ lead to pages with the
files that they name. Two pages are made from the code: verbs.md and fields.md.
llms.txt lists all pages.
"""

import ast
import json
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

from sapiens2_jax import fields

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Page -> the file of the repository that it shows.
COPIES = {
  "index.md": "README.md",
  "changelog.md": "CHANGELOG.md",
  "benchmarks.md": "benchmarks/README.md",
}
NOTEBOOK = "docs/first_steps.ipynb"
# Kind of config -> what its experiments do.
KINDS = {
  "pretrain": "Pretraining",
  "finetune": "Fine-tuning",
  "probe": "Probes",
  "curation": "Curation",
}
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_LISTED = """---
search: {{exclude: true}}
---

# {path}

"""


def origin(page: str) -> str:
  """The file of the repository behind a page."""
  return COPIES.get(page, f"docs/{page}")


def find_links(text: str) -> list[str]:
  """Targets of the links of a page that are not addresses of servers."""
  text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
  found = [match[2] for match in _LINK.finditer(text)]
  return [target for target in found if ":" not in target]


def find_target(target: str, file: str) -> str:
  """What a link in a file means: a path in the repository."""
  path = target.partition("#")[0]
  return posixpath.normpath(posixpath.join(posixpath.dirname(file), path))


def _place(path: str) -> str:
  """Where a file of the repository is on the site."""
  for page, file in COPIES.items():
    if path == file:
      return page
  if path == NOTEBOOK:
    path = path.replace(".ipynb", ".md")
  return path.removeprefix("docs/") if is_page(path) else f"source/{path}.md"


def is_page(path: str) -> bool:
  return path.startswith("docs/") or path in COPIES.values()


def _relink(text: str, page: str) -> str:
  """Links of a file of the repository as they must be on its page."""
  file = origin(page)

  def relink(match: re.Match) -> str:
    before, target, after = match.groups()
    if ":" in target or target.startswith("#"):
      return match[0]
    place = _place(find_target(target, file))
    mark = "#" + target.partition("#")[2] if "#" in target else ""
    return f"{before}{place}{mark}{after}"

  return _LINK.sub(relink, text)


def list_source(path: str) -> str:
  """A page with a file, or the files of a directory."""
  at = ROOT / path
  files = [at]
  if at.is_dir():
    files = sorted(p for p in at.rglob("*") if "__pycache__" not in p.parts)
  text = _LISTED.format(path=path)
  for file in filter(pathlib.Path.is_file, files):
    kind = {".py": "python", ".sh": "bash"}.get(file.suffix, "text")
    if at.is_dir():
      text += f"## {file.relative_to(ROOT)}\n\n"
    text += f"~~~~~~{kind}\n{file.read_text()}~~~~~~\n\n"
  return text


def show_notebook() -> str:
  """The notebook with its outputs as a page."""
  parts = []
  for cell in json.loads((ROOT / NOTEBOOK).read_text())["cells"]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
      parts.append(source)
      continue
    code = source.removeprefix("%%bash\n")
    parts.append(f"```{'python' if code == source else 'bash'}\n{code}\n```")
    for output in cell["outputs"]:
      text = "".join(output.get("text", ()))
      picture = output.get("data", {}).get("image/png", "")
      if text:
        parts.append(f"```text\n{text}```")
      if picture:
        data = "".join(picture).replace("\n", "")
        parts.append(f"![What it draws](data:image/png;base64,{data})")
  name = pathlib.Path(NOTEBOOK).name
  parts.insert(1, f'<a href="{name}" download>The notebook as a file</a>')
  return "\n\n".join(parts) + "\n"


def list_verbs() -> str:
  """What each verb of the command says of itself; imports none of them."""
  from sapiens2_jax.__main__ import VERBS

  text = (
    "# Verbs\n\nThe command `sapiens2` has a verb for each thing to do. "
    "`sapiens2 VERB --help` also lists its flags.\n\n"
  )
  for verb, module in VERBS.items():
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    text += f"## {verb}\n\n{docstring}\n\n"
  return text


def list_fields() -> str:
  """All fields of configs, by kind of experiment."""
  from sapiens2_jax import validation  # Imports JAX.
  from sapiens2_jax.tasks import registry

  text = (
    "# Fields of a config\n\nAn experiment sets fields, and "
    "`--config.GROUP.FIELD=VALUE` overrides one. Here each stands with its "
    "default, and in brackets where that is from: paper, reference, DINOv3 or "
    "ours.\n\n"
  )
  for kind, title in KINDS.items():
    text += f"## {title}\n\n" + _list_schema(validation.schema_of(kind))
  for task in registry.task_names():
    own = registry.config_fields(task)
    if own:
      text += f"## The task {task}\n\n" + _list_schema(own)
  return text


def _list_schema(schema: fields.Schema) -> str:
  lines, group = [], ""
  for name, field in sorted(schema.items()):
    if name.partition(".")[0] != group:
      group = name.partition(".")[0]
      lines += ["", f"### {group}", ""]
    # Sentences of the schema are no Markdown.
    text = re.sub(r"([\\*_<])", r"\\\1", field.text)
    lines.append(f"- `{name}={field.default!r}` {text} ({field.source})")
  return "\n".join(lines) + "\n\n"


def on_files(files, config):
  made = {page: (ROOT / file).read_text() for page, file in COPIES.items()}
  made |= {"verbs.md": list_verbs(), "fields.md": list_fields()}
  made["first_steps.md"] = show_notebook()
  pages = {
    file.src_uri: file.content_string for file in files.documentation_pages()
  }
  named = set()
  for page, text in {**pages, **made}.items():
    targets = [t for t in find_links(text) if not t.startswith("#")]
    named |= {find_target(target, origin(page)) for target in targets}
  for path in sorted(named):
    if not is_page(path) and (ROOT / path).exists():
      made[f"source/{path}.md"] = list_source(path)
  for page, text in made.items():
    files.append(File.generated(config, page, content=text))
  return files


def on_page_markdown(markdown, page, config, files):
  if page.file.src_uri.startswith("source/"):
    return markdown
  page.meta["description"] = first_sentence(markdown)
  return _relink(markdown, page.file.src_uri)


def first_sentence(text: str) -> str:
  """What a page is about: of its first paragraph, without marks of links."""
  blocks = re.split(r"\n\s*\n", text)
  paragraph = next(block for block in blocks if re.match(r"\s?[\w`]", block))
  paragraph = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)
  return re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]


def on_nav(nav, config, files):
  config.extra["listed"] = nav.items


def on_post_build(config):
  """Writes llms.txt: a line for each page, in the order of the menu."""
  lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
  for item in config.extra["listed"]:
    if item.is_section:
      lines += ["", f"## {item.title}", ""]
    for page in item.children or [item]:
      about = page.meta["description"]
      lines.append(f"- [{page.title}]({page.url}): {about}")
  path = pathlib.Path(config.site_dir, "llms.txt")
  path.write_text("\n".join(lines) + "\n")
