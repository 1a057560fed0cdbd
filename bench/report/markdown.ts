/** The report as text for terminals, notes and pull requests. Pure. */
import { describeMachine, limitsOf, noiseWarning, titleOf } from "./facts.ts";
import { cell, figureGroups, show, toDirect } from "./figures.ts";
import { type Goal, otherGoals, ratioGoals, untriedGoals } from "./goals.ts";
import type { Report } from "./report.ts";
import { missionVerdicts, type Outcome } from "./verdicts.ts";

const words: Readonly<Record<Outcome, string>> = {
  beaten: "better than that",
  inside: "as that says",
  missed: "WORSE than that",
  unknown: "unknown",
};

export function renderMarkdown({ document, absences }: Report): string {
  const rows = document.scenarios;
  const warning = noiseWarning(document.env);
  const lines = [
    `# ${titleOf(document.env)}`,
    "",
    ...(warning === undefined ? [] : [`> ${warning}`, ""]),
    "## What the mission says of sidecar meshes, and what was found",
    "",
  ];
  lines.push(
    ...table(
      ["claim", "verdict", "found"],
      missionVerdicts(document).map(({ claim, outcome, found }) => [claim, words[outcome], found]),
    ),
  );
  lines.push("", "## Native engine (warren) over TypeScript engine", "", ...goalTable("ratio", ratioGoals(document)));
  const goals = otherGoals(document);
  const tried = goals.filter(({ value, tried: asked }) => value !== null || asked);
  lines.push("", "## Other goals", "", ...goalTable("goal", tried), "", untriedGoals(goals));
  lines.push("", "## Figures", "", "Medians, in brackets the lowest and highest round; × is the ratio to direct.", "");
  for (const group of figureGroups(rows)) {
    const figures = group.rows.map((row) => [
      row.name,
      row.unit,
      ...group.variants.map((variant) => {
        const ratio = toDirect(row, variant);
        return ratio === undefined ? cell(row, variant) : `${cell(row, variant)} · ${show(ratio)}×`;
      }),
    ]);
    lines.push(...table(["measure", "unit", ...group.variants], figures), "");
  }
  lines.push(...rows.map(({ name, what }) => `- \`${name}\`: ${what}`));
  if (absences.length > 0) {
    lines.push("", "## What did not run", "");
    lines.push(...absences.map(({ scenario, variant, reason }) => `- ${scenario}, ${variant}: ${reason}`));
  }
  lines.push("", "## Limits", "", ...limitsOf(document.env).map((limit) => `- ${limit}`));
  lines.push("", "## Machine", "", ...table(["", ""], describeMachine(document.env)));
  return `${lines.join("\n")}\n`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}

function goalTable(what: string, goals: readonly Goal[]): string[] {
  return table(
    [what, "value", "wanted", ""],
    goals.map(({ name, value, unit, wants, met, reason }) => [
      name,
      value === null ? `none: ${reason}` : `${show(value)}${unit}`,
      wants,
      met === undefined ? "" : met ? "met" : "MISSED",
    ]),
  );
}
