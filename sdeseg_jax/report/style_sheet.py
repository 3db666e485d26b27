"""The page's style sheet."""

STYLE = """
:root { --line: #d9dde2; --soft: #5b6570; --accent: #1f5fa8; color-scheme: light; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { max-width: 1240px; margin: 0 auto; padding: 24px 28px 64px; color: #1c2126; background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { max-width: 900px; margin: 6px 0 12px; }
nav { margin: 8px 0 14px; }
nav ul { display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 0; padding: 0; list-style: none; }
a { color: var(--accent); }
#summary h2 { margin-top: 18px; }
.columns { display: flex; flex-wrap: wrap; gap: 8px 34px; align-items: flex-start; margin-bottom: 14px; }
.columns > div { min-width: 0; max-width: 560px; flex: 0 1 auto; }
.columns p { max-width: 430px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 500; }
th:first-child, td:first-child { padding-left: 0; }
thead th { color: var(--soft); font-size: 13px; vertical-align: bottom; }
tbody th, .numbers td, .numbers thead th { white-space: nowrap; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; }
.facts th { color: var(--soft); }
.facts td { overflow-wrap: anywhere; }
.times td:nth-child(2) { text-align: right; white-space: nowrap; }
dl { margin: 6px 0; }
dt { color: var(--soft); }
dd { margin: 0 0 8px; }
dd code, .facts code { display: inline-block; }
.flag { white-space: nowrap; }
.best { font-weight: 700; }
.gain { color: #14743a; font-weight: 600; }
.loss { color: #b3261e; font-weight: 600; }
.note { color: var(--soft); font-size: 13.5px; }
.warning { margin: 10px 0; padding: 8px 14px; border-left: 4px solid #d98a00; background: #fff6e5; }
.warning h3 { margin-top: 0; }
.warning ul { margin: 0; padding-left: 18px; max-width: 1000px; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--accent); }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
.ids { columns: 5 150px; margin: 8px 0; padding: 0; list-style: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 14px 18px; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
.classes { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 32px; align-items: start; }
.matrices { display: flex; flex-wrap: wrap; gap: 14px 28px; }
.scroll { max-width: 100%; overflow-x: auto; }
.confusion { border-collapse: separate; border-spacing: 1px; font-size: 11px; line-height: 1.2; }
.confusion caption { text-align: left; font-size: 14px; font-weight: 600; padding-bottom: 4px; }
.confusion th, .confusion td { border: 0; padding: 2px 1px; vertical-align: middle; }
.confusion td { min-width: 21px; text-align: center; background: #f4f5f7; }
.confusion td:last-child { padding-left: 6px; text-align: right; background: none; }
.confusion .absent { color: var(--soft); }
.confusion tbody th { position: sticky; left: 0; padding-right: 6px; text-align: right; background: #fff; }
.confusion thead th { vertical-align: bottom; font-size: 11px; }
.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.confusion thead .corner { text-align: right; padding-right: 6px; }
.pictures { margin: 10px 0 18px; }
.row { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 10px; margin-bottom: 10px;
  break-inside: avoid; }
.pictures img { display: block; width: 100%; height: auto; border-radius: 3px; outline: 1px solid #0002;
  outline-offset: -1px; }
.wide { display: flex; flex-wrap: wrap; gap: 18px 28px; margin: 14px 0; }
.wide figure { max-width: min(100%, 570px); }
.wide img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: 2px; color: var(--soft); font-size: 12.5px; line-height: 1.35; overflow-wrap: anywhere; }
.group { padding-bottom: 8px; border-bottom: 1px solid var(--line); }
.scale { max-width: 460px; margin: 10px 0 0; font-size: 12.5px; color: var(--soft); }
.scale img { display: block; width: 100%; height: 12px; border-radius: 2px; }
.ticks { position: relative; height: 18px; }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.ticks .start { left: 0; transform: none; }
.ticks .end { right: 0; transform: none; }
.scales { display: flex; flex-wrap: wrap; gap: 0 60px; }
.scales .scale { flex: 1 1 300px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0; font-size: 13px; }
.swatch { display: inline-block; width: 13px; height: 13px; margin-right: 5px; vertical-align: -2px;
  border: 1px solid #0003; border-radius: 2px; }
@media (max-width: 800px) { .classes { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 600px) {
  body { padding: 16px 16px 40px; }
  .row { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  th, td { padding: 3px 6px; }
  tbody th, .numbers thead th { white-space: normal; }
  .numbers tbody th, .facts th { min-width: 84px; overflow-wrap: anywhere; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 12px; }
  h2, h3, h2 + p, h3 + p { break-after: avoid; }
  figure, tr, .scales, .confusion, .columns > div { break-inside: avoid; }
  .classes { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 20px; }
  .note, .legend, figcaption, code { font-size: 11px; }
  th, td { padding: 1px 8px; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .scroll { overflow: visible; }
  .confusion { font-size: 9px; }
  .confusion td { min-width: 17px; }
}
"""
