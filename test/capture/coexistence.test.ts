import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { backends, Harness } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";

const run = promisify(execFile);
const vipProgram = fileURLToPath(new URL("../../build/native/testing/vip.bpf.o", import.meta.url));
const service = "10.96.0.1";
const backendOfService = "10.96.0.2";

describe.each(backends)("beside a socket load balancer on a cgroup above, capture by %s", (backend) => {
  let node: Harness;
  let pod: Pod;

  beforeAll(async () => {
    node = await Harness.start(backend);
    pod = await node.enrolled("pod");
    await node.machine.ip(node.machine.netns, [`address add ${backendOfService}/32 dev pods`]);
    await node.machine.start(node.machine.host, "serve", backendOfService, "80", "--name=backend");
    const pin = join(node.machine.pinDirectory, `../vip-${node.machine.number}`);
    await run("bpftool", ["prog", "load", vipProgram, pin]);
    // The attachment ends with the cgroup.
    await run("bpftool", ["cgroup", "attach", join(node.machine.podsCgroup, ".."), "connect4", "pinned", pin, "multi"]);
  });
  afterAll(() => node?.stop());
  beforeEach(() => node.relay.flows.splice(0));

  it("leaves un-enrolled pods to the load balancer", async () => {
    const stranger = await node.machine.addPod("stranger");
    expect(await node.machine.run(stranger, "connect", service, "80")).toMatchObject({
      ok: true,
      greeting: expect.stringMatching(/^backend sees/),
    });
  });

  // Programs run from the socket's cgroup upwards, so eBPF capture comes first; packets, and with them nftables, come last.
  it(`sees the ${backend === "ebpf" ? "service's" : "backend's"} address`, async () => {
    const destination = { address: backend === "ebpf" ? service : backendOfService, port: 80 };
    await node.machine.run(pod, "connect", service, "80");
    expect(node.relay.flows).toMatchObject([{ role: "outbound", destination }]);
  });

  it("still carries what the load balancer does not know", async () => {
    expect(await node.machine.run(pod, "connect", backendOfService, "80")).toMatchObject({ ok: true, echo: "ping" });
    expect(node.relay.flows).toMatchObject([{ role: "outbound", destination: { address: backendOfService } }]);
  });
});
