/** Pods for integration tests of policy: a server with an HTTP and an echo port, clients that can hold connections open. */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { onTestFinished } from "vitest";
import type { Lab } from "../../../src/lab/lab.ts";

export const httpPort = 8080;
export const echoPort = 9000;

const serverProgram = `require("node:http").createServer((request, response) => response.end(request.url)).listen(${httpPort}, "::");
require("node:net").createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(${echoPort}, "::")`;

export const namespaces = `
apiVersion: v1
kind: Namespace
metadata: {name: production, labels: {warren.dev/mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}`;

/** Asks the kernel of the pod who listens, so that nobody connects: what a probe opens is a connection, too, while it lasts. */
export function listens(port: number): string {
  const row = `:${port.toString(16).toUpperCase().padStart(4, "0")} .* 0A `;
  return `exec: {command: [grep, -q, ${JSON.stringify(row)}, /proc/net/tcp6]}`;
}

export function server(node: string, probe = "tcpSocket: {port: echo}"): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: ${node}
  serviceAccountName: server
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    command: [node, -e, ${JSON.stringify(serverProgram)}]
    ports: [{name: http, containerPort: ${httpPort}}, {name: echo, containerPort: ${echoPort}}]
    readinessProbe: {${probe}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{name: http, port: ${httpPort}, targetPort: http}, {name: echo, port: ${echoPort}, targetPort: echo}]}`;
}

/** A pod that idles under a ServiceAccount of its own name. */
export function client(name: string, node: string, namespace = "production"): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${name}}}
spec:
  nodeName: ${node}
  serviceAccountName: ${name}
  terminationGracePeriodSeconds: 1
  containers: [{name: idle, command: [sleep, infinity]}]`;
}

const clientProgram = `const socket = require("node:net").connect(Number(process.argv[2]), process.argv[1]);
process.stdin.on("data", (data) => socket.write(data));
socket.on("data", (data) => process.stdout.write(data)).on("error", () => {}).on("close", () => process.exit(3))`;

/** A TCP connection from inside a pod to the server's echo port, held open by a program there. */
export class HeldConnection {
  readonly #child: ChildProcess;
  #heard = "";
  #closedAt: number | undefined;
  readonly #listeners = new Set<() => void>();

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#heard += text;
      this.#tell();
    });
    child.once("exit", () => {
      this.#closedAt = performance.now();
      this.#tell();
    });
  }

  /** Resolves when the first echo came back: then it is one whole connection through whatever is between. */
  static async open(lab: Lab, pod: string, host: string): Promise<HeldConnection> {
    const child = lab.spawn(pod, ["node", "-e", clientProgram, host, String(echoPort)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const connection = new HeldConnection(child);
    onTestFinished(() => void connection.#child.kill());
    await connection.echo();
    return connection;
  }

  get isOpen(): boolean {
    return this.#closedAt === undefined;
  }

  /** Sends a word that occurs nowhere else and waits for it; throws if the connection ends instead. */
  async echo(): Promise<string> {
    const word = `marker-${randomBytes(12).toString("hex")}`;
    this.#child.stdin?.write(word);
    await this.#until(() => this.#heard.includes(word) || !this.isOpen);
    if (!this.#heard.includes(word)) throw new Error("the connection has ended");
    return word;
  }

  async close(): Promise<void> {
    this.#child.kill();
    await this.ended();
  }

  /** When it ended, on the clock of `performance`. */
  async ended(): Promise<number> {
    await this.#until(() => !this.isOpen);
    return this.#closedAt ?? Number.NaN;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  #until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = () => {
        if (!holds()) return;
        this.#listeners.delete(look);
        resolve();
      };
      this.#listeners.add(look);
    });
  }
}

export function documents(...texts: readonly string[]): string {
  return texts.join("\n---\n");
}
