/** A node with capture and a plain relay as its agent. */
import type { BackendKind, Capture, CapturedPod, CaptureRequest } from "../../../src/capture/capture.ts";
import { type CaptureOptions, createCapture } from "../../../src/capture/create-capture.ts";
import { Machine, type Pod } from "./machine.ts";
import { Relay } from "./relay.ts";

export const ports = { outbound: 15001, inbound: 15006, hbone: 15008 } as const;
export const backends: readonly BackendKind[] = ["ebpf", "nftables"];

/** How one address family is written in tests that run for both. */
export const families = [
  { family: 4, of: (pod: Pod) => pod.ip4, any: "0.0.0.0", loopback: "127.0.0.1" },
  { family: 6, of: (pod: Pod) => pod.ip6, any: "::", loopback: "::1" },
] as const;

export function soon(milliseconds = 60_000): AbortSignal {
  return AbortSignal.timeout(milliseconds);
}

export function captureOptions(machine: Machine, backend: CaptureOptions["backend"]): CaptureOptions {
  return {
    pinDirectory: machine.pinDirectory,
    podsCgroup: machine.podsCgroup,
    kubeletCgroup: machine.kubeletCgroup,
    agentCgroup: machine.agentCgroup,
    hostNetns: machine.host.netnsPath,
    backend,
    ports,
  };
}

/** One agent's life on a machine. */
export class Agent {
  readonly capture: Capture;
  readonly relay: Relay;

  private constructor(capture: Capture) {
    this.capture = capture;
    this.relay = new Relay(capture.sockets);
  }

  static async start(machine: Machine, backend: CaptureOptions["backend"]): Promise<Agent> {
    return new Agent(await createCapture(captureOptions(machine, backend)));
  }

  async enrol(pod: Pod, change: Partial<CaptureRequest> = {}): Promise<CapturedPod> {
    const request = { uid: pod.uid, netnsPath: pod.netnsPath, addresses: pod.addresses, failOpen: false, ...change };
    const captured = await this.capture.enrol(request, soon());
    this.relay.add(captured);
    return captured;
  }

  /** What is left of an agent that was killed: its sockets are closed, its pins and rules stay. */
  async crash(): Promise<void> {
    await this.relay.stop();
    await this.capture.close();
  }
}

/** A machine with one agent. */
export class Harness {
  readonly machine: Machine;
  readonly backend: BackendKind;
  agent: Agent;

  private constructor(machine: Machine, backend: BackendKind, agent: Agent) {
    this.machine = machine;
    this.backend = backend;
    this.agent = agent;
  }

  static async start(backend: BackendKind): Promise<Harness> {
    const machine = await Machine.start();
    return new Harness(machine, backend, await Agent.start(machine, backend));
  }

  get relay(): Relay {
    return this.agent.relay;
  }

  get capture(): Capture {
    return this.agent.capture;
  }

  async enrolled(name: string, change: Partial<CaptureRequest> = {}): Promise<Pod> {
    const pod = await this.machine.addPod(name);
    await this.agent.enrol(pod, change);
    return pod;
  }

  async stop(): Promise<void> {
    await this.agent.crash();
    await Machine.stopAll([this.machine]);
  }
}
