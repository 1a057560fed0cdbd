/** A run on a cluster against recorded docker, kind and kubectl: which command lines, in which order, and what is left afterwards. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { type BenchRequest, parseBenchArguments } from "../../../bench/arguments.ts";
import { type ClusterRun, clusterScenarios, runOnCluster } from "../../../bench/cluster/cluster-target.ts";
import { columnsOf, fullPace, quickPace } from "../../../bench/scenarios/scenario.ts";
import { makeDocument } from "../../../bench/summary.ts";
import { environment, rowOf } from "../objects.ts";
import { type FakeTools, fakeTools, type Reply } from "./support/fake-tools.ts";
import { kindReplies, kubectlReplies, noMesh, someMesh } from "./support/recordings.ts";

const kind = [...kindReplies, noMesh, ...kubectlReplies];

function request(...args: string[]): BenchRequest {
  const parsed = parseBenchArguments(["--quick", "--rounds=1", ...args], () => ({
    scenarios: clusterScenarios({ quick: false, scenarios: undefined }, fullPace).map(({ name }) => name),
    variants: ["direct", "warren"],
  }));
  if (parsed.kind !== "run") throw new Error(JSON.stringify(parsed));
  return parsed.request;
}

function run(tools: FakeTools, of: BenchRequest, signal: AbortSignal = new AbortController().signal) {
  tools.install();
  if (of.target === "lab") throw new Error("not a cluster");
  return runOnCluster(of.target, { request: of, pace: quickPace, machine: tools.machine, signal, say: () => {} });
}

function asRun(result: ClusterRun | readonly string[]): ClusterRun {
  if (!("results" in result)) throw new Error(result.join("\n"));
  return result;
}

/** What each command line does, in a few words, without neighbours that are the same. */
function steps(lines: readonly string[]): string[] {
  const words = lines.map((line) => {
    if (line.includes(" apply "))
      return line.includes("--kustomize") ? "kubectl apply kustomize" : "kubectl apply pods";
    return (
      /\b(build|create cluster|load docker-image|set image|rollout status|delete cluster)\b/.exec(line)?.[0] ??
      "wait pod"
    );
  });
  const named = words.map((word) => {
    if (word.startsWith("kubectl")) return word;
    if (word === "build") return "docker build";
    return /cluster|docker-image/.test(word) ? `kind ${word}` : `kubectl ${word}`;
  });
  return named.filter((step, index) => step !== named[index - 1]);
}

test("on kind: images, a cluster, the mesh, pods on one node and on two, figures, and the cluster is gone", {
  timeout: 300_000,
}, async () => {
  const tools = await fakeTools(kind);
  const of = "--scenario=throughput,samenode-throughput,samenode-pingpong";
  const { results, scenarios, cluster } = asRun(await run(tools, request("--target=kind", of)));
  const lines = tools.lines();
  expect(steps(lines.filter((line) => !/ (exec|get|version|info)\b/.test(line)))).toEqual([
    "docker build",
    "kind create cluster",
    "kind load docker-image",
    "kubectl apply kustomize",
    "kubectl set image",
    "kubectl rollout status",
    "kubectl apply pods",
    "kubectl wait pod",
    "kubectl apply pods",
    "kubectl wait pod",
    "kind delete cluster",
  ]);
  // Everything that belongs to the cluster is asked with its own kubeconfig, never with the user's.
  const kubeconfig = /--kubeconfig (\S+)/.exec(lines.find((line) => line.includes("create cluster")) ?? "")?.[1] ?? "";
  const client = lines.filter((line) => line.startsWith("kubectl ") && !line.includes("--client"));
  expect(client.filter((line) => !line.startsWith(`kubectl --kubeconfig=${kubeconfig} `))).toEqual([]);
  const name = `warren-bench-${process.pid}`;
  expect(lines.at(-1)).toBe(`kind delete cluster --name ${name} --kubeconfig ${kubeconfig}`);
  expect(existsSync(kubeconfig)).toBe(false);

  const document = makeDocument(environment, {
    scenarios: scenarios.map((scenario) => ({ ...scenario, variants: columnsOf(scenario, ["direct", "warren"]) })),
    ...results,
  });
  expect(results.absences).toEqual([]);
  for (const measure of ["throughput_1", "samenode_throughput_1"])
    expect(rowOf(document, measure).medians).toEqual({ direct: 15, warren: 15 });
  // Counted over the recorded metrics of both agents, that grow with every call.
  expect(rowOf(document, "cpu_per_gb").medians["warren"]).toBeGreaterThan(0);
  expect(rowOf(document, "cpu_per_gb").reasons["direct"]).toContain("no agents");
  expect(rowOf(document, "samenode_pingpong_added_p50").medians["warren"]).toBe(0);
  expect(results.mtu).toBe(1500);
  expect(Object.fromEntries(cluster)).toMatchObject({
    Kubernetes: "v1.34.0",
    mesh: "deployed for this run, warren:bench",
    "node warren-bench-worker": expect.stringContaining("containerd://2.1.3") as string,
  });
});

test("the pods are the same in both namespaces but for the mesh, and are put where they are to be", {
  timeout: 300_000,
}, async () => {
  const tools = await fakeTools(kind);
  asRun(await run(tools, request("--target=kind", "--scenario=pingpong")));
  const lists = tools
    .calls()
    .flatMap(({ stdin }) => (stdin === "" ? [] : (JSON.parse(stdin) as { items: Item[] }).items));
  type Item = {
    kind: string;
    metadata: { name: string; namespace?: string; labels?: Record<string, string> };
    spec?: { nodeName: string; securityContext: object };
  };
  const modes = lists.flatMap(({ kind: of, metadata }) =>
    of === "Namespace" ? metadata.labels?.["warren.dev/mode"] : [],
  );
  expect(modes).toEqual(["none", "ambient"]);
  const placed = lists.flatMap(({ kind: of, metadata, spec }) =>
    of === "Pod" && metadata.namespace === "warren-bench-warren" ? [[metadata.name, spec?.nodeName]] : [],
  );
  expect(placed).toEqual([
    ["client", "warren-bench-worker"],
    ["near", "warren-bench-worker"],
    ["far", "warren-bench-worker2"],
  ]);
  const loads = tools.lines("kubectl").filter((line) => line.includes("warren_load pingpong"));
  expect(loads.filter((line) => line.includes("--target=10.244.2.7:7000")).length).toBeGreaterThan(0);
  expect(loads.filter((line) => line.includes("--target=10.244.1.5:7000"))).toEqual([]);
});

const failing = (args: string, stderr: string): Reply => ({
  tool: args.split(" ")[0] ?? "",
  args: args.split(" ").slice(1).join(" "),
  code: 1,
  stderr,
});

test.each([
  ["kind create cluster", "ERROR: failed to create cluster: could not find a log line that matches"],
  ["kind load docker-image", 'ERROR: image: "warren:bench" not present locally'],
  ["kubectl apply --kustomize", "error: accumulating resources: no such file"],
  ["kubectl rollout status", "error: timed out waiting for the condition"],
  ["kubectl wait --for", "error: timed out waiting for the condition on pods/far"],
])(
  "when '%s' fails it says what failed, and the cluster is deleted all the same",
  { timeout: 300_000 },
  async (step, said) => {
    const tools = await fakeTools([failing(step, said), ...kind]);
    await expect(run(tools, request("--target=kind"))).rejects.toThrow(said);
    expect(tools.lines("kind").at(-1)).toContain("delete cluster");
  },
);

test("agents that fell back to the other engine are no figure of warren's", { timeout: 300_000 }, async () => {
  const metrics = kubectlReplies.find(({ args }) => args.includes("metrics"));
  const other = {
    tool: "kubectl",
    args: metrics?.args ?? "",
    stdout: metrics?.stdout?.replace('"native"', '"typescript"') ?? "",
  };
  const tools = await fakeTools([...kindReplies, noMesh, other, ...kubectlReplies]);
  const { results } = asRun(await run(tools, request("--target=kind", "--scenario=pingpong")));
  expect(results.samples.map(({ variant }) => variant)).toEqual(["direct"]);
  expect(results.absences[0]).toMatchObject({
    variant: "warren",
    reason: expect.stringContaining("native engine") as string,
  });
});

/** A bench whose load never answers, so that it can be ended in the middle. */
async function startHanging(): Promise<{ tools: FakeTools; child: ChildProcess; ended: Promise<unknown> }> {
  const hangs = { tool: "kubectl", args: "-- iperf3", hangs: true };
  const tools = await fakeTools([hangs, ...kind]);
  const script = fileURLToPath(new URL("support/run-on-kind.ts", import.meta.url));
  const child = spawn(process.execPath, [script, tools.machine.root, tools.machine.proc], {
    env: tools.environment,
    stdio: "ignore",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const ended = once(child, "exit");
  await vi.waitFor(() => expect(tools.lines("kubectl").some((line) => line.includes("-- iperf3"))).toBe(true), 120_000);
  return { tools, child, ended };
}

test.each(["SIGTERM", "SIGKILL"] as const)(
  "the cluster goes when the bench is ended by %s",
  { timeout: 300_000 },
  async (signal) => {
    const { tools, child, ended } = await startHanging();
    child.kill(signal);
    await ended;
    await vi.waitFor(() => expect(tools.lines("kind").at(-1)).toContain("delete cluster"), 120_000);
    // The guard's last act, after the cluster itself.
    const kubeconfig = / --kubeconfig (\S+)/.exec(tools.lines("kind").at(-1) ?? "")?.[1] ?? "";
    expect(kubeconfig).toContain("warren-bench-kind-");
    await vi.waitFor(() => expect(existsSync(dirname(kubeconfig))).toBe(false), 120_000);
  },
);

test("on a cluster that is there: what was put there is taken away again, also after a failure", {
  timeout: 300_000,
}, async () => {
  const flags = [
    "--target=kubeconfig",
    "--context=prod",
    "--image=registry.example/warren:1",
    "--load-image=registry.example/load:1",
  ];
  const tools = await fakeTools([noMesh, ...kubectlReplies], ["kubectl"]);
  const { cluster } = asRun(await run(tools, request(...flags, "--scenario=samenode-pingpong")));
  expect(Object.fromEntries(cluster)["mesh"]).toBe("deployed for this run, registry.example/warren:1");
  const lines = tools.lines();
  expect(lines.filter((line) => !line.includes("--client") && !line.startsWith("kubectl --context=prod "))).toEqual([]);
  expect(lines.filter((line) => line.includes("set image"))).toEqual(
    ["deployment/warren-control", "daemonset/warren-node"].map(
      (target) => `kubectl --context=prod --namespace warren-system set image ${target} *=registry.example/warren:1`,
    ),
  );
  expect(lines.at(-2)).toContain("delete namespace warren-bench-direct warren-bench-warren");
  expect(lines.at(-1)).toContain("delete --kustomize");

  tools.reply(noMesh, failing("kubectl wait --for", "timed out"), ...kubectlReplies);
  await expect(run(tools, request(...flags))).rejects.toThrow("timed out");
  expect(tools.lines().at(-1)).toContain("delete --kustomize");
});

test("a mesh that is there already stays as it is", { timeout: 300_000 }, async () => {
  const tools = await fakeTools([someMesh, ...kubectlReplies], ["kubectl"]);
  const of = request("--target=kubeconfig", "--load-image=registry.example/load:1", "--scenario=samenode-pingpong");
  const { cluster } = asRun(await run(tools, of));
  expect(Object.fromEntries(cluster)["mesh"]).toBe("found in the cluster");
  expect(tools.lines().filter((line) => / (set image|apply --kustomize|delete --kustomize)/.test(line))).toEqual([]);
});
