/** Enrolment by label: no restart, and what was open stays open. */
import { expectThat } from "../checklist.ts";
import { eventually, type Stage } from "../stage.ts";
import type { OpenConnection } from "./without-mesh.ts";

export async function enrolment(stage: Stage, connection: OpenConnection | undefined): Promise<void> {
  const { lab, checklist } = stage;
  await checklist.check("every pod of the namespace is captured, none restarted", async () => {
    const before = new Map(lab.pods().map((pod) => [pod.uid, pod.startedAt]));
    await lab.labelNamespace("production", { "warren.dev/mode": "ambient" });
    const wanted = lab.pods().filter((pod) => pod.namespace === "production").length;
    const { afterMs } = await eventually("capture of all pods", 60_000, async () => {
      const captured = await capturedPods(stage);
      return captured.length === wanted ? captured : undefined;
    });
    const restarted = lab.pods().filter((pod) => before.get(pod.uid) !== pod.startedAt);
    expectThat(restarted.length === 0, `restarted: ${restarted.map((pod) => pod.name).join(", ")}`);
    return `${wanted} pods in ${Math.round(afterMs)} ms`;
  });
  await checklist.check("a connection opened before enrolment goes on", async () => {
    expectThat(connection !== undefined, "there was no connection before enrolment");
    const answer = await connection.ask("ECHO still-here");
    expectThat(answer.includes("still-here"), `the server answered ${JSON.stringify(answer)}`);
    return "the database client's connection from before still answers";
  });
}

/** Names of the pods that the agents say they have captured and probed. */
export async function capturedPods(stage: Stage): Promise<string[]> {
  const names: string[] = [];
  for (const node of stage.lab.nodes()) {
    const dump = (await stage.lab.adminJson(node, "/config_dump")) as {
      pods?: { name: string; namespace: string; state: string }[];
    };
    for (const pod of dump.pods ?? []) if (pod.state === "captured") names.push(`${pod.namespace}/${pod.name}`);
  }
  return names;
}
