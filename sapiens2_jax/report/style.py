"""How the page looks, on light and on dark screens."""

CSS = """
:root {
  color-scheme: light dark;
  --text: #1d2129; --soft: #5f6775; --line: #dfe3e8; --back: #ffffff;
  --panel: #f5f6f8; --good: #1f7a52; --bad: #b3382c; --warn: #9a5b13;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e4e7ec; --soft: #9aa3b2; --line: #2d323b; --back: #14171c;
    --panel: #1c2027; --good: #58c08f; --bad: #e8796d; --warn: #dda057;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 0 0 10px; }
p { margin: 0 0 10px; max-width: 78ch; }
.subtitle { color: var(--soft); margin: 6px 0 14px; }
nav {
  display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 10px 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line);
}
nav a { color: var(--soft); text-decoration: none; font-size: 13px; }
nav a:hover { color: var(--text); text-decoration: underline; }
section { margin-top: 40px; }
figure { margin: 18px 0 22px; }
img { display: block; max-width: 100%; height: auto; }
figcaption {
  color: var(--soft); font-size: 13px; margin-top: 8px; max-width: 100ch;
}
.gallery { display: flex; flex-wrap: wrap; gap: 10px 24px; }
.gallery figure { margin: 0 0 10px; max-width: 100%; }
.gallery figcaption { width: 0; min-width: 100%; }
.pair { display: flex; gap: 6px; }
.pair a { min-width: 0; }
.pair img { height: 192px; width: auto; object-fit: contain; }
figcaption a { color: inherit; }
.legend {
  display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 14px; padding: 0;
  list-style: none; color: var(--soft); font-size: 12.5px;
}
.legend span {
  display: inline-block; width: 11px; height: 11px; margin-right: 5px;
  border-radius: 3px; vertical-align: -1px;
}
.tiles {
  display: grid; gap: 12px; margin-bottom: 22px;
  grid-template-columns: repeat(auto-fit, minmax(190px, 1fr));
}
.tile { background: var(--panel); border-radius: 8px; padding: 12px 16px; }
.tile .name, .tile .note { color: var(--soft); font-size: 12.5px; }
.tile .value {
  font-size: 25px; line-height: 1.3; font-variant-numeric: tabular-nums;
}
.facts {
  display: grid; gap: 10px 28px; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(240px, 1fr));
}
dt { color: var(--soft); font-size: 12.5px; }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 0 0 14px; }
table {
  border-collapse: collapse; font-size: 13px;
  font-variant-numeric: tabular-nums;
}
th, td {
  text-align: left; vertical-align: top; padding: 5px 18px 5px 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere;
}
th { color: var(--soft); font-weight: 500; }
.why { color: var(--soft); font-size: 13px; margin: 14px 0 4px; }
pre {
  margin: 0; padding: 10px 14px; border-radius: 8px; overflow-x: auto;
  background: var(--panel); font-size: 12.5px; white-space: pre-wrap;
  overflow-wrap: anywhere;
}
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.badge {
  display: inline-block; padding: 1px 11px; border-radius: 99px;
  border: 1px solid currentColor; font-size: 13px;
}
.good { color: var(--good); }
.bad { color: var(--bad); }
.warning { color: var(--warn); }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""
