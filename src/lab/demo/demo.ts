/**
 * `warren demo`: a two-node cluster out of network namespaces, real programs in its pods, and one line for each promise of the mesh,
 * measured on the spot. Scenes run in order: what one sets up, the next relies on.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { Lab } from "../lab.ts";
import type { LabOptions } from "../options.ts";
import type { Checklist } from "./checklist.ts";
import { agentLoss } from "./scenes/agent-loss.ts";
import { enrolment } from "./scenes/enrolment.ts";
import { modes } from "./scenes/modes.ts";
import { operatorsView } from "./scenes/operators-view.ts";
import { programs } from "./scenes/programs.ts";
import { requests } from "./scenes/requests.ts";
import { rotation } from "./scenes/rotation.ts";
import { tunnel } from "./scenes/tunnel.ts";
import { OpenConnection, withoutMesh } from "./scenes/without-mesh.ts";
import { Stage } from "./stage.ts";

/** Short enough that certificates renew while the demo watches, long enough that a slow machine does not lose one. */
const certificateLifetime = "20s";

const shop = fileURLToPath(new URL("../../../examples/shop.yaml", import.meta.url));

/** The cluster of the demo with agents on both nodes and the control plane, and no namespace enrolled yet. */
export async function startDemoLab(
  options: Pick<LabOptions, "engine" | "backend" | "onEvent" | "stateRoot">,
  signal: AbortSignal,
): Promise<Lab> {
  const lab = await Lab.up({ ...options, nodes: 2, files: [shop], controlSettings: { certificateLifetime } }, signal);
  try {
    await lab.labelNamespace("production", { "warren.dev/mode": "none" });
    await lab.waitReady({ signal });
    return lab;
  } catch (error) {
    const tails = logTails(lab);
    await lab.down();
    throw new MeshError("MESH_DEMO_NOT_READY", `${messageOf(error)}\n${tails}`, { cause: error });
  }
}

export async function runDemo(lab: Lab, checklist: Checklist): Promise<void> {
  const stage = new Stage(lab, checklist);
  let connection: OpenConnection | undefined;
  await checklist.scene("Without the mesh", async () => {
    await withoutMesh(stage);
    connection = await OpenConnection.open(stage);
  });
  await checklist.scene("A label enrols the namespace", () => enrolment(stage, connection));
  await connection?.close();
  await checklist.scene("Requests through the mesh", () => tunnel(stage));
  await checklist.scene("Programs that know nothing of it", () => programs(stage));
  await checklist.scene("Clients without the mesh", () => modes(stage));
  await checklist.scene("Who may do what", () => requests(stage));
  await checklist.scene("Certificates", () => rotation(stage));
  await checklist.scene("The agent is killed (-9)", () => agentLoss(stage));
  await checklist.scene("What an operator sees", () => operatorsView(stage));
}

/** The last lines of every daemon's log: where to look when a line is ✘. */
export function logTails(lab: Lab): string {
  return ["control", ...lab.nodes().map((node) => `agent/${node}`)]
    .map((name) => {
      const lines = readFileSync(lab.logPath(name), "utf8").trimEnd().split("\n");
      return `--- ${name}, last lines of its log ---\n${lines.slice(-15).join("\n")}`;
    })
    .join("\n");
}

/** How to see the last scene's output again; a lab needs no flags. */
export const openHint = [
  "",
  "To see them yourself, in a lab that stays (npx warren demo --keep, or npx warren lab up), in another terminal:",
  "  npx warren tls-check                          what every port accepts, and who came",
  "  npx warren plaintext --rehearse-strict mesh   what STRICT would break",
  "  npx warren tap deploy/api                     connections as they happen; then use the shop",
].join("\n");

/** What to try in a lab that was kept. */
export function keepHint(lab: Lab): string {
  const flag = `--name ${lab.id}`;
  return [
    "",
    "The lab stays up until you press Ctrl-C. In another terminal try:",
    `  npx warren lab status ${flag}`,
    `  npx warren lab exec ${flag} frontend -- curl -s http://api:8080/`,
    `  npx warren lab apply ${flag} -f examples/policies/strict.yaml`,
    `  npx warren lab exec ${flag} -n outside client -- curl -s http://api.production:8080/`,
    `  npx warren lab logs ${flag} agent/node-1`,
    `  npx warren tls-check ${flag}`,
    `  npx warren plaintext ${flag} --rehearse-strict mesh`,
    `  npx warren tap ${flag} deploy/api`,
    `  npx warren lab down ${flag}`,
  ].join("\n");
}
