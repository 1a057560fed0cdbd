/** The report's looks, in the reader's own choice of light or dark. */
export const stylesheet = `
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --paper: #fbfbfd; --card: #fff; --rule: #dde1e8;
  --direct: #8a93a3; --typescript: #3178c6; --warren: #d9622b; --local: #2f9e7a; --peer: #7b4fa3; --good: #1d7f4f; --bad: #b3261e; --fair: #8a6a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --soft: #9aa5b8; --paper: #14181f; --card: #1b212b; --rule: #303846;
  --direct: #7d8798; --typescript: #5a9ce0; --warren: #f08a55; --local: #5fcba6; --peer: #b28bd6; --good: #58c28c; --bad: #ff8a80; --fair: #e0bb4c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 36px 0 12px; } .sub, small, .why { color: var(--soft); }
.verdicts { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }
.verdict { background: var(--card); border: 1px solid var(--rule); border-left: 5px solid var(--soft); border-radius: 6px; padding: 10px 14px; }
.verdict h3 { font-size: 14px; margin: 0 0 4px; } .verdict p { margin: 0; overflow-wrap: anywhere; }
.verdict.beaten, .verdict.inside { border-left-color: var(--good); } .verdict.beaten b, .verdict.inside b, .met { color: var(--good); }
.verdict.missed { border-left-color: var(--bad); } .verdict.missed b, .unmet { color: var(--bad); } .verdict.unknown b { color: var(--fair); }
.loud { border: 1px solid var(--fair); border-left-width: 5px; border-radius: 6px; padding: 8px 14px; margin: 16px 0 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); font-weight: normal; }
thead th { color: var(--soft); } .goals th:first-child { width: 55%; } .goals td { white-space: nowrap; } .goals td:nth-child(2) { white-space: normal; }
.figures { margin-bottom: 28px; } .figures th:first-child { width: 34%; } .scenario th { padding-top: 16px; font-weight: 600; } code { font: 13px ui-monospace, monospace; } tbody th small { display: block; max-width: 46ch; line-height: 1.35; } .wide { overflow-x: auto; }
.why { overflow-wrap: anywhere; } .figures td { white-space: nowrap; }
.plots { display: grid; grid-auto-flow: dense; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 12px; }
figcaption { font-size: 14px; } svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .tick { fill: var(--soft); text-anchor: middle; } svg .tick.y { text-anchor: end; } figure.two { grid-column: 1 / -1; }
svg .value { text-anchor: middle; font-size: 12px; } svg .grid { stroke: var(--rule); } svg .whisker { stroke: var(--ink); opacity: .7; }
.v-direct { fill: var(--direct); background: var(--direct); stroke: var(--direct); } .v-typescript { fill: var(--typescript); background: var(--typescript); stroke: var(--typescript); }
.v-warren { fill: var(--warren); background: var(--warren); stroke: var(--warren); } .v-warren-local { fill: var(--local); background: var(--local); stroke: var(--local); } .v-peer { fill: var(--peer); background: var(--peer); stroke: var(--peer); }
svg rect { stroke: none; } svg .line { fill: none; stroke-width: 2; }
.legend span { margin-right: 18px; } .legend i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; }
`;
