"""Style sheet of the report: light and dark, on screens and on paper."""

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --card: #f6f7f9; --line: #d9dde3; --text: #1c2430; --soft: #5b6675;
  --raw: #7f8998; --after: #2f6fd6; --drawn: #d05a0a; --tint: 47, 111, 214; }
@media (prefers-color-scheme: dark) { :root { --back: #12161c; --card: #1b2129; --line: #343d49; --text: #e6eaf0;
  --soft: #a3adba; --raw: #8f99a8; --after: #6aa0f8; --drawn: #f08a3c; --tint: 106, 160, 248; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 980px; padding: 28px 20px 60px; background: var(--back); color: var(--text);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 4px; line-height: 1.25; }
h2 { font-size: 1.1rem; margin: 32px 0 8px; }
h3 { font-size: .95rem; margin: 18px 0 4px; }
p, dl, table, pre { margin: 0 0 10px; }
.soft, figcaption, .role { color: var(--soft); font-size: .88rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; margin: 0 0 12px; }
.role { font-weight: 600; }
.text, pre { white-space: pre-wrap; font: 14px/1.6 ui-monospace, "Cascadia Mono", Menlo, "Noto Sans Mono", monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; }
dt { color: var(--soft); }
dd { margin: 0; }
.token { border-radius: 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.token { box-shadow: inset 0 -1px 0 var(--line); }
.p0 { background: rgba(var(--tint), .04); } .p1 { background: rgba(var(--tint), .13); }
.p2 { background: rgba(var(--tint), .22); } .p3 { background: rgba(var(--tint), .32); }
.p4 { background: rgba(var(--tint), .42); } .p5 { background: rgba(var(--tint), .54); }
.scale span { padding: 1px 7px; white-space: nowrap; color: var(--text); }
table { border-collapse: collapse; font-size: .86rem; width: 100%; }
th, td { text-align: left; padding: 3px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 0 0 14px; }
.chart { overflow-x: auto; }
.chart > svg { min-width: 640px; }
svg { width: 100%; height: auto; display: block; }
svg.key { width: 10px; height: 10px; display: inline; }
svg text { fill: var(--text); font: 12px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg .axis, svg .grid { stroke: var(--line); stroke-width: 1; fill: none; }
svg .raw { stroke: var(--raw); fill: none; stroke-width: 2; }
svg .after { stroke: var(--after); fill: none; stroke-width: 2; }
svg .bar-raw { fill: var(--raw); } svg .bar-after { fill: var(--after); } svg .bar-drawn { fill: var(--drawn); }
svg .dot-raw { fill: var(--raw); } svg .dot-after { fill: var(--after); }
svg .out { fill: var(--soft); text-decoration: line-through; }
details { margin: 0 0 6px; } summary { cursor: pointer; padding: 2px 0; }
.scroll { overflow-x: auto; }
.error { color: var(--drawn); }
@media (max-width: 640px) { body { padding: 16px 12px 40px; }
  dl { grid-template-columns: 1fr; } dt { margin-top: 6px; } }
@media print { details { break-inside: avoid; } }
"""
