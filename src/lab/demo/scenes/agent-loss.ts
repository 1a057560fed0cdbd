/** The agent dies: traffic is refused rather than sent in clear, probes go on, and the next agent finds everything in place. */
import { expectThat } from "../checklist.ts";
import { wireFacts } from "../packets.ts";
import { cast, eventually, type Stage } from "../stage.ts";
import { capturedPods } from "./enrolment.ts";

export async function agentLoss(stage: Stage): Promise<void> {
  const { lab, checklist } = stage;
  const { node } = lab.pod(cast.api);
  const before = (await capturedPods(stage)).length;
  await lab.killAgent(node);

  await checklist.check("connections to and from its pods are refused, nothing goes in clear", async () => {
    const marker = stage.marker();
    const { segments, result } = await stage.onTheWire(async () => ({
      to: await stage.curl(cast.frontend, `http://api:8080/orders?note=${marker}`),
      from: await stage.curl(cast.database, `http://api:8080/orders?note=${marker}`),
    }));
    const facts = wireFacts(segments, marker);
    expectThat(result.to.code !== 0, "the request to the pod was answered");
    expectThat(
      result.from.code === 7,
      `curl from the pod ended with ${result.from.code}: ${result.from.stderr.trim()}`,
    );
    expectThat(facts.inClear === 0, `the marker was readable in ${facts.inClear} packets`);
    return `to: ${result.to.stderr.trim()}; from: ${result.from.stderr.trim()}; 0 of ${facts.segments} packets hold the marker`;
  });
  await checklist.check("the kubelet's probes still reach the pods", async () => {
    const probed = lab.pods().filter((pod) => pod.node === node && pod.namespace === "production" && pod.probed);
    expectThat(probed.length > 0, `no probed pod on ${node}`);
    for (const pod of probed) {
      const seen = pod.probeSuccesses;
      await eventually(`two more answered probes of ${pod.name}`, 60_000, async () =>
        lab.pod(`${pod.namespace}/${pod.name}`).probeSuccesses >= seen + 2 ? true : undefined,
      );
    }
    return probed.map((pod) => pod.name).join(", ");
  });
  await checklist.check("a new agent takes over", async () => {
    const startedAt = performance.now();
    await lab.startAgent(node);
    await eventually("all pods captured again", 60_000, async () =>
      (await capturedPods(stage)).length === before ? true : undefined,
    );
    await eventually("an answered request", 60_000, async () =>
      (await stage.http(cast.frontend, "http://api:8080/")).status === 200 ? true : undefined,
    );
    return `${before} pods captured and requests answered after ${Math.round(performance.now() - startedAt)} ms`;
  });
}
