/** The report as one file for a browser: verdicts first, then ratios, plots and every figure. No script, nothing loaded. Pure. */
import type { Environment, Row } from "../model.ts";
import { describeMachine, limitsOf, noiseWarning, titleOf } from "./facts.ts";
import { cell, type FigureGroup, figureGroups, show, toDirect } from "./figures.ts";
import { type Goal, otherGoals, ratioGoals, untriedGoals } from "./goals.ts";
import { plotList, plottedVariants } from "./plot-list.ts";
import { colourClass, escapeMarkup as text } from "./plots.ts";
import type { Report } from "./report.ts";
import { stylesheet } from "./stylesheet.ts";
import { missionVerdicts, type Outcome } from "./verdicts.ts";

const words: Readonly<Record<Outcome, string>> = {
  beaten: "better",
  inside: "as said",
  missed: "worse",
  unknown: "unknown",
};

export function renderHtml(report: Report): string {
  const { document } = report;
  const variants = plottedVariants(document);
  const goals = otherGoals(document);
  const body = [
    `<h1>${text(titleOf(document.env))}</h1>`,
    `<p class="sub">${text(`${document.env.date} · commit ${document.env.commit.slice(0, 10) || "unknown"} · ${document.env.rounds} interleaved rounds · medians`)}</p>`,
    noiseNote(document.env),
    "<h2>Against what the mission says of sidecar meshes</h2>",
    `<div class="verdicts">${missionVerdicts(document).map(verdictCard).join("")}</div>`,
    "<h2>Native engine over TypeScript engine</h2>",
    goalTable("ratio", ratioGoals(document)),
    "<h2>Other goals</h2>",
    goalTable(
      "goal",
      goals.filter(({ value, tried }) => value !== null || tried),
    ),
    untriedNote(goals),
    "<h2>Plots</h2>",
    `<p class="legend">${variants.map((variant) => `<span><i class="${colourClass(variant)}"></i>${text(variant)}</span>`).join("")}</p>`,
    `<div class="plots">${plotList(report).join("")}</div>`,
    "<h2>All figures</h2>",
    "<p>Medians, in brackets the lowest and the highest round; × is the ratio to direct. A dash tells its reason when pointed at.</p>",
    ...figureGroups(document.scenarios).map(figureTable),
    absenceList(report),
    `<h2>Limits</h2><ul>${limitsOf(document.env)
      .map((limit) => `<li>${text(limit)}</li>`)
      .join("")}</ul>`,
    "<h2>Machine</h2>",
    `<table><tbody>${describeMachine(document.env)
      .map(([name, value]) => `<tr><th scope="row">${text(name)}</th><td>${text(value)}</td></tr>`)
      .join("")}</tbody></table>`,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bench, ${text(document.env.date)}</title>
<style>${stylesheet}</style>
</head>
<body><main>
${body.join("\n")}
</main></body>
</html>
`;
}

function noiseNote(env: Environment): string {
  const warning = noiseWarning(env);
  return warning === undefined ? "" : `<p class="loud">${text(warning)}</p>`;
}

function verdictCard({ claim, outcome, found }: ReturnType<typeof missionVerdicts>[number]): string {
  return `<section class="verdict ${outcome}"><h3>${text(claim)}</h3><p><b>${words[outcome]}</b> ${text(found)}</p></section>`;
}

function goalTable(what: string, goals: readonly Goal[]): string {
  const rows = goals.map(({ name, value, unit, wants, met, reason }) => {
    const shown = value === null ? `<span class="why">${text(reason)}</span>` : text(`${show(value)}${unit}`);
    const mark = met === undefined ? "" : met ? '<span class="met">met</span>' : '<span class="unmet">missed</span>';
    return `<tr><th scope="row">${text(name)}</th><td>${shown}</td><td>${text(wants)}</td><td>${mark}</td></tr>`;
  });
  return `<table class="goals"><thead><tr><th>${text(what)}</th><th>value</th><th>wanted</th><th></th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function untriedNote(goals: readonly Goal[]): string {
  const untried = untriedGoals(goals);
  return untried === "" ? "" : `<p class="sub">${text(untried)}</p>`;
}

function figureTable({ variants, rows }: FigureGroup): string {
  const line = (row: Row) => {
    const cells = variants.map((variant) => {
      const ratio = toDirect(row, variant);
      const reason = row.reasons[variant];
      return `<td${reason === undefined ? "" : ` title="${text(reason)}"`}>${text(cell(row, variant))}${ratio === undefined ? "" : ` <small>${show(ratio)}×</small>`}</td>`;
    });
    return `<tr><th scope="row"><code>${text(row.name)}</code><small>${text(row.what)}</small></th><td>${text(row.unit)}</td>${cells.join("")}</tr>`;
  };
  const bodies = [...Map.groupBy(rows, ({ scenario }) => scenario)].map(
    ([scenario, its]) =>
      `<tbody><tr class="scenario"><th scope="rowgroup" colspan="${variants.length + 2}">${text(scenario)}</th></tr>${its.map(line).join("")}</tbody>`,
  );
  return `<div class="wide"><table class="figures"><thead><tr><th>measure</th><th>unit</th>${variants.map((variant) => `<th>${text(variant)}</th>`).join("")}</tr></thead>${bodies.join("")}</table></div>`;
}

function absenceList({ absences }: Report): string {
  if (absences.length === 0) return "";
  const items = absences.map(
    ({ scenario, variant, reason }) => `<li>${text(`${scenario}, ${variant}: ${reason}`)}</li>`,
  );
  return `<h2>What did not run</h2><ul>${items.join("")}</ul>`;
}
