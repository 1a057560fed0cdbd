/**
 * `warren demo`: a two-node cluster out of network namespaces, real programs in its pods, and one line for each promise of the mesh,
 * measured on the spot. Scenes run in order: what one sets up, the next relies on.
 */
import { fileURLToPath } from "node:url";
import { Lab } from "../lab.ts";
import type { LabOptions } from "../options.ts";
import type { Checklist } from "./checklist.ts";
import { agentLoss } from "./scenes/agent-loss.ts";
import { enrolment } from "./scenes/enrolment.ts";
import { modes } from "./scenes/modes.ts";
import { programs } from "./scenes/programs.ts";
import { rotation } from "./scenes/rotation.ts";
import { tunnel } from "./scenes/tunnel.ts";
import { OpenConnection, withoutMesh } from "./scenes/without-mesh.ts";
import { Stage } from "./stage.ts";

/** Short enough that certificates renew while the demo watches, long enough that a slow machine does not lose one. */
const certificateLifetime = "40s";

const shop = fileURLToPath(new URL("../../../examples/shop.yaml", import.meta.url));

/** The cluster of the demo with agents on both nodes and the control plane, and no namespace enrolled yet. */
export async function startDemoLab(
  options: Pick<LabOptions, "engine" | "backend" | "onEvent">,
  signal: AbortSignal,
): Promise<Lab> {
  const lab = await Lab.up({ ...options, nodes: 2, files: [shop], controlSettings: { certificateLifetime } }, signal);
  try {
    await lab.labelNamespace("production", { "warren.dev/mode": "none" });
    await lab.waitReady({ signal });
    return lab;
  } catch (error) {
    await lab.down();
    throw error;
  }
}

export async function runDemo(lab: Lab, checklist: Checklist): Promise<void> {
  const stage = new Stage(lab, checklist);
  await withoutMesh(stage);
  const connection = await OpenConnection.open(stage);
  try {
    await enrolment(stage, connection);
  } finally {
    await connection.close();
  }
  await tunnel(stage);
  await programs(stage);
  await modes(stage);
  await rotation(stage);
  await agentLoss(stage);
}

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
    `  npx warren lab down ${flag}`,
  ].join("\n");
}
