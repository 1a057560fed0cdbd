/**
 * The agent under measure of `enforcement.ts`: real from the discovery response inwards (decoding, mesh index, credentials, driver,
 * engine), on loopback. What came over a network is bytes here too.
 */
import { ResourceStore } from "../../src/control/discovery/resource-store.ts";
import { encodeResponse } from "../../src/control/discovery/response-codec.ts";
import type { CertificateMaterial } from "../../src/identity/issued-certificate.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { MeshSource } from "../../src/model/mesh.ts";
import type { ListenerRole } from "../../src/model/sockets.ts";
import type { Workload } from "../../src/model/workload.ts";
import { Credentials } from "../../src/node/credentials.ts";
import type { CredentialSpec, FlowClosed } from "../../src/tunnel/engine.ts";
import { TunnelDriver } from "../../src/tunnel/tunnel-driver.ts";
import { DiscoveryState } from "../../src/xds/client/discovery-state.ts";
import { readResponse } from "../../src/xds/client/response-reader.ts";
import { encodeLocalPod } from "../../src/xds/resources/local-pod.ts";
import { type NamedResource, type ResourceType, resourceTypes } from "../../src/xds/resources/resource-types.ts";
import { encodeWorkload } from "../../src/xds/resources/workload.ts";
import { addon, listen, netns, ports } from "../../test/conformance/support/loopback.ts";
import { engineOptions } from "../../test/conformance/support/options.ts";
import { localPod, settings } from "../../test/mesh/build.ts";
import { appPort, engineNamed, limits } from "./enforcement-peers.ts";

/** Resources of one type that arrive together. */
export interface Arrival {
  readonly type: ResourceType;
  readonly set?: readonly NamedResource[];
  readonly removed?: readonly string[];
}

export interface AgentOptions {
  readonly engine: string;
  /** How many peers have tunnels to a pod. */
  readonly peers: number;
}

export class BenchAgent {
  readonly #state = new DiscoveryState(settings, "server-node");
  readonly #store = new ResourceStore();
  readonly #driver: TunnelDriver;
  readonly #credentials: Credentials;
  readonly #certificates = new Map<Identity, CertificateMaterial>();
  /** What stopped it; nothing in a good run. */
  readonly failures: unknown[] = [];

  constructor({ engine, peers }: AgentOptions, flowClosed: (record: FlowClosed) => void) {
    const { index } = this.#state;
    const mesh: MeshSource = {
      view: index,
      onChange: (listener) => index.onChange(listener),
      start: async () => {},
      stop: async () => {},
    };
    this.#driver = new TunnelDriver(
      {
        engine: (events) =>
          engineNamed(engine).create({ events, sockets: addon }, engineOptions({ limits: limits(peers) })),
        mesh,
        telemetry: {
          flowClosed,
          tunnelUp: () => {},
          tunnelDown: () => {},
          internalError: (error) => this.failures.push(error),
        },
      },
      { unknownSourceHold: 5000 },
    );
    this.#credentials = new Credentials({
      store: {
        hold: () => () => {},
        get: (identity) => this.#certificates.get(identity),
        onChange: () => () => {},
        follow: () => {},
      },
      driver: this.#driver,
      settings: () => index.settings,
      renewed: () => {},
      log: { error: (fields) => this.failures.push(fields) },
    });
    // In the agent's order.
    this.#driver.start();
    this.#credentials.start();
    index.onChange((change) => {
      if (change.settings) this.#credentials.settingsChanged();
    });
  }

  /** As control would encode it. */
  encode({ type, set = [], removed = [] }: Arrival): Buffer {
    for (const resource of set) this.#store.set(type, resource);
    const frames = set.flatMap(({ name }) => this.#store.get(type, name)?.frame ?? []);
    return encodeResponse({ typeUrl: resourceTypes[type], nonce: "1", version: "1", removed, frames, more: false });
  }

  /** From the bytes of a response to the state in force; what is open is judged on after that, if it is much. */
  async take(bytes: Buffer): Promise<void> {
    const wrong = await this.#state.apply(readResponse(bytes));
    if (wrong !== "") throw new Error(`the agent rejects what it was sent: ${wrong}`);
  }

  hear(arrival: Arrival): Promise<void> {
    return this.take(this.encode(arrival));
  }

  /** A pod of this node, through which the peers' application is reached with and without a tunnel. */
  async addPod(of: Workload, { chain, privateKey, trustBundle }: CredentialSpec): Promise<void> {
    const pod = { ...localPod(of), networkPolicy: "none" as const };
    await this.hear({ type: "address", set: [encodeWorkload(of, new Map(), [])] });
    await this.hear({ type: "localPod", set: [encodeLocalPod(pod)] });
    const [address = ""] = of.addresses;
    const roles: readonly ListenerRole[] = ["hbone", "inbound"];
    this.#driver.addPod(pod, {
      netns: { fd: netns },
      listeners: await Promise.all(roles.map((role) => listen(address, role))),
      originalDestination: { kind: "fixed", destination: { address, port: appPort } },
      marks: { leave: 0, deliver: 0 },
    });
    const day = 86_400_000;
    this.#certificates.set(of.identity, {
      identity: of.identity,
      chain,
      privateKey,
      trustBundle,
      root: trustBundle,
      rootFingerprint: "",
      offeredRoots: trustBundle,
      serial: "01",
      issuer: "",
      keyType: "",
      notBefore: Date.now() - day,
      notAfter: Date.now() + day,
    });
    this.#credentials.hold(of.identity);
  }

  /** No flow waits to be judged. */
  settled(): Promise<void> {
    return this.#driver.settled();
  }

  stats(): { readonly open: number; readonly judged: number } {
    return { open: this.#driver.engineStats().flowsOpen, judged: this.#driver.stats().rejudgedTotal };
  }

  stop(): Promise<void> {
    return this.#driver.stop();
  }
}

export { ports };
