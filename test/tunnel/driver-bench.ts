import { MeshIndex } from "../../src/mesh/mesh-index.ts";
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { MeshSource } from "../../src/model/mesh.ts";
import type { LocalPod } from "../../src/model/workload.ts";
import type { DriverDeps, PodSockets } from "../../src/tunnel/driver.ts";
import type { FlowClosed, PodHandle } from "../../src/tunnel/engine.ts";
import { TunnelDriver } from "../../src/tunnel/tunnel-driver.ts";
import { settings, workload } from "../mesh/build.ts";
import { FakeEngine } from "./fake-engine.ts";

export const web = workload("web", "10.0.0.1");
export const api = workload("api", "10.0.1.1");
export const sockets: PodSockets = {
  netns: { fd: 99 },
  listeners: [],
  originalDestination: { kind: "conntrack" },
  marks: { leave: 1, deliver: 2 },
};

/** A driver with a fake engine below and a mesh index above, and what telemetry heard. */
export class Bench {
  readonly index = new MeshIndex(settings);
  readonly closed: { reason: string; label: FlowLabel; pod: LocalPod | undefined }[] = [];
  readonly errors: unknown[] = [];
  readonly driver: TunnelDriver;
  #engine: FakeEngine | undefined;

  constructor(requests?: DriverDeps["requests"]) {
    const index = this.index;
    const mesh: MeshSource = {
      view: index,
      onChange: (listener) => index.onChange(listener),
      start: async () => undefined,
      stop: async () => undefined,
    };
    this.driver = new TunnelDriver(
      {
        engine: (events) => {
          this.#engine = new FakeEngine(events);
          return this.#engine;
        },
        mesh,
        telemetry: {
          flowClosed: ({ reason }: FlowClosed, label, pod) => this.closed.push({ reason, label, pod }),
          tunnelUp: () => undefined,
          tunnelDown: () => undefined,
          internalError: (error) => this.errors.push(error),
        },
        ...(requests === undefined ? {} : { requests }),
      },
      { unknownSourceHold: 5000 },
    );
    this.driver.start();
  }

  get engine(): FakeEngine {
    if (this.#engine === undefined) throw new Error("the driver made no engine");
    return this.#engine;
  }

  /** Captures a pod; returns its handle. */
  capture(local: LocalPod): PodHandle {
    this.driver.addPod(local, sockets);
    const handle = [...this.engine.pods].findLast(([, { uid }]) => uid === local.uid)?.[0];
    if (handle === undefined) throw new Error("the engine has no such pod");
    return handle;
  }

  out(pod: PodHandle, address: string, port: number) {
    const source = { address: "10.0.0.1", port: 40000 };
    return this.engine.arrive({ pod, role: "outbound", source, destination: { address, port }, peer: "" });
  }

  tunnelled(pod: PodHandle, port = 80) {
    const source = { address: "10.0.0.1", port: 40000 };
    const destination = { address: "10.0.1.1", port };
    return this.engine.arrive({ pod, role: "inbound-hbone", source, destination, peer: web.identity });
  }

  plain(pod: PodHandle, port = 80) {
    const source = { address: "10.0.0.1", port: 40000 };
    const destination = { address: "10.0.1.1", port };
    return this.engine.arrive({ pod, role: "inbound-plaintext", source, destination, peer: "" });
  }
}
