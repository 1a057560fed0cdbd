/** The plaintext report as people and auditors read it: a table, Markdown, HTML or CSV, always with its window and its blind spots. */
import type { Column, Listing } from "../output/listing.ts";
import { spanText } from "../output/words.ts";
import type { Coverage } from "./gather.ts";
import { ownerText, peerText } from "./peer.ts";
import type { PlaintextRow, PlaintextWhy } from "./plaintext-report.ts";

export interface PlaintextSummary {
  /** What STRICT is rehearsed for; empty without a rehearsal. */
  readonly rehearsal: string;
  /** Milliseconds that were asked for, and for how long every agent has watched. */
  readonly window: number;
  readonly watched: number;
  readonly nodes: readonly {
    readonly node: string;
    readonly since: string;
    readonly evicted: number;
    readonly merged: number;
  }[];
  /** Asked, and not heard of. */
  readonly missing: readonly string[];
  readonly conversations: number;
  /** Of them, those that are history. */
  readonly encryptedSince: number;
  /** Of them, those that STRICT would refuse, or refuses already. */
  readonly refusedByStrict: number;
  readonly blindSpots: readonly string[];
}

export interface SummaryInput {
  readonly rows: readonly PlaintextRow[];
  readonly coverage: readonly Coverage[];
  readonly missing: readonly string[];
  readonly unread: readonly string[];
  readonly rehearsal: string;
  readonly window: number;
  readonly now: number;
}

export function summaryOf({ rows, coverage, missing, unread, rehearsal, window, now }: SummaryInput): PlaintextSummary {
  const watched = coverage.length === 0 ? 0 : Math.min(...coverage.map(({ since }) => now - since));
  const evicted = coverage.reduce((sum, one) => sum + one.evicted, 0);
  const merged = coverage.reduce((sum, one) => sum + one.merged, 0);
  return {
    rehearsal,
    window,
    watched,
    nodes: coverage.map(({ node, since, evicted: gone, merged: shared }) => ({
      node,
      since: new Date(since).toISOString(),
      evicted: gone,
      merged: shared,
    })),
    missing,
    conversations: rows.length,
    encryptedSince: rows.filter(({ why }) => why === "encrypted-since").length,
    refusedByStrict: rows.filter(({ strict }) => strict === "refuses" || strict === "refused-already").length,
    blindSpots: [
      ...(watched < window
        ? [`agents have watched for ${spanText(watched)} only, since the last of them started`]
        : []),
      ...missing.map((node) => `node ${node} did not answer: nothing is known of its pods`),
      ...unread.map(
        (pod) => `the sockets of ${pod} could not be read: connections from before its enrolment are not listed`,
      ),
      ...(evicted > 0 ? [`${evicted} rarely seen conversations were forgotten for want of room`] : []),
      ...(merged > 0 ? [`${merged} connections are told as "further peers" of a busy port`] : []),
      "clients that did not connect in the window are not known: a monthly job, a backup",
      "UDP, and pods with hostNetwork as destinations, are not seen",
      "the kubelet's probes are exempt, before and after STRICT",
    ],
  };
}

const whyTexts: Readonly<Record<PlaintextWhy, string>> = {
  "client-not-enrolled": "client not enrolled",
  "client-opted-out": "client opted out",
  "client-host-network": "client on the host network",
  "client-outside": "client outside the cluster",
  "client-sent-plaintext": "client in the mesh, yet in clear",
  "encrypted-since": "encrypted since",
  "mode-disable": "PeerAuthentication DISABLE",
  "destination-not-enrolled": "destination not enrolled",
  "destination-opted-out": "destination opted out",
  "destination-host-network": "destination on the host network",
  "destination-outside": "destination outside the cluster",
  "open-before-enrolment": "open before enrolment",
  unknown: "not told",
};

const strictTexts: Readonly<Record<PlaintextRow["strict"], string>> = {
  refuses: "REFUSES",
  encrypts: "encrypts",
  "no-effect": "no effect",
  "refused-already": "refused already",
};

const columns: readonly Column<PlaintextRow>[] = [
  { title: "DESTINATION", cell: ({ destination }) => `${ownerText(destination)}:${destination.port}` },
  { title: "CLIENT", cell: clientText },
  { title: "WHY", cell: ({ why }) => whyTexts[why] },
  {
    title: "CONNS",
    cell: ({ connections, refused }) => (refused === 0 ? String(connections) : `${connections} (+${refused} refused)`),
  },
  { title: "FIRST SEEN", cell: ({ firstSeen }) => agoText(firstSeen), wide: true },
  { title: "LAST SEEN", cell: ({ lastSeen }) => agoText(lastSeen) },
  { title: "MODE", cell: ({ mode, policy }) => (mode === "" ? "" : `${mode} (${policy || "default"})`), wide: true },
  {
    title: "STRICT",
    cell: ({ strict }) => strictTexts[strict],
    style: ({ strict }, colours) =>
      strict === "refuses" ? colours.red : strict === "refused-already" ? colours.yellow : undefined,
  },
  { title: "BECAUSE", cell: ({ strictBecause }) => strictBecause, wide: true },
  { title: "FIX", cell: ({ fix }) => fix },
];

export const plaintextListing: Listing<PlaintextRow> = {
  schema: "warren.plaintext/v1",
  items: "conversations",
  columns,
  name: ({ destination, client }) => `${ownerText(client)}->${ownerText(destination)}:${destination.port}`,
  none: "no plaintext was seen",
};

function clientText({ client }: PlaintextRow): string {
  return client.kind === "host-network" || client.kind === "others" || client.owner === ""
    ? peerText(client)
    : ownerText(client);
}

function agoText(time: string): string {
  return time === "" ? "" : `${spanText(Date.now() - Date.parse(time))} ago`;
}

/** Below the table, and above the rows of an exported report. */
export function summaryLines(summary: PlaintextSummary): string[] {
  const { rehearsal, conversations, refusedByStrict, window, watched, nodes, blindSpots } = summary;
  const verdict =
    rehearsal === ""
      ? `${conversations} ${conversations === 1 ? "conversation" : "conversations"} in clear; STRICT refuses or would refuse ${refusedByStrict}`
      : refusedByStrict === 0
        ? `STRICT for ${rehearsal} would refuse nothing that was seen`
        : `STRICT for ${rehearsal} would refuse ${refusedByStrict} of ${conversations} conversations`;
  return [
    verdict,
    `window ${spanText(window)}, watched for ${spanText(watched)} by ${nodes.length} ${nodes.length === 1 ? "node" : "nodes"} (${nodes.map(({ node }) => node).join(", ")})`,
    "what this does not see:",
    ...blindSpots.map((spot) => `  - ${spot}`),
  ];
}

export type ExportFormat = "md" | "html" | "csv";

export function exportReport(rows: readonly PlaintextRow[], summary: PlaintextSummary, format: ExportFormat): string {
  const heads = exported.map(([head]) => head);
  const cells = rows.map((row) => exported.map(([, cell]) => cell(row)));
  switch (format) {
    case "csv":
      return `${[heads, ...cells].map((line) => line.map(csvCell).join(",")).join("\r\n")}\r\n`;
    case "md":
      return [
        "# Plaintext report",
        "",
        ...summaryLines(summary).map((line) => (line.startsWith("  - ") ? line.slice(2) : `${markdownText(line)}\n`)),
        "",
        markdownRow(heads),
        markdownRow(heads.map(() => "---")),
        ...cells.map((line) => markdownRow(line.map(markdownText))),
        "",
      ].join("\n");
    case "html":
      return htmlReport(heads, cells, summary);
  }
}

const exported: readonly (readonly [head: string, cell: (row: PlaintextRow) => string])[] = [
  ["Destination", ({ destination }) => `${ownerText(destination)}:${destination.port}`],
  ["Client", clientText],
  ["Client address", ({ client }) => client.address],
  ["Client node", ({ client }) => client.node],
  ["Why", ({ why }) => whyTexts[why]],
  ["Connections", ({ connections }) => String(connections)],
  ["Refused", ({ refused }) => String(refused)],
  ["First seen", ({ firstSeen }) => firstSeen],
  ["Last seen", ({ lastSeen }) => lastSeen],
  ["Mode", ({ mode }) => mode],
  ["Policy", ({ policy }) => policy],
  [
    "STRICT",
    ({ strict, strictBecause }) =>
      strictBecause === "" ? strictTexts[strict] : `${strictTexts[strict]}: ${strictBecause}`,
  ],
  ["Fix", ({ fix }) => fix],
];

/** RFC 4180; what a spreadsheet would run as a formula is kept text. */
function csvCell(text: string): string {
  const inert = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}

function markdownText(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("\n", " ");
}

function markdownRow(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function htmlReport(
  heads: readonly string[],
  cells: readonly (readonly string[])[],
  summary: PlaintextSummary,
): string {
  const row = (tag: "td" | "th", line: readonly string[]) =>
    `<tr>${line.map((cell) => `<${tag}>${htmlText(cell)}</${tag}>`).join("")}</tr>`;
  const style =
    "body{font:14px system-ui;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #999;padding:4px 8px;text-align:left;vertical-align:top}";
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Plaintext report</title><style>${style}</style></head><body>`,
    `<h1>Plaintext report</h1><pre>${htmlText(summaryLines(summary).join("\n"))}</pre>`,
    `<table><thead>${row("th", heads)}</thead><tbody>`,
    ...cells.map((line) => row("td", line)),
    "</tbody></table></body></html>",
    "",
  ].join("\n");
}

function htmlText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
