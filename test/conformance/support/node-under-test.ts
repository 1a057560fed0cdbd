/** An engine with pods on loopback, the decisions a test wants, and a record of everything it said. */

import type { Duplex } from "node:stream";
import { expect, onTestFinished } from "vitest";
import { ipFamily } from "../../../src/lib/ip.ts";
import type { SocketAddress } from "../../../src/model/address.ts";
import type { Identity } from "../../../src/model/identity.ts";
import type { ListenerRole } from "../../../src/model/sockets.ts";
import type {
  ConnectArrived,
  CredentialHandle,
  CredentialSpec,
  Decision,
  Engine,
  EngineEvents,
  EngineOptions,
  FlowArrived,
  FlowClosed,
  FlowId,
  FlowRow,
  GroupHandle,
  PodHandle,
  TunnelDown,
  TunnelInfo,
} from "../../../src/tunnel/engine.ts";
import type { EngineKind } from "./engines.ts";
import { addon, freshAddress, listen, netns, ports, ports6 } from "./loopback.ts";
import { engineOptions, type OptionOverrides } from "./options.ts";

export interface PodUnderTest {
  readonly handle: PodHandle;
  readonly address: string;
  readonly identity: Identity;
  readonly credential: CredentialHandle;
  readonly outbound: SocketAddress;
  readonly inbound: SocketAddress;
  readonly hbone: SocketAddress;
}

export class NodeUnderTest {
  readonly engine: Engine;
  readonly options: EngineOptions;
  readonly arrived: FlowArrived[] = [];
  readonly connects: ConnectArrived[] = [];
  readonly closed: FlowClosed[] = [];
  readonly tunnelsUp: TunnelInfo[] = [];
  readonly tunnelsDown: TunnelDown[] = [];
  readonly handedOver = new Map<FlowId, Duplex>();
  batches = 0;
  /** Undefined leaves the flow without a decision. */
  decideFlow: (event: FlowArrived) => Decision | undefined = () => undefined;
  decideConnect: (event: ConnectArrived) => Decision | undefined = () => undefined;
  #stopped = false;

  constructor(kind: EngineKind, overrides: OptionOverrides = {}) {
    this.options = engineOptions(overrides);
    this.engine = kind.create({ events: this.#events(), sockets: addon }, this.options);
    onTestFinished(() => this.stop());
  }

  async addPod(
    credential: CredentialHandle,
    who: Identity,
    options: { destination?: SocketAddress; roles?: readonly ListenerRole[]; address?: string } = {},
  ): Promise<PodUnderTest> {
    const address = options.address ?? freshAddress();
    const roles = options.roles ?? ["outbound", "inbound", "hbone"];
    const handle = this.engine.addPod({
      uid: `uid-${address}`,
      netns,
      addresses: [address],
      listeners: await Promise.all(roles.map((role) => listen(address, role))),
      originalDestination: { kind: "fixed", destination: options.destination ?? { address: "10.9.8.7", port: 80 } },
      marks: { leave: 0, deliver: 0 },
      credential,
    });
    const at = (role: ListenerRole) => ({ address, port: (ipFamily(address) === 4 ? ports : ports6)[role] });
    return {
      handle,
      address,
      identity: who,
      credential,
      outbound: at("outbound"),
      inbound: at("inbound"),
      hbone: at("hbone"),
    };
  }

  addCredential(spec: CredentialSpec): CredentialHandle {
    const handle = this.engine.addCredential(spec.identity);
    this.engine.setCredential(handle, spec);
    return handle;
  }

  /** The group of tunnels from a pod of this node to a peer that must be `expected`. */
  group(from: PodUnderTest, peer: SocketAddress, ...expected: Identity[]): GroupHandle {
    return this.engine.group({ pod: from.handle, peer, expectedIdentities: expected });
  }

  rows(): FlowRow[] {
    return [...this.engine.flowRows({})];
  }

  tunnels(): (TunnelInfo & { openedAt: number; flows: number })[] {
    const all: (TunnelInfo & { openedAt: number; flows: number })[] = [];
    this.engine.tunnels((info) => all.push({ ...info }));
    return all;
  }

  /** The `count`-th closing record, when it has come. */
  async closing(count = 1): Promise<FlowClosed> {
    await expect.poll(() => this.closed.length, { timeout: 30_000, interval: 5 }).toBeGreaterThanOrEqual(count);
    return this.closed[count - 1] as FlowClosed;
  }

  async tunnelDown(count = 1): Promise<TunnelDown> {
    await expect.poll(() => this.tunnelsDown.length, { timeout: 30_000, interval: 5 }).toBeGreaterThanOrEqual(count);
    return this.tunnelsDown[count - 1] as TunnelDown;
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.engine.stop();
  }

  #events(): EngineEvents {
    const answer = (flow: FlowId, decision: Decision | undefined) => {
      if (decision !== undefined) this.engine.decide(flow, decision);
    };
    // Event objects may be the engine's own: what is kept is copied.
    return {
      flowArrived: (event) => {
        this.arrived.push({ ...event });
        answer(event.flow, this.decideFlow(event));
      },
      connectArrived: (event) => {
        this.connects.push({ ...event });
        answer(event.flow, this.decideConnect(event));
      },
      flowHandedOver: (flow, plaintext) => this.handedOver.set(flow, plaintext),
      flowClosed: (event) => this.closed.push({ ...event }),
      tunnelUp: (event) => this.tunnelsUp.push({ ...event }),
      tunnelDown: (event) => this.tunnelsDown.push({ ...event }),
      batchEnd: () => {
        this.batches += 1;
      },
    };
  }
}
