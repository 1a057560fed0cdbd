/** Opens a tunnel to a peer: certificate, TCP from the pod's netns, TLS, HTTP/2, each step with its own time limit. */
import { connect } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { SocketAddress } from "../../model/address.ts";
import type { Identity } from "../../model/identity.ts";
import type { Reason } from "../../model/reason.ts";
import type { GroupHandle } from "../engine.ts";
import type { EngineContext } from "./context.ts";
import type { UsableCredential } from "./credential.ts";
import { dial } from "./dial.ts";
import { secureClient } from "./handshake.ts";
import { clientSessionOptions, widenConnection } from "./http2-options.ts";
import type { SocketLeg } from "./leg.ts";
import { type Attempt, awaitSettings, type Failure, reportFailure } from "./opening.ts";
import type { PeerProof } from "./peer-proof.ts";
import type { OpeningTunnel, Pod } from "./pod.ts";
import { Tunnel, type TunnelWatcher } from "./tunnel.ts";

export interface OutboundRequest {
  readonly pod: Pod;
  readonly group: GroupHandle;
  readonly peer: SocketAddress;
  readonly expected: ReadonlySet<Identity>;
}

export interface OutboundDone {
  opened(tunnel: Tunnel): void;
  failed(failure: Failure): void;
}

/** Calls exactly one method of `done`, later, unless abandoned first. */
export class OutboundOpening implements OpeningTunnel {
  readonly #context: EngineContext;
  readonly #request: OutboundRequest;
  readonly #watcher: TunnelWatcher;
  readonly #done: OutboundDone;
  readonly #attempt: Attempt;
  readonly #credential;
  #cancelStep: () => void;

  constructor(context: EngineContext, request: OutboundRequest, watcher: TunnelWatcher, done: OutboundDone) {
    this.#context = context;
    this.#request = request;
    this.#watcher = watcher;
    this.#done = done;
    this.#credential = request.pod.credential;
    this.#attempt = {
      id: context.nextTunnelId(),
      pod: request.pod,
      group: request.group,
      peerAddress: request.peer,
      startedAt: performance.now(),
    };
    const { usable } = this.#credential;
    if (usable === undefined) this.#cancelStep = this.#awaitCertificate();
    else this.#cancelStep = this.#dial(usable);
  }

  abandon(reason: Reason): void {
    this.#cancelStep();
    reportFailure(this.#context, this.#attempt, { reason, detail: "" });
  }

  #awaitCertificate(): () => void {
    return this.#credential.whenUsable(this.#context.options.timeouts.credential, (usable) => {
      if (usable === undefined) this.#fail({ reason: "no-certificate", detail: this.#credential.identity });
      else this.#cancelStep = this.#dial(usable);
    });
  }

  #dial(usable: UsableCredential): () => void {
    const { pod, peer } = this.#request;
    const { timeouts, limits } = this.#context.options;
    const request = {
      netns: pod.netns,
      purpose: "leave",
      mark: pod.marks.leave,
      destination: peer,
      sourceAddress: undefined,
      timeoutMs: timeouts.connect,
      allowHalfOpen: false,
      highWaterMark: limits.bufferPerFlow,
      mayKeep: (fd: number) => !this.#context.descriptors.crowdsOut(pod, fd),
    } as const;
    return dial(this.#context.sockets, request, (result) => {
      if (result.kind === "failed") this.#fail(result);
      else this.#secure(usable, result.leg);
    });
  }

  #secure(usable: UsableCredential, leg: SocketLeg): void {
    this.#context.counters.handshakesTotal += 1;
    this.#cancelStep = secureClient(
      leg.duplex,
      usable,
      this.#request.expected,
      {
        timeoutMs: this.#context.options.timeouts.tls,
        rules: () => (this.#credential.usable ?? usable).rules,
      },
      (result) => {
        if (result.kind === "secured") this.#startHttp2(result.socket, result.proof);
        else this.#failHandshake(result);
      },
    );
  }

  #startHttp2(socket: TLSSocket, proof: PeerProof): void {
    const { limits, timeouts } = this.#context.options;
    // The URL only names the session; CONNECT requests bring their own authority.
    const session = connect("https://tunnel", { ...clientSessionOptions(limits), createConnection: () => socket });
    this.#cancelStep = awaitSettings(session, socket, timeouts.http2, (failure) => {
      if (failure !== undefined) {
        this.#failHandshake(failure);
        return;
      }
      this.#context.counters.tunnelsTotal += 1;
      const parts = { ...this.#attempt, credential: this.#credential, proof, socket, session };
      const tunnel = new Tunnel(this.#context, parts, this.#watcher);
      this.#context.batch.deliver((events) => events.tunnelUp(tunnel.info));
      this.#done.opened(tunnel);
    });
    widenConnection(session, limits);
  }

  #failHandshake(failure: Failure): void {
    this.#context.counters.handshakesFailedTotal += 1;
    this.#fail(failure);
  }

  #fail({ reason, detail }: Failure): void {
    reportFailure(this.#context, this.#attempt, { reason, detail });
    this.#done.failed({ reason, detail });
  }
}
