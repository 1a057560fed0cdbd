/** Both ends of a tunnel made by the TypeScript engine, with decisions that never change: what a bench needs of an agent. */
import { loadCaptureAddon } from "../../src/capture/addon.ts";
import type { SocketAddress } from "../../src/model/address.ts";
import type { ListenerRole } from "../../src/model/sockets.ts";
import type { Decision, Engine, EngineEvents, FlowId } from "../../src/tunnel/engine.ts";
import { createTypeScriptEngine } from "../../src/tunnel/typescript/engine.ts";
import { identity, type MeshPki } from "../../test/conformance/support/mesh-pki.ts";
import { engineOptions } from "../../test/conformance/support/options.ts";

const addresses = { caller: "127.99.0.1", callee: "127.99.0.2" } as const;
const ports: Readonly<Record<ListenerRole, number>> = { outbound: 15_001, inbound: 15_006, hbone: 15_008 };

/** Connections to the returned address come out at `app`. */
export async function startEngineRelay(pki: MeshPki, app: SocketAddress, netns: number): Promise<SocketAddress> {
  const sockets = loadCaptureAddon();
  const decisions: { outbound?: Decision; inbound?: Decision } = {};
  const near: Engine = createTypeScriptEngine(
    {
      events: eventsFor(
        () => near,
        () => decisions.outbound,
      ),
      sockets,
    },
    engineOptions(),
  );
  const far: Engine = createTypeScriptEngine(
    {
      events: eventsFor(
        () => far,
        () => decisions.inbound,
      ),
      sockets,
    },
    engineOptions(),
  );
  const addPod = async (engine: Engine, who: "caller" | "callee", role: ListenerRole) => {
    const spec = await pki.credential(identity(who));
    const credential = engine.addCredential(spec.identity);
    engine.setCredential(credential, spec);
    const address = addresses[who];
    const fd = await sockets.listen(netns, {
      family: 4,
      port: ports[role],
      address,
      backlog: 512,
      transparent: false,
      reusePort: false,
    });
    return engine.addPod({
      uid: who,
      netns,
      addresses: [address],
      listeners: [{ role, family: 4, fd }],
      originalDestination: { kind: "fixed", destination: { address: addresses.callee, port: app.port } },
      marks: { leave: 0, deliver: 0 },
      credential,
    });
  };
  const caller = await addPod(near, "caller", "outbound");
  const callee = await addPod(far, "callee", "hbone");
  const group = near.group({
    pod: caller,
    peer: { address: addresses.callee, port: ports.hbone },
    expectedIdentities: [identity("callee")],
  });
  decisions.outbound = {
    kind: "carry",
    label: 1,
    targets: [{ group, authority: `${addresses.callee}:${app.port}`, weight: 1 }],
    baggage: "",
    forwardedHost: "",
  };
  decisions.inbound = {
    kind: "dial",
    label: 1,
    targets: [{ destination: app, weight: 1 }],
    from: callee,
    purpose: "deliver",
    baggage: "",
  };
  return { address: addresses.caller, port: ports.outbound };
}

function eventsFor(engine: () => Engine, decision: () => Decision | undefined): EngineEvents {
  const answer = ({ flow }: { flow: FlowId }) => {
    const decided = decision();
    if (decided !== undefined) engine().decide(flow, decided);
  };
  return {
    flowArrived: answer,
    connectArrived: answer,
    flowHandedOver: () => {},
    flowClosed: () => {},
    tunnelUp: () => {},
    tunnelDown: () => {},
    batchEnd: () => {},
  };
}
