/** Builds the parts of a lab inside a claimed state folder. Whoever calls removes the claim when this fails. */
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { MeshError } from "../lib/errors.ts";
import { ObjectStore } from "./cluster/store.ts";
import { ClusterLoop } from "./cluster-loop.ts";
import { Kubelet } from "./kubelet/kubelet.ts";
import { clusterAddresses } from "./machine/addresses.ts";
import { Cgroup } from "./machine/cgroup.ts";
import { fabricScript } from "./machine/network.ts";
import { Sandbox } from "./machine/sandbox.ts";
import type { FoundLab } from "./machine/state-folder.ts";
import { nodeHosts } from "./mesh/control.ts";
import { LabMesh } from "./mesh/mesh.ts";
import { LabNode } from "./node.ts";
import type { LabOptions } from "./options.ts";

export interface LabParts {
  readonly claim: FoundLab;
  readonly fabric: Sandbox;
  readonly nodes: readonly LabNode[];
  readonly kubelets: readonly Kubelet[];
  readonly store: ObjectStore;
  readonly loop: ClusterLoop;
  readonly mesh: LabMesh | undefined;
}

export async function buildLabParts(claim: FoundLab, options: LabOptions, signal: AbortSignal): Promise<LabParts> {
  const { folder } = claim;
  const count = options.nodes ?? 2;
  if (!Number.isInteger(count) || count < 1 || count > clusterAddresses.maximumNodes)
    throw new MeshError("MESH_LAB_NODES", `a lab has 1 to ${clusterAddresses.maximumNodes} nodes, not ${count}`);
  const replicas = options.controlReplicas ?? 1;
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > clusterAddresses.maximumReplicas)
    throw new MeshError(
      "MESH_LAB_REPLICAS",
      `a lab has 1 to ${clusterAddresses.maximumReplicas} control planes, not ${replicas}`,
    );
  const hosts = nodeHosts(replicas);
  const indexes = Array.from({ length: count }, (_, index) => index + 1);
  const cgroup = new Cgroup(claim.owner.cgroup).create();
  const logs = join(folder, "logs");
  mkdirSync(logs, { recursive: true });
  const event = (line: string) => {
    // After `down` there is no folder any more, and nobody to tell.
    if (existsSync(logs)) appendFileSync(join(logs, "lab.log"), `${new Date().toISOString()} ${line}\n`);
    options.onEvent?.(line);
  };

  const fabric = await Sandbox.create(
    { what: "the fabric", cgroup: cgroup.child("fabric").child("sandbox"), fresh: ["net"], script: fabricScript() },
    signal,
  );
  const nodes = await Promise.all(
    indexes.map((index) => LabNode.create({ index, nodes: indexes, fabric, cgroup, folder, hosts }, signal)),
  );
  event(`the fabric and ${count === 1 ? "a node" : `${count} nodes`} are up`);
  const store = new ObjectStore();
  // No name server: what the hosts file does not know is unknown at once.
  const resolver = join(folder, "resolv.conf");
  writeFileSync(resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
  // Programs named `node` are the one that runs the lab.
  const path = `${dirname(process.execPath)}:${process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}`;
  const kubelets = nodes.map(
    (node) =>
      new Kubelet(
        {
          node,
          store,
          event,
          files: (pod) => ({
            hosts: loop.hostsPath(pod.metadata.namespace ?? ""),
            resolver,
            volumes: join(folder, "volumes", pod.metadata.uid ?? ""),
            logs,
          }),
        },
        { path },
      ),
  );
  await Promise.all(kubelets.map((kubelet) => kubelet.listen()));
  const loop = new ClusterLoop({ store, kubelets, event }, { folder });
  const mesh =
    options.mesh === false
      ? undefined
      : await LabMesh.create({ options, fabric, nodes, cgroup, folder, manifests: loop.rendered.path, event }, signal);
  return { claim, fabric, nodes, kubelets, store, loop, mesh };
}
