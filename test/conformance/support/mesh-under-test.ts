/** Two nodes with one pod each, `caller` and `server`, and the decisions that join an application of one to one of the other. */
import type { SocketAddress } from "../../../src/model/address.ts";
import type { CarryDecision, ConnectArrived, CredentialSpec, DialDecision } from "../../../src/tunnel/engine.ts";
import { parseAuthority } from "../../../src/tunnel/wire/authority.ts";
import type { EngineKind } from "./engines.ts";
import { identity, MeshPki } from "./mesh-pki.ts";
import { NodeUnderTest, type PodUnderTest } from "./node-under-test.ts";
import type { OptionOverrides } from "./options.ts";

export interface MeshUnderTest {
  readonly pki: MeshPki;
  readonly client: NodeUnderTest;
  readonly server: NodeUnderTest;
  readonly caller: PodUnderTest;
  readonly callee: PodUnderTest;
  readonly callerCredential: CredentialSpec;
  readonly calleeCredential: CredentialSpec;
}

export interface MeshOptions extends OptionOverrides {
  /** Where the server's application listens; it need not. */
  readonly app?: SocketAddress;
  /** For one side only, over the others. */
  readonly client?: OptionOverrides;
  readonly server?: OptionOverrides;
}

/** Flows of `caller` are carried to `callee`, which delivers them to `app` with its own address as the source. */
export async function startMesh(
  kinds: { readonly client: EngineKind; readonly server: EngineKind },
  options: MeshOptions = {},
): Promise<MeshUnderTest> {
  const { app = { address: "127.0.0.1", port: 1 } } = options;
  const pki = await MeshPki.create();
  const client = new NodeUnderTest(kinds.client, merged(options, options.client));
  const server = new NodeUnderTest(kinds.server, merged(options, options.server));
  const callerCredential = await pki.credential(identity("caller"));
  const calleeCredential = await pki.credential(identity("callee"));
  const callee = await server.addPod(server.addCredential(calleeCredential), calleeCredential.identity);
  const caller = await client.addPod(client.addCredential(callerCredential), callerCredential.identity, {
    destination: { address: callee.address, port: app.port },
  });
  client.decideFlow = ({ destination }) => carryTo(client, caller, callee, destination.port);
  server.decideConnect = (event) => deliverTo(callee, app, event);
  return { pki, client, server, caller, callee, callerCredential, calleeCredential };
}

function merged(all: OptionOverrides, one: OptionOverrides = {}): OptionOverrides {
  return {
    timeouts: { ...all.timeouts, ...one.timeouts },
    limits: { ...all.limits, ...one.limits },
    tls: { ...all.tls, ...one.tls },
    ...(one.traces === undefined ? {} : { traces: one.traces }),
    ...(all.workers === undefined ? {} : { workers: all.workers }),
  };
}

export function carryTo(node: NodeUnderTest, from: PodUnderTest, to: PodUnderTest, port: number): CarryDecision {
  const group = node.group(from, to.hbone, to.identity);
  return {
    kind: "carry",
    label: 7,
    targets: [{ group, authority: `${to.address}:${port}`, weight: 1 }],
    baggage: "k8s.namespace.name=test",
    forwardedHost: "",
  };
}

/** To the application, wherever it listens: the authority's port decides nothing here. */
export function deliverTo(pod: PodUnderTest, app: SocketAddress, { authority }: ConnectArrived): DialDecision {
  if (parseAuthority(authority) === undefined) throw new Error(`the engine let ${authority} pass`);
  return {
    kind: "dial",
    label: 8,
    targets: [{ destination: app, weight: 1 }],
    from: pod.handle,
    purpose: "deliver",
    baggage: "service.name=callee",
  };
}
