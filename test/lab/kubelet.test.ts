import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { idle } from "./fixtures.ts";

let lab: Lab;
const events: string[] = [];
beforeAll(async () => {
  lab = await Lab.up({ mesh: false, nodes: 1, onEvent: (line) => events.push(line) }, AbortSignal.timeout(90_000));
});
afterAll(() => lab.down());

afterEach(async () => {
  for (const pod of lab.pods()) if (!pod.going) await lab.delete("Pod", pod.namespace, pod.name);
  await lab.waitFor("no pods", () => lab.pods().length === 0);
});

function podYaml(name: string, container: string, spec = ""): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name}}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, ${container}}]${spec === "" ? "" : `, ${spec}`}}
`;
}

const phase = (name: string) => lab.pods().find((pod) => pod.name === name)?.phase;
const log = (name: string) => readFileSync(lab.logPath(name), "utf8");

describe("restart policy", () => {
  it.each([
    ["Never", "exit 0", "Succeeded"],
    ["Never", "exit 3", "Failed"],
    ["OnFailure", "exit 0", "Succeeded"],
  ])("%s after %s leaves the pod %s and runs it once", async (policy, script, expected) => {
    const name = `${policy}-${script}`.toLowerCase().replace(" ", "-");
    await lab.apply(podYaml(name, `command: [sh, -c, "echo ran; ${script}"]`, `restartPolicy: ${policy}`));
    await lab.waitFor(expected, () => phase(name) === expected);
    expect(log(name)).toBe("ran\n");
    expect(lab.pod(name)).toMatchObject({ restarts: 0, ready: false });
  });

  it.each(["Always", "OnFailure"])("%s starts a container again that failed", async (policy) => {
    const name = `again-${policy.toLowerCase()}`;
    await lab.apply(podYaml(name, 'command: [sh, -c, "echo ran; exit 1"]', `restartPolicy: ${policy}`));
    await lab.waitFor("two restarts", () => (lab.pods().find((pod) => pod.name === name)?.restarts ?? 0) >= 2);
    await expect.poll(() => log(name)).toMatch(/^ran\nran\nran\n/);
    expect(phase(name)).toBe("Running");
    expect(events.some((line) => line.startsWith(`pod production/${name}: container c ended with code 1`))).toBe(true);
  });

  it("keeps the pod's sandbox and address over a restart", async () => {
    await lab.apply(podYaml("kept", 'command: [sh, -c, "sleep 0.1; exit 1"]'));
    await lab.waitFor("it runs", () => lab.pod("kept").ips.length > 0);
    const { ips, netnsPath, startedAt } = lab.pod("kept");
    await lab.waitFor("a restart", () => lab.pod("kept").restarts >= 1);
    expect(lab.pod("kept")).toMatchObject({ ips, netnsPath, startedAt });
  });
});

describe("containers", () => {
  it("run one after the other when they are init containers, and before the others", async () => {
    await lab.apply(
      podYaml(
        "initialised",
        'command: [sh, -c, "cat /srv/shared/order; sleep infinity"], volumeMounts: [{name: shared, mountPath: /srv/shared}]',
        `volumes: [{name: shared, emptyDir: {}}], initContainers: [
          {name: first, command: [sh, -c, "sleep 0.1; echo first >> /srv/shared/order"], volumeMounts: [{name: shared, mountPath: /srv/shared}]},
          {name: second, command: [sh, -c, "echo second >> /srv/shared/order"]}]`,
      ),
    );
    await lab.waitReady();
    await expect.poll(() => log("initialised")).toBe("first\nsecond\n");
  });

  it("see the files of a ConfigMap, as the user that the manifest names", async () => {
    await lab.apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red}
---
${podYaml(
  "mounted",
  'command: [sh, -c, "id -u; cat /srv/settings/color; sleep infinity"], securityContext: {runAsUser: 65534, runAsGroup: 65534}, volumeMounts: [{name: v, mountPath: /srv/settings}]',
  "volumes: [{name: v, configMap: {name: settings}}]",
)}`);
    await expect.poll(() => log("mounted")).toBe("65534\nred");
  });

  it("that cannot be started say why in their log, and start when they can", async () => {
    await lab.apply(
      podYaml(
        "waiting",
        "command: [sleep, infinity], env: [{name: X, valueFrom: {configMapKeyRef: {name: late, key: x}}}]",
      ),
    );
    await expect.poll(() => log("waiting"), { timeout: 30_000 }).toContain("key x of ConfigMap late");
    await lab.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: late}, data: {x: y}}");
    await lab.waitReady();
    expect((await lab.exec("waiting", ["printenv", "X"])).stdout).toBe("y\n");
  });

  it("get SIGTERM and time to end when their pod is deleted", async () => {
    await lab.apply(
      podYaml(
        "polite",
        `command: [sh, -c, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"]`,
      ).replace("PeriodSeconds: 1", "PeriodSeconds: 30"),
    );
    await lab.waitReady();
    const path = lab.logPath("polite");
    await expect.poll(() => readFileSync(path, "utf8")).toBe("up\n");
    await lab.delete("Pod", "production", "polite");
    await lab.waitFor("it is gone", () => phase("polite") === undefined);
    expect(readFileSync(path, "utf8")).toBe("up\nbye\n");
  });

  it("are killed after the grace period", async () => {
    await lab.apply(podYaml("stubborn", `command: [sh, -c, "trap '' TERM; echo up; while :; do sleep 0.05; done"]`));
    await lab.waitReady();
    await expect.poll(() => log("stubborn")).toBe("up\n");
    const deleted = lab.delete("Pod", "production", "stubborn");
    expect(lab.pod("stubborn").going).toBe(true);
    await deleted;
    await lab.waitFor("it is gone", () => phase("stubborn") === undefined);
  });
});

describe("probes", () => {
  const flag = (name: string) => `/run/warren-lab/${lab.id}/${name}`;

  it("of readiness put a pod behind its Service and take it away", async () => {
    const file = flag("ready");
    await lab.apply(`
{apiVersion: v1, kind: Service, metadata: {name: probed}, spec: {selector: {app: probed}, ports: [{port: 80}]}}
---
${podYaml(
  "probed",
  `command: [sleep, infinity], readinessProbe: {exec: {command: [test, -e, ${file}]}, periodSeconds: 0.1, failureThreshold: 1}`,
)}`);
    const endpoint = () => lab.store.get("EndpointSlice", "production", "probed-ipv4")?.endpoints[0]?.conditions?.ready;
    await lab.waitFor("an endpoint that is not ready", () => endpoint() === false);
    await lab.exec("probed", ["touch", file]);
    await lab.waitFor("ready", () => lab.pod("probed").ready && endpoint() === true);
    await lab.exec("probed", ["rm", file]);
    await lab.waitFor("not ready any more", () => !lab.pod("probed").ready && endpoint() === false);
    expect(lab.pod("probed").restarts).toBe(0);
    expect(lab.pod("probed").probeSuccesses).toBeGreaterThan(0);
  });

  it.each([
    ["httpGet", "httpGet: {port: 8080, path: /ok}"],
    ["tcpSocket", "tcpSocket: {port: 8080}"],
  ])("with %s come from the node, from the kubelet stand-in's own cgroup", async (kind, handler) => {
    const name = `server-${kind.toLowerCase()}`;
    const script = `const net = require("node:net"); net.createServer((socket) => { console.log(socket.remoteAddress);
      socket.on("error", () => {}); socket.end("HTTP/1.1 200 OK\\\\r\\\\ncontent-length: 0\\\\r\\\\n\\\\r\\\\n"); }).listen(8080)`;
    await lab.apply(
      podYaml(
        name,
        `command: [node, -e, "${script.replaceAll('"', "'").replaceAll("\n", " ")}"], readinessProbe: {${handler}}`,
      ),
    );
    await lab.waitReady();
    await expect.poll(() => log(name)).toContain("10.244.1.1");
    const procs = readFileSync(`${lab.node("node-1").kubeletCgroup.path}/cgroup.procs`, "utf8")
      .trim()
      .split("\n");
    expect(procs).toHaveLength(1);
    expect(readFileSync(`/proc/${procs[0]}/cmdline`, "utf8")).toContain("prober-main");
  });

  it("that answer with an error keep a pod from being ready", async () => {
    const script =
      "require('node:http').createServer((q, r) => { console.log(q.url); r.statusCode = q.url === '/good' ? 204 : 500; r.end() }).listen(8080)";
    for (const path of ["good", "bad"])
      await lab.apply(
        podYaml(path, `command: [node, -e, "${script}"], readinessProbe: {httpGet: {port: 8080, path: /${path}}}`),
      );
    await lab.waitFor("the good one", () => lab.pod("good").ready);
    await expect.poll(() => log("bad")).toContain("/bad\n/bad\n");
    expect(lab.pod("bad").ready).toBe(false);
    await expect(lab.waitReady({ timeoutMs: 1 })).rejects.toThrow(/pod production\/bad is Running and not ready/);
  });

  it("of liveness start a container again", async () => {
    await lab.apply(
      podYaml(
        "frozen",
        "command: [sleep, infinity], livenessProbe: {exec: {command: ['false']}, periodSeconds: 0.1, failureThreshold: 2}",
      ),
    );
    await lab.waitFor("a restart", () => lab.pod("frozen").restarts >= 1);
    expect(events).toContain("pod production/frozen: container c failed its liveness probe and is started again");
  });

  it("of start-up hold the others back until they succeed, and end a container that never starts", async () => {
    const file = flag("started");
    const liveness = "livenessProbe: {exec: {command: ['false']}, periodSeconds: 0.1, failureThreshold: 1}";
    const startup = (threshold: number) =>
      `startupProbe: {exec: {command: [test, -e, ${file}]}, periodSeconds: 0.1, failureThreshold: ${threshold}}`;
    await lab.apply(podYaml("slow", `command: [sleep, infinity], ${startup(1000)}, ${liveness}`));
    await lab.apply(podYaml("never", `command: [sleep, infinity], ${startup(2)}`));
    await lab.waitFor("the end of the one that never starts", () => lab.pod("never").restarts >= 1);
    expect(lab.pod("slow")).toMatchObject({ restarts: 0, ready: false });
    await lab.exec("slow", ["touch", file]);
    await lab.waitFor("liveness after start-up", () => lab.pod("slow").restarts >= 1);
  });
});

describe("a pod that cannot be made", () => {
  it("is tried again, and said", async () => {
    await lab.apply(
      idle("unmountable", "node-1", "volumes: [{name: v, configMap: {name: later}}]").replace(
        "command: [sleep, infinity]",
        "command: [sleep, infinity], volumeMounts: [{name: v, mountPath: /srv/later}]",
      ),
    );
    await expect.poll(() => events.join("\n"), { timeout: 30_000 }).toContain("ConfigMap later, which is not there");
    await lab.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: later}, data: {a: b}}");
    await lab.waitFor("it runs", () => lab.pod("unmountable").ready);
  });
});
