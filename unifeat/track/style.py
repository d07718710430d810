"""How a track's page looks: one style sheet, light or dark as the reader's system says, for screens of any width."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1e; --soft: #5c5c63; --line: #d8d8dd; --panel: #f6f6f8;
  --mark: #0b57d0; --a: #0072b2; --b: #d55e00; --a-ink: #0069a6; --b-ink: #a84a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #16171a; --ink: #e9e9ec; --soft: #a5a6ad; --line: #3a3b41;
  --panel: #202126; --mark: #8ab4f8; --a: #3aa0e0; --b: #f08a45; --a-ink: #63b1e3; --b-ink: #f08a45; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .3rem 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p { margin: .4rem 0 .7rem; max-width: 46rem; }
.soft, figcaption { color: var(--soft); }
.small { font-size: .86rem; }
.a { color: var(--a-ink); } .b { color: var(--b-ink); }
b, .name { font-weight: 650; } .name { overflow-wrap: anywhere; unicode-bidi: isolate; }
.lead { font-size: 1.1rem; }
.warn { border-left: 4px solid var(--b); background: var(--panel); padding: .5rem .8rem .5rem 2rem; margin: .8rem 0;
  max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .3rem 0; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; }
thead th { font-size: .84rem; font-weight: 600; color: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 13rem; }
.small tbody th { min-width: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .86rem; }
svg.curve { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; }
svg path { fill: none; stroke-width: 2; }
svg .grid { stroke: var(--line); } svg .at { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .band { stroke: none; opacity: .22; } svg .band.a { fill: var(--a); } svg .band.b { fill: var(--b); }
svg .share { stroke: var(--ink); stroke-width: 2.6; }
svg .share.a { stroke: var(--a); } svg .share.b { stroke: var(--b); }
svg .ceiling { stroke: var(--ink); stroke-dasharray: 7 4; stroke-width: 1.8; }
svg .null { stroke: var(--soft); stroke-width: 1.6; }
svg .within_token { stroke-dasharray: 1 4; } svg .rotated { stroke-dasharray: 4 3 1 3; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .3rem 0;
  font-size: .86rem; }
.legend svg { width: 30px; height: 12px; vertical-align: middle; }
details { border-bottom: 1px solid var(--line); }
summary { padding: .35rem 0; cursor: pointer; display: grid; align-items: baseline; gap: .2rem .8rem;
  grid-template-columns: 4.4rem minmax(0, 1fr) minmax(0, 1fr); }
summary:hover { background: var(--panel); } summary > * { min-width: 0; }
summary .r { font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
summary .r::before { content: "\\25b8"; color: var(--soft); display: inline-block; width: 1.2rem; }
details[open] > summary .r::before { content: "\\25be"; }
summary::-webkit-details-marker { display: none; }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 1px; }
code, .text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
code { background: var(--panel); border: 1px solid var(--line); border-radius: 4px; padding: 0 .3rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
.text { font-size: .84rem; line-height: 2.35; white-space: pre-wrap; overflow-wrap: anywhere; margin: .1rem 0 .5rem;
  max-width: none; }
.text span { unicode-bidi: isolate; padding: .42em 0; background-repeat: no-repeat; background-size: 100% .3em;
  background-position: 0 0, 0 100%; box-decoration-break: clone; -webkit-box-decoration-break: clone;
  background-image: linear-gradient(color-mix(in srgb, var(--a) var(--x, 0%), transparent) 0 0),
    linear-gradient(color-mix(in srgb, var(--b) var(--y, 0%), transparent) 0 0); }
.text u { text-decoration: none; font-weight: 700; }
.text .domain { font: .75rem system-ui, sans-serif; color: var(--soft); background: none; padding: 0 .6rem 0 0; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr); gap: .25rem 1rem;
  margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; max-width: 46rem; }
@media (max-width: 36rem) {
  body { font-size: 15px; padding: .7rem .8rem 2rem; } .lead { font-size: 1rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: .5rem; }
  tbody th { min-width: 8rem; }
  summary { grid-template-columns: 4.4rem minmax(0, 1fr); } summary .other { grid-column: 2; } }
"""
