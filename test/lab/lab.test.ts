import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { identifyProcess } from "../../src/lab/machine/process-identity.ts";
import { documents, idle, service, web } from "./fixtures.ts";

const manifests = [
  documents(
    web({ replicas: 2 }),
    service("web"),
    service("pods", "clusterIP: None").replaceAll("port: 80", "port: 8080"),
    service("nobody").replace("app: web", "app: nobody"),
    idle("one", "node-1"),
    idle("two", "node-2"),
    idle("host", "node-1", "hostNetwork: true"),
    idle("other", "node-1").replace("name: other", "name: other, namespace: outside"),
  ),
];

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.up({ mesh: false, manifests }, AbortSignal.timeout(90_000));
  await lab.waitReady();
});
afterAll(() => lab.down());

function urlOf(ip: string): string {
  return `http://${isIPv6(ip) ? `[${ip}]` : ip}:8080/`;
}

async function get(pod: string, url: string, ...flags: string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(pod, ["curl", "-sS", "--max-time", "15", ...flags, url]);
  return code === 0 ? stdout : `curl ${code}: ${stderr.trim()}`;
}

function webOn(node: string) {
  const pod = lab.pods().find((candidate) => candidate.labels["app"] === "web" && candidate.node === node);
  if (pod === undefined) throw new Error(`no web pod on ${node}`);
  return pod;
}

describe("pods", () => {
  it.each([
    ["of one node", "node-1"],
    ["of two nodes", "node-2"],
  ])("%s reach each other over both families, and see each other's own address", async (_, node) => {
    const [client, server] = [lab.pod("one"), webOn(node)];
    for (const [index, ip] of server.ips.entries())
      expect(await get("one", urlOf(ip))).toBe(`${server.name} ${client.ips[index]}`);
    expect(server.ips.map(isIPv6)).toEqual([false, true]);
  });

  it("of the host network have their node's addresses and reach pods", async () => {
    expect(lab.pod("host").ips).toEqual(["172.18.1.1", "fd00:172:18::1:1"]);
    expect(await get("host", urlOf(webOn("node-2").ips[0] ?? ""))).toMatch(/ 172\.18\.1\.1$/);
  });

  it("have their own host name, and processes of theirs are in a cgroup with their UID", async () => {
    const pod = lab.pod("one");
    const { stdout } = await lab.exec("one", ["sh", "-c", "cat /proc/sys/kernel/hostname /proc/self/cgroup"]);
    expect(stdout.split("\n")[0]).toBe("one");
    expect(stdout).toContain(`warren-lab-${lab.id}/node-1/kubepods/pod${pod.uid}/`);
  });

  it("cannot change the machine's own hosts file or host name", async () => {
    const before = [readFileSync("/etc/hosts", "utf8"), readFileSync("/proc/sys/kernel/hostname", "utf8")];
    await lab.exec("one", ["sh", "-c", "echo other > /proc/sys/kernel/hostname; mount -t tmpfs none /mnt"]);
    expect([readFileSync("/etc/hosts", "utf8"), readFileSync("/proc/sys/kernel/hostname", "utf8")]).toEqual(before);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(lab.folder);
  });
});

describe("Services", () => {
  it.each(["-4", "-6"])(
    "lead un-enrolled pods to all ready endpoints over %s, with their own address",
    async (family) => {
      const seen = new Set<string>();
      for (let request = 0; request < 40 && seen.size < 2; request++)
        seen.add(await get("outside/other", "http://web.production/", family));
      const { ips } = lab.pod("outside/other");
      const client = family === "-4" ? ips[0] : ips[1];
      expect([...seen].sort()).toEqual(["node-1", "node-2"].map((node) => `${webOn(node).name} ${client}`).sort());
    },
  );

  it("lead a pod back to itself, and the node's own programs too", async () => {
    const { name } = webOn("node-1");
    await expect
      .poll(() => get(name, "http://web/"), { timeout: 30_000 })
      .toMatch(new RegExp(`^${name} 10\\.244\\.1\\.1$|^${name} fd00:10:244:1::1$`));
    const [v4 = "", v6 = ""] = lab.service("web").spec.clusterIPs ?? [];
    for (const ip of [v4, `[${v6}]`])
      expect((await lab.execOnNode("node-2", ["curl", "-sS", "--max-time", "15", `http://${ip}/`])).stdout).toMatch(
        /^web-/,
      );
  });

  it("answer on every name of theirs, the short one in their own namespace alone", async () => {
    for (const name of ["web", "web.production", "web.production.svc", "web.production.svc.cluster.local"])
      expect(await get("one", `http://${name}/`)).toMatch(/^web-/);
    expect(await get("outside/other", "http://web/")).toMatch(/^curl 6: /);
  });

  it("without a cluster address resolve to their pods", async () => {
    const { stdout } = await lab.exec("outside/other", ["getent", "ahosts", "pods.production.svc"]);
    const ips = new Set(
      stdout
        .split("\n")
        .flatMap((line) => line.split(/\s+/).slice(0, 1))
        .filter(Boolean),
    );
    expect(ips).toEqual(new Set(["node-1", "node-2"].flatMap((node) => webOn(node).ips)));
    expect(await get("two", "http://pods:8080/")).toMatch(/^web-/);
  });

  it.each(["-4", "-6"])("without endpoints refuse over %s", async (family) => {
    const { code, stderr } = await lab.exec("one", ["curl", "-sSv", family, "--max-time", "15", "http://nobody/"]);
    expect(code).toBe(7);
    // An answer of the node's, and not the silence of an address that nobody has.
    expect(stderr).toContain("Connection refused");
  });

  it("follow their endpoints as pods come and go", async () => {
    await lab.apply(web({ replicas: 1 }));
    await lab.waitFor("one pod less", () => lab.pods().filter((pod) => pod.labels["app"] === "web").length === 1);
    await lab.waitReady();
    const [left] = lab.pods().filter((pod) => pod.labels["app"] === "web");
    for (let request = 0; request < 6; request++)
      expect(await get("one", "http://web/")).toBe(`${left?.name} ${lab.pod("one").ips[1]}`);
    const { stdout } = await lab.exec("one", ["getent", "ahosts", "pods"]);
    expect(new Set(stdout.match(/^\S+/gm))).toEqual(new Set(left?.ips));
    await lab.apply(web({ replicas: 2 }));
    await lab.waitReady();
  });
});

describe("exec", () => {
  it("gives exit code and both outputs, and passes input and environment", async () => {
    const script = 'cat; echo "$GREETING" >&2; exit 7';
    const result = await lab.exec("one", ["sh", "-c", script], { stdin: "typed", env: { GREETING: "hello" } });
    expect(result).toEqual({ code: 7, stdout: "typed", stderr: "hello\n" });
  });

  it.each([
    ["a program that is not there", ["/no/such/program"], 127],
    ["a program that a signal ended", ["sh", "-c", "kill -9 $$"], 137],
  ])("gives the exit code of %s as shells do", async (_, argv, code) => {
    expect((await lab.exec("one", argv)).code).toBe(code);
  });

  it("ends what the program left running, and what takes too long", async () => {
    const { stdout } = await lab.exec("one", ["sh", "-c", "sleep infinity & echo $!"]);
    expect(identifyProcess(Number(stdout))).toBeUndefined();
    await expect(lab.exec("one", ["sleep", "infinity"], { timeoutMs: 100 })).rejects.toThrow(
      /did not end within 100 ms/,
    );
    const children = await lab.exec("one", ["sh", "-c", `ls ${lab.pod("one").cgroup}`]);
    expect(children.stdout.match(/run-/g)).toHaveLength(1);
  });

  it("says which pods there are when there is none of that name", () => {
    expect(() => lab.exec("three", ["true"])).toThrow(/no pod for three.*production\/one/);
  });
});

describe("changes at runtime", () => {
  it("show in the rendered folder as soon as they are taken", async () => {
    await lab.labelNamespace("outside", { "warren.dev/mode": "ambient" });
    expect(readFileSync(join(lab.manifests, "namespace_outside.yaml"), "utf8")).toContain("warren.dev/mode: ambient");
    await lab.apply(
      "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}",
    );
    expect(readFileSync(join(lab.manifests, "peerauthentication_production_default.yaml"), "utf8")).toContain(
      "mode: STRICT",
    );
    await lab.delete("PeerAuthentication", "production", "default");
    expect(readdirSync(lab.manifests)).not.toContain("peerauthentication_production_default.yaml");
  });

  it("add and remove single pods; a removed one leaves no cgroup and no link", async () => {
    await lab.apply(idle("passing", "node-2"));
    await lab.waitReady();
    const pod = lab.pod("passing");
    const links = async () => (await lab.execOnNode("node-2", ["ip", "-brief", "link"])).stdout;
    const link = `veth${pod.uid.replaceAll("-", "").slice(0, 10)}`;
    expect(await links()).toContain(link);
    await lab.delete("Pod", "production", "passing");
    await lab.waitFor("the pod is gone", () => !lab.pods().some(({ name }) => name === "passing"));
    expect(existsSync(pod.cgroup ?? "")).toBe(false);
    // The kernel takes a network namespace down in the background.
    await expect.poll(links, { timeout: 30_000 }).not.toContain(link);
  });

  it("are refused whole when any of a text is wrong", async () => {
    const wrong = documents(
      idle("good", "node-1"),
      "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: []}}",
    );
    await expect(lab.apply(wrong)).rejects.toThrow(/Pod bad: spec\.containers/);
    expect(lab.pods().map((pod) => pod.name)).not.toContain("good");
  });
});

describe("capturePackets", () => {
  it.each([
    { where: "fabric" } as const,
    { where: "node", node: "node-1" } as const,
    { where: "pod", pod: "one" } as const,
  ])("sees what pods of two nodes say to each other at $where", async (point) => {
    const capture = await lab.capturePackets(point, { filter: "tcp port 8080" });
    const marker = `marker-${point.where}`;
    await get("one", `${urlOf(webOn("node-2").ips[0] ?? "")}${marker}`);
    const { bytes, packets, complete } = await capture.stop();
    expect(bytes.includes(marker)).toBe(true);
    expect(packets).toBeGreaterThan(6);
    expect(complete).toBe(true);
  });

  it("says that it is not complete when it reached its limit", async () => {
    const capture = await lab.capturePackets({ where: "pod", pod: "one" }, { maxBytes: 1000 });
    for (let request = 0; request < 4; request++) await get("one", urlOf(webOn("node-2").ips[0] ?? ""));
    expect((await capture.stop()).complete).toBe(false);
  });

  it("says what tcpdump does not like", async () => {
    await expect(lab.capturePackets({ where: "fabric" }, { filter: "no such filter" })).rejects.toThrow(/syntax error/);
  });
});
