/**
 * Another HBONE implementation in our place, as docs/bench.md promises it: one process per node, in the node's namespaces and control
 * group, told by its environment where to listen, whom to trust and where to go. Instead of capture, connections of the client pod to
 * the server's ports are redirected to the peer's listener in the pod.
 */
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatIdentity } from "../../src/identity/spiffe.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { launch } from "../../src/lab/machine/launch.ts";
import { MeshError } from "../../src/lib/errors.ts";
import { formatHostPort } from "../../src/lib/host-port.ts";
import { hbonePort, outboundPort } from "../../src/model/ports.ts";
import { MeshPki } from "../../test/conformance/support/mesh-pki.ts";
import type { Peer } from "../arguments.ts";
import { until } from "./conditions.ts";
import { clientNode, echoPort, iperfPort, serverNode } from "./manifests.ts";

type Role = "source" | "destination";

interface Side {
  readonly role: Role;
  readonly node: string;
  readonly pod: string;
  readonly listen: number;
}

const sides: readonly Side[] = [
  { role: "destination", node: serverNode, pod: "server", listen: hbonePort },
  { role: "source", node: clientNode, pod: "client", listen: outboundPort },
];

export async function startPeer(
  lab: Lab,
  peer: Peer,
  launcher: readonly string[],
  wait: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<void> {
  const pki = await MeshPki.create(peer.name);
  const identityOf = (pod: string) =>
    formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: pod });
  const server = lab.pod("server").ips[0] ?? "";
  for (const { role, node: nodeName, pod, listen } of sides) {
    const folder = join(lab.folder, "peer", role);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const file = (name: string, content: string) => {
      const path = join(folder, name);
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    };
    const papers = await pki.issue(identityOf(pod));
    const node = lab.node(nodeName);
    const { netnsPath = "", ips } = lab.pod(pod);
    const logPath = join(lab.folder, "logs", `peer-${role}.log`);
    const [log, netns] = [openSync(logPath, "a"), openSync(netnsPath, "r")];
    const child = launch(node.sandbox.place(node.agentCgroup), [...launcher, "sh", "-c", peer.command], {
      stdio: ["ignore", log, log, netns],
      detached: true,
      env: {
        PATH: process.env["PATH"] ?? "",
        WARREN_PEER_ROLE: role,
        WARREN_PEER_NETNS: netnsPath,
        WARREN_PEER_NETNS_FD: "3",
        WARREN_PEER_POD_IPS: ips.join(","),
        WARREN_PEER_LISTEN: String(listen),
        WARREN_PEER_HBONE: formatHostPort(server, hbonePort),
        WARREN_PEER_TARGETS: [echoPort, iperfPort].map((port) => formatHostPort(server, port)).join(","),
        WARREN_PEER_CERTIFICATE: file("certificate.pem", papers.chain),
        WARREN_PEER_KEY: file("key.pem", papers.key),
        WARREN_PEER_TRUST: file("trust.pem", papers.trust),
        WARREN_PEER_IDENTITY: identityOf(pod),
        WARREN_PEER_EXPECTED_IDENTITY: identityOf(role === "source" ? "server" : "client"),
      },
    });
    child.unref();
    closeSync(log);
    closeSync(netns);
    let ended: string | undefined;
    child.once("error", (error) => {
      ended = error.message;
    });
    child.once("exit", (code, signal) => {
      ended = `ended with ${signal ?? `exit code ${code}`}`;
    });
    const listening = `:${listen.toString(16).toUpperCase()} .* 0A `;
    await until(
      `${peer.name} listening on ${listen} in the ${pod} pod (log: ${logPath})`,
      async () => {
        if (ended !== undefined) throw new MeshError("MESH_BENCH_PEER", `${peer.name} (${role}) ${ended}`);
        return (await lab.exec(pod, ["grep", "-qs", listening, "/proc/net/tcp", "/proc/net/tcp6"])).code === 0;
      },
      wait,
    );
  }
  await redirect(lab, server);
}

async function redirect(lab: Lab, server: string): Promise<void> {
  const rules = `table ip bench_peer {
  chain output {
    type nat hook output priority -100
    ip daddr ${server} tcp dport { ${echoPort}, ${iperfPort} } redirect to :${outboundPort}
  }
}
`;
  const { code, stderr } = await lab.exec("client", ["nft", "-f", "-"], { stdin: rules });
  if (code !== 0) throw new MeshError("MESH_BENCH_PEER", `nft in the client pod: ${stderr.trim()}`);
}
