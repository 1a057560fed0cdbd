/**
 * `--target kind` and `--target kubeconfig`: the bench's traffic between pods of a real cluster, client and server on one node and on
 * two, in a namespace of the mesh and in one without it. What the run puts into a cluster it takes out again, and a cluster that it
 * made goes as a whole.
 */
import type { BenchRequest } from "../arguments.ts";
import { trafficScenarios } from "../catalogue.ts";
import { neighbours, pair } from "../lab/manifests.ts";
import type { Target, Variant } from "../model.ts";
import { Runner, type RunResults } from "../runner.ts";
import { placed } from "../scenarios/placed.ts";
import type { Pace, TrafficScenario } from "../scenarios/scenario.ts";
import { ClusterAgents } from "./agents.ts";
import { ClusterBed } from "./cluster-bed.ts";
import { type Deployment, deployMesh } from "./deployment.ts";
import { buildImages, loadImage, meshImage } from "./images.ts";
import { KindCluster } from "./kind-cluster.ts";
import { clusterVariants, type Place, removePods, startPods } from "./pods.ts";
import { type ClusterNode, clusterProblems, kindProblems, type Machine, workers } from "./preflight.ts";
import { Kubectl } from "./tool.ts";

const removeMs = 10 * 60_000;

export interface ClusterRun {
  readonly results: RunResults;
  readonly scenarios: readonly TrafficScenario[];
  readonly cluster: readonly (readonly [string, string])[];
}

export interface ClusterOptions {
  readonly request: BenchRequest;
  readonly pace: Pace;
  readonly machine: Omit<Machine, "signal">;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** Between nodes under the names that they have on the lab, on one node with a prefix. */
export function clusterScenarios({ quick, scenarios: wanted }: Pick<BenchRequest, "quick" | "scenarios">, pace: Pace) {
  const recipe = (name: Place) => ({ name, cast: name === "near" ? neighbours : pair });
  const here = { prefix: "samenode", where: "client and server on one node", recipe: recipe("near"), sameNode: true };
  const all = trafficScenarios(pace);
  const far = all.map((scenario): TrafficScenario => ({ ...scenario, recipe: recipe("far") }));
  // The knee is found once, between the nodes.
  const near = all.map((scenario) => ({ ...placed(scenario, here), quick: scenario.quick }));
  return [...far, ...near].filter(({ name, quick: isQuick }) => wanted?.includes(name) ?? (isQuick || !quick));
}

/** What is missing, or the run. */
export async function runOnCluster(
  target: Exclude<Target, "lab">,
  options: ClusterOptions,
): Promise<ClusterRun | readonly string[]> {
  const { machine: found, signal } = options;
  const machine: Machine = { ...found, signal };
  return target === "kind" ? onKind(machine, options) : onExisting(machine, options);
}

async function onKind(machine: Machine, options: ClusterOptions): Promise<ClusterRun | readonly string[]> {
  const { signal, say } = options;
  const problems = await kindProblems(machine);
  if (problems.length > 0) return problems;
  say("images are being built");
  const images = await buildImages(machine.root, signal);
  say("a cluster of kind is being made");
  const cluster = await KindCluster.create(signal);
  try {
    say("images are being loaded");
    await cluster.load(images, signal);
    const kubectl = cluster.kubectl(signal);
    say("the mesh is being deployed");
    const deployment = await deployMesh(kubectl, machine.root, meshImage);
    // Its pods and the mesh go with the cluster.
    return await measure(kubectl, deployment, loadImage, options);
  } finally {
    say("the cluster is being deleted");
    await cluster.delete();
  }
}

async function onExisting(machine: Machine, options: ClusterOptions): Promise<ClusterRun | readonly string[]> {
  const { signal, say, request } = options;
  const { image, loadImage: podImage, context } = request;
  const kubectl = new Kubectl(context === undefined ? {} : { context }, signal);
  const problems = await clusterProblems(kubectl, machine, { mesh: image, load: podImage });
  if (problems.length > 0 || podImage === undefined) return problems;
  const deployment = await deployMesh(kubectl, machine.root, image ?? meshImage);
  say(deployment.image === undefined ? "a mesh is there already and stays as it is" : "the mesh is deployed");
  try {
    return await measure(kubectl, deployment, podImage, options);
  } finally {
    say("what was put into the cluster is being removed");
    const later = kubectl.under(AbortSignal.timeout(removeMs));
    try {
      await removePods(later);
    } finally {
      await deployment.remove(later);
    }
  }
}

async function measure(
  kubectl: Kubectl,
  deployment: Deployment,
  podImage: string,
  { request, pace, signal, say }: ClusterOptions,
): Promise<ClusterRun> {
  const { items } = await kubectl.json<{ items: ClusterNode[] }>(["get", "nodes"]);
  const [here, there] = workers(items).map(({ metadata }) => metadata.name);
  const agents = await ClusterAgents.find(kubectl);
  const addresses = new Map<Variant, Readonly<Record<Place, string>>>();
  for (const variant of clusterVariants.filter((name) => request.variants.includes(name))) {
    addresses.set(variant, await startPods(kubectl, variant, { nodes: [here ?? "", there ?? ""], image: podImage }));
    say(`${variant}: client and servers run`);
  }
  const scenarios = clusterScenarios(request, pace);
  const runner = new Runner<ClusterBed>({
    scenarios,
    variants: [...addresses.keys()],
    rounds: request.rounds,
    pace,
    signal,
    say,
    up: async (recipe, variant) => {
      const server = addresses.get(variant)?.[recipe.name === "near" ? "near" : "far"] ?? "";
      const bed = new ClusterBed(kubectl, { variant, server, agents: variant === "direct" ? undefined : agents });
      await bed.waitMeshed(signal);
      return bed;
    },
  });
  const results = await runner.run();
  return { results, scenarios, cluster: await describeCluster(kubectl, items, deployment) };
}

async function describeCluster(
  kubectl: Kubectl,
  nodes: readonly ClusterNode[],
  { image }: Deployment,
): Promise<readonly (readonly [string, string])[]> {
  // Not `kubectl version`, which fails where it finds its own and the server's too far apart: the figures are there already.
  const { code, stdout } = await kubectl.try(["get", "--raw", "/version"]);
  const version = code === 0 ? (JSON.parse(stdout) as { gitVersion?: string }).gitVersion : undefined;
  return [
    ["Kubernetes", version ?? "unknown"],
    ["mesh", image === undefined ? "found in the cluster" : `deployed for this run, ${image}`],
    ...nodes.map(({ metadata: { name }, status: { capacity, nodeInfo } }): readonly [string, string] => [
      `node ${name}`,
      `${capacity["cpu"] ?? "?"} processors, ${capacity["memory"] ?? "?"}, ${nodeInfo.osImage}, Linux ${nodeInfo.kernelVersion}, ${nodeInfo.containerRuntimeVersion}`,
    ]),
  ];
}
