/** What a cluster target says of a machine or a cluster that lacks something. */
import { execFile } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";
import { clusterProblems, kindProblems, workers } from "../../../bench/cluster/preflight.ts";
import { Kubectl } from "../../../bench/cluster/tool.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { type FakeTools, fakeTools } from "./support/fake-tools.ts";
import { kindReplies, kubectlReplies, nodes, noMesh, someMesh } from "./support/recordings.ts";

// Every command line starts a program that stands in for the real one.
vi.setConfig({ testTimeout: 60_000 });

const { signal } = new AbortController();
const all = [...kindReplies, noMesh, ...kubectlReplies];

function ofKind(tools: FakeTools) {
  tools.install();
  return kindProblems({ ...tools.machine, signal });
}

test("a machine that has everything lacks nothing", async () => {
  expect(await ofKind(await fakeTools(all))).toEqual([]);
});

test("each tool that is not there is named, with where to get it", async () => {
  expect(await ofKind(await fakeTools(all, []))).toEqual([
    expect.stringMatching(/^docker: not on PATH; /),
    expect.stringMatching(/^kind: not on PATH; /),
    expect.stringMatching(/^kubectl: not on PATH; /),
  ]);
});

test("a daemon that does not answer, limits that are too low and files that are missing are named too", async () => {
  const said = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
  const tools = await fakeTools([
    { tool: "docker", args: "info", code: 1, stderr: `errors pretty printing info\n${said}\n` },
    ...all,
  ]);
  const { proc, root } = tools.machine;
  writeFileSync(join(proc, "sys/fs/inotify/max_user_instances"), "128\n");
  writeFileSync(join(proc, "meminfo"), "MemTotal: 4000000 kB\nMemAvailable:    2097152 kB\n");
  rmSync(join(root, "deploy/kustomization.yaml"));
  rmSync(join(root, "Dockerfile"));
  expect(await ofKind(tools)).toEqual([
    `docker: ${said}; install it and start its daemon`,
    "inotify: fs.inotify.max_user_instances is 128; sysctl -w fs.inotify.max_user_instances=512",
    "memory: 2.0 GiB available, 4.0 GiB needed",
    "something to deploy: there is no deploy/kustomization.yaml in the checkout",
    "an image to deploy: there is no Dockerfile and no deploy/Dockerfile in the checkout",
  ]);
  writeFileSync(join(root, "deploy/Dockerfile"), "FROM scratch\n");
  expect((await ofKind(tools)).filter((problem) => problem.startsWith("an image"))).toEqual([]);
});

test("nodes that take no ordinary pods are no place for the bench's", () => {
  expect(workers(nodes.items).map(({ metadata }) => metadata.name)).toEqual([
    "warren-bench-worker",
    "warren-bench-worker2",
  ]);
});

async function ofCluster(replies: Parameters<typeof fakeTools>[0], images = {}): Promise<readonly string[]> {
  const tools = await fakeTools(replies, ["kubectl"]);
  tools.install();
  const kubectl = new Kubectl({}, signal);
  return clusterProblems(kubectl, { ...tools.machine, signal }, { mesh: undefined, load: undefined, ...images });
}

test("a cluster that does not answer is named by what kubectl says", async () => {
  const said = "The connection to the server localhost:8080 was refused - did you specify the right host or port?";
  const refused = { tool: "kubectl", args: "get nodes", code: 1, stderr: `E1122 memcache.go:265]\n${said}\n` };
  expect(await ofCluster([refused, ...kubectlReplies])).toEqual([
    `the cluster: ${said}; check the kubeconfig and its current context`,
  ]);
});

test("an existing cluster needs two nodes, a right, and images that it can pull", async () => {
  const one = { tool: "kubectl", args: "get nodes", stdout: JSON.stringify({ items: nodes.items.slice(0, 2) }) };
  const may = { tool: "kubectl", args: "auth can-i", code: 1, stdout: "no\n" };
  expect(await ofCluster([one, may, noMesh, ...kubectlReplies])).toEqual([
    "nodes: 1 of 2 take pods, and both placements need two",
    expect.stringMatching(/^--load-image: /),
    "permission: this user may not create namespaces in the cluster",
    expect.stringMatching(/^--image: no Warren runs in the cluster/),
  ]);
  const images = { mesh: "registry.example/warren:1", load: "registry.example/load:1" };
  const crd = {
    tool: "kubectl",
    args: "get crd authorizationpolicies.security.istio.io$",
    stdout: "authorizationpolicies\n",
  };
  expect(await ofCluster([noMesh, crd, ...kubectlReplies], images)).toEqual([
    expect.stringMatching(/^a cluster without authorizationpolicies\.security\.istio\.io: somebody's policies/),
  ]);
  expect(await ofCluster([someMesh, ...kubectlReplies], { load: "registry.example/load:1" })).toEqual([]);
});

test("the command exits 3 and names what is missing", async () => {
  const empty = await temporaryFolder();
  mkdirSync(join(empty, "bin"));
  const main = fileURLToPath(new URL("../../../bench/main.ts", import.meta.url));
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    const options = { env: { PATH: join(empty, "bin") } };
    execFile(process.execPath, [main, "--target=kind", "--quick", "--json"], options, (error, out, err) =>
      resolve({ code: error?.code ?? 0, stdout: out, stderr: err }),
    );
  });
  expect(code).toBe(3);
  expect(stdout).toBe("");
  expect(stderr).toContain("--target kind cannot run here; missing:\n  docker: not on PATH");
});
