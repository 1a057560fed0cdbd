/**
 * Everything that arrives: captured connections, HBONE connections and the CONNECTs on them. What is over a limit or not
 * understood ends here with a record; the rest becomes a flow with a remembered decision or a question to TypeScript.
 */
import type { ServerHttp2Stream } from "node:http2";
import type { SocketAddress } from "../../model/address.ts";
import type { Reason } from "../../model/reason.ts";
import type { PodListener } from "../../model/sockets.ts";
import type { Decision } from "../engine.ts";
import { authorityDestination } from "../wire/authority.ts";
import type { Carrier } from "./carrier.ts";
import { ConnectArrival, checkConnect, receivedTraceparent } from "./connect-arrival.ts";
import type { EngineContext } from "./context.ts";
import type { Flow } from "./flow.ts";
import type { FlowTable } from "./flow-table.ts";
import { InboundOpening } from "./inbound-tunnel.ts";
import type { SocketLeg } from "./leg.ts";
import { descriptorOf } from "./node-internals.ts";
import type { Pod } from "./pod.ts";
import type { RememberedDecisions } from "./remembered.ts";
import { peerOf } from "./socket-address.ts";
import { SocketArrival } from "./socket-arrival.ts";
import type { Tunnel } from "./tunnel.ts";

export interface IntakeDeps {
  readonly flows: FlowTable;
  readonly remembered: RememberedDecisions;
  readonly carrier: Carrier;
  /** False once a decision's tunnel groups are all gone: it would carry nothing. */
  isUsable(decision: Decision): boolean;
  /** Something of a pod has ended. */
  changed(): void;
}

const nowhere: SocketAddress = { address: "", port: 0 };

export class Intake {
  readonly #context: EngineContext;
  readonly #deps: IntakeDeps;

  constructor(context: EngineContext, deps: IntakeDeps) {
    this.#context = context;
    this.#deps = deps;
  }

  accepted(pod: Pod, { role }: PodListener, leg: SocketLeg): void {
    switch (role) {
      case "hbone":
        this.#tunnel(pod, leg);
        break;
      case "outbound":
        this.#captured(pod, "outbound", "outbound", leg);
        break;
      case "inbound":
        this.#captured(pod, "inbound-plaintext", "inbound", leg);
        break;
    }
  }

  #captured(pod: Pod, role: "outbound" | "inbound-plaintext", listener: "outbound" | "inbound", leg: SocketLeg): void {
    const arrival = new SocketArrival(leg);
    const fd = descriptorOf(arrival.socket);
    const destination =
      fd === undefined ? undefined : this.#context.sockets.originalDestination(fd, pod.originalDestination, listener);
    const crowded = fd !== undefined && this.#context.descriptors.crowdsOut(pod, fd);
    const overload = crowded ? "out-of-descriptors" : this.#deps.flows.overload(pod);
    const flow = this.#deps.flows.add({
      pod,
      role,
      source: peerOf(arrival.socket),
      destination: destination ?? nowhere,
      authority: "",
      peer: "",
      arrival,
    });
    if (destination === undefined) {
      flow.end("original-destination-lost", "");
    } else if (overload !== undefined) {
      this.#shed(flow, overload);
    } else if (!this.#repeat(flow)) {
      const { id, source } = flow;
      this.#context.batch.deliver((events) =>
        events.flowArrived({ flow: id, pod: pod.handle, role, source, destination }),
      );
    }
  }

  #tunnel(pod: Pod, leg: SocketLeg): void {
    const open = pod.inboundTunnels.size + pod.handshakes.size;
    const fd = descriptorOf(leg.duplex);
    const crowded = fd !== undefined && this.#context.descriptors.crowdsOut(pod, fd);
    if (open >= this.#context.options.limits.inboundTunnelsPerPod || crowded) {
      this.#context.counters.shedTotal += 1;
      leg.reset();
      return;
    }
    leg.duplex.once("close", () => this.#deps.changed());
    const opening = new InboundOpening(
      this.#context,
      { pod, raw: leg.duplex },
      {
        changed: () => {},
        gone: (tunnel) => {
          pod.inboundTunnels.delete(tunnel);
          this.#deps.changed();
        },
      },
      (tunnel) => {
        pod.inboundTunnels.add(tunnel);
        tunnel.session.on("stream", (stream: ServerHttp2Stream, headers) => {
          tunnel.holdStream();
          stream.once("close", () => tunnel.releaseStream());
          this.#connect(pod, tunnel, new ConnectArrival(stream, tunnel), headers);
        });
      },
    );
    pod.handshakes.add(opening);
  }

  #connect(pod: Pod, tunnel: Tunnel, arrival: ConnectArrival, headers: Parameters<typeof checkConnect>[0]): void {
    const check = checkConnect(headers, pod);
    const overload = this.#deps.flows.overload(pod);
    const { peer, peerAddress: source } = tunnel.info;
    const flow = this.#deps.flows.add({
      pod,
      role: "inbound-hbone",
      source,
      destination: check.kind === "connect" ? authorityDestination(check.authority) : nowhere,
      authority: check.kind === "connect" ? check.text.authority : "",
      peer,
      arrival,
    });
    if (this.#context.options.traces.carried) flow.traceparent = receivedTraceparent(headers);
    if (check.kind === "refused") {
      flow.end(check.reason, headers[":authority"] ?? "");
    } else if (pod.removed) {
      flow.end("pod-removed", "");
    } else if (overload !== undefined) {
      this.#shed(flow, overload);
    } else if (!this.#repeat(flow)) {
      const { id } = flow;
      const { text } = check;
      this.#context.batch.deliver((events) =>
        events.connectArrived({
          flow: id,
          pod: pod.handle,
          tunnel: tunnel.id,
          peer: tunnel.proof.identity,
          source,
          ...text,
        }),
      );
    }
  }

  /** Repeats a remembered decision, or starts the wait for a new one. */
  #repeat(flow: Flow): boolean {
    const decision = this.#deps.remembered.recall(flow.fields);
    if (decision !== undefined && this.#deps.isUsable(decision)) {
      this.#deps.carrier.carryOut(flow, decision);
      return true;
    }
    flow.awaitDecision(this.#context.options.timeouts.decision);
    return false;
  }

  #shed(flow: Flow, reason: Reason): void {
    this.#context.counters.shedTotal += 1;
    flow.end(reason, "");
  }
}
