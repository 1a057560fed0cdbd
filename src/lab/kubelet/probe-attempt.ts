/** One attempt of a probe: from the node for tcpSocket and httpGet, as the kubelet does, inside the pod for exec. */
import type { Container, Probe } from "../cluster/objects.ts";
import type { ProbeAnswer, ProbeQuestion } from "./prober-protocol.ts";

export interface ProbeMeans {
  /** The pod's first address. */
  readonly address: string;
  readonly ask: (question: Omit<ProbeQuestion, "id">) => Promise<ProbeAnswer>;
  /** Runs a program in the pod and gives its exit code. */
  readonly run: (argv: readonly string[], timeoutMs: number) => Promise<number>;
}

export async function attemptProbe(probe: Probe, container: Container, means: ProbeMeans): Promise<boolean> {
  const timeoutMs = probe.timeoutSeconds * 1000;
  const { exec } = probe;
  if (exec !== undefined)
    return means.run(exec.command, timeoutMs).then(
      (code) => code === 0,
      () => false,
    );
  const question = networkQuestion(probe, container, means.address);
  // Without a handler, or with a port name that nothing has, there is nothing that could succeed.
  return question === undefined ? false : (await means.ask({ ...question, timeoutMs })).ok;
}

/** What to ask over the network. */
export function networkQuestion(
  { tcpSocket, httpGet }: Probe,
  container: Container,
  address: string,
): Omit<ProbeQuestion, "id" | "timeoutMs"> | undefined {
  const target = httpGet ?? tcpSocket;
  const port = target && portOf(target.port, container);
  if (target === undefined || port === undefined) return undefined;
  const host = target.host ?? address;
  if (httpGet === undefined) return { kind: "tcp", host, port };
  return {
    kind: "http",
    host,
    port,
    scheme: httpGet.scheme ?? "HTTP",
    path: httpGet.path ?? "/",
    headers: Object.fromEntries((httpGet.httpHeaders ?? []).map(({ name, value }) => [name, value])),
  };
}

function portOf(port: number | string, container: Container): number | undefined {
  if (typeof port === "number") return port;
  return container.ports.find((candidate) => candidate.name === port)?.containerPort;
}
