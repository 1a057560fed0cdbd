import { expect, it } from "vitest";
import { reasonInfo, reasons } from "../../src/model/reason.ts";

const preamble = `# Reasons

<!-- Generated from src/model/reason.ts by test/docs/reasons.test.ts; \`vitest run test/docs/reasons.test.ts -u\` writes it anew. -->

Why a connection, a tunnel or a request ended or was refused. The code is the same in the access log (\`reason=\`), in the \`reason\` label of
\`warren_flows_closed_total\`, \`warren_http_requests_total\` and \`warren_policy_decisions_total\`, in \`warren tap\`, \`warren why\` and \`warren edges\`, and in
the \`x-warren-reason\` header of an answer to CONNECT, or to a request on a port with HTTP rules.
Codes are stable: one that goes out of use is never given another meaning.

*Status* is what an HBONE client is answered; 200 means that the connection was carried, and says how it ended. *Flags* is the
\`response_flags\` label of Istio's TCP metrics. An application behind the mesh is told nothing but a reset, or a 403 where requests are
judged, so the place to look is \`warren why SRC DST\`, which joins what both ends' agents know.

| code | status | flags | what happened | what to check |
|---|---|---|---|---|
`;

it("docs/reasons.md is what the table of reasons says", async () => {
  const cell = (text: string) => (text === "" ? "-" : text.replaceAll("|", "\\|"));
  const rows = [...reasons].sort().map((code) => {
    const { status, flags, text, hint } = reasonInfo(code);
    return `| \`${code}\` | ${status} | \`${flags}\` | ${cell(text)} | ${cell(hint)} |\n`;
  });
  await expect(`${preamble}${rows.join("")}`).toMatchFileSnapshot("../../docs/reasons.md");
});

it("gives every failure a hint, but for ends that somebody asked for", () => {
  const silent = reasons.filter((code) => reasonInfo(code).status !== 200 && reasonInfo(code).hint === "");
  expect(silent.sort()).toEqual(["closed-by-operator", "pod-removed"]);
});
