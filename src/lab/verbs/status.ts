/** `warren lab status` for people. */
import { columns } from "../../lib/columns.ts";
import type { LabStatus } from "../status.ts";

/** `wide` has what tells one pod from the next of its name. */
export function renderStatus({ id, folder, nodes, pods, services, mesh }: LabStatus, wide = false): string[] {
  return [
    `lab ${id} in ${folder}`,
    "",
    ...columns([
      ["NODE", "ADDRESSES", "AGENT", "PID"],
      ...nodes.map(({ name, ips }) => {
        const agent = mesh.find((daemon) => daemon.name === `agent/${name}`);
        return [name, ips.join(","), stateOf(agent), String(agent?.pid ?? "-")];
      }),
    ]),
    "",
    ...columns([
      ["NAMESPACE", "POD", "NODE", "PHASE", "READY", "RESTARTS", "ADDRESSES", ...(wide ? ["ACCOUNT", "UID"] : [])],
      ...pods.map((pod) => [
        pod.namespace,
        pod.name,
        pod.node || "-",
        pod.going ? "Terminating" : pod.phase,
        pod.ready ? "yes" : "no",
        String(pod.restarts),
        pod.ips.join(",") || "-",
        ...(wide ? [pod.serviceAccount, pod.uid] : []),
      ]),
    ]),
    "",
    ...columns([
      ["NAMESPACE", "SERVICE", "ADDRESSES", "PORTS"],
      ...services.map(({ namespace, name, ips, ports }) => [
        namespace,
        name,
        ips.join(",") || "-",
        ports.join(",") || "-",
      ]),
    ]),
    ...mesh
      .filter(({ name }) => !name.startsWith("agent/"))
      .flatMap((daemon) => ["", `${daemon.name}: ${stateOf(daemon)}, pid ${daemon.pid ?? "-"}, log ${daemon.log}`]),
  ];
}

function stateOf(daemon: LabStatus["mesh"][number] | undefined): string {
  if (daemon === undefined) return "-";
  if (daemon.pid === undefined) return "stopped";
  return daemon.ready ? "ready" : "not ready";
}
