import type { Report } from "./report.ts";
export function renderMarkdown({ document }: Report): string {
  return JSON.stringify(document.scenarios.map((r) => [r.name, r.medians]));
}
