"""The page's style sheet."""

STYLE = """
:root { --line: #d9dde2; --soft: #5b6570; --accent: #1f5fa8; }
* { box-sizing: border-box; }
body { max-width: 1240px; margin: 0 auto; padding: 24px 28px 64px; color: #1c2126; background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { max-width: 900px; margin: 6px 0 12px; }
nav { margin: 4px 0 14px; }
nav a { margin-right: 18px; color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.columns { display: flex; flex-wrap: wrap; gap: 8px 34px; align-items: flex-start; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 500; }
th:first-child, td:first-child { padding-left: 0; }
thead th { color: var(--soft); font-size: 13px; white-space: nowrap; }
tbody th { white-space: nowrap; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.facts th { color: var(--soft); }
.facts td { overflow-wrap: anywhere; }
.facts code { display: inline-block; }
.best { font-weight: 700; }
.gain { color: #14743a; font-weight: 600; }
.loss { color: #b3261e; font-weight: 600; }
.note { color: var(--soft); font-size: 13.5px; }
.warning { padding: 8px 12px; border-left: 4px solid #d98a00; background: #fff6e5; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--accent); }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
.ids { columns: 5 150px; margin: 8px 0; padding: 0; list-style: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px 18px; }
.charts figure, .pictures figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
.classes { display: grid; grid-template-columns: minmax(0, 1.2fr) minmax(0, 1fr); gap: 32px; align-items: start; }
.pictures { display: grid; gap: 10px; margin: 10px 0 18px; }
.pictures img { display: block; width: 100%; height: auto; border-radius: 3px; }
figcaption { margin-top: 2px; color: var(--soft); font-size: 12.5px; line-height: 1.35; overflow-wrap: anywhere; }
.group { padding-bottom: 8px; border-bottom: 1px solid var(--line); }
.scale { max-width: 460px; margin: 10px 0 0; font-size: 12.5px; color: var(--soft); }
.scale img { display: block; width: 100%; height: 12px; border-radius: 2px; }
.ticks { position: relative; height: 18px; }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.scales { display: flex; flex-wrap: wrap; gap: 0 60px; }
.scales .scale { flex: 1 1 320px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0; font-size: 13px; }
.swatch { display: inline-block; width: 13px; height: 13px; margin-right: 5px; vertical-align: -2px;
  border: 1px solid #0003; border-radius: 2px; }
@media (max-width: 800px) { .classes { grid-template-columns: 1fr; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""
