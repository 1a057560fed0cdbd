/**
 * A connection accepted on a pod's 15008 on its way to being a tunnel: held until the pod has a certificate, TLS, HTTP/2. What it
 * holds is bounded in number (per pod) and in time (per step), because nobody has proven anything yet.
 */
import { performServerHandshake } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Reason } from "../../model/reason.ts";
import type { EngineContext } from "./context.ts";
import type { UsableCredential } from "./credential.ts";
import { secureServer } from "./handshake.ts";
import { serverSessionOptions, widenConnection } from "./http2-options.ts";
import { resetSocket } from "./leg.ts";
import { type Attempt, awaitSettings, type Failure, reportFailure } from "./opening.ts";
import type { PeerProof } from "./peer-proof.ts";
import type { OpeningTunnel, Pod } from "./pod.ts";
import { peerOf } from "./socket-address.ts";
import { Tunnel, type TunnelWatcher } from "./tunnel.ts";

export class InboundOpening implements OpeningTunnel {
  readonly #context: EngineContext;
  readonly #pod: Pod;
  readonly #raw: Socket;
  readonly #watcher: TunnelWatcher;
  readonly #opened: (tunnel: Tunnel) => void;
  readonly #attempt: Attempt;
  readonly #credential;
  #cancelStep: () => void;

  /** `raw` has an error listener already and is paused. The caller adds the opening to the pod's handshakes. */
  constructor(
    context: EngineContext,
    accepted: { pod: Pod; raw: Socket },
    watcher: TunnelWatcher,
    opened: (tunnel: Tunnel) => void,
  ) {
    const { pod, raw } = accepted;
    this.#context = context;
    this.#pod = pod;
    this.#raw = raw;
    this.#watcher = watcher;
    this.#opened = opened;
    this.#credential = pod.credential;
    this.#attempt = {
      id: context.nextTunnelId(),
      pod,
      group: 0,
      peerAddress: peerOf(raw),
      startedAt: performance.now(),
    };
    const { usable } = this.#credential;
    if (usable === undefined) this.#cancelStep = this.#awaitCertificate();
    else this.#cancelStep = this.#secure(usable);
  }

  abandon(reason: Reason): void {
    this.#cancelStep();
    this.#fail({ reason, detail: "" });
  }

  #awaitCertificate(): () => void {
    const giveUp = this.#credential.whenUsable(this.#context.options.timeouts.credential, (usable) => {
      if (usable !== undefined) {
        this.#cancelStep = this.#secure(usable);
        return;
      }
      resetSocket(this.#raw);
      this.#fail({ reason: "no-certificate", detail: this.#credential.identity });
    });
    return () => {
      giveUp();
      resetSocket(this.#raw);
    };
  }

  #secure(usable: UsableCredential): () => void {
    this.#context.counters.handshakesTotal += 1;
    const options = {
      timeoutMs: this.#context.options.timeouts.tls,
      rules: () => (this.#credential.usable ?? usable).rules,
    };
    return secureServer(this.#raw, usable, options, (result) => {
      if (result.kind === "secured") this.#startHttp2(result.socket, result.proof);
      else this.#failHandshake(result);
    });
  }

  #startHttp2(socket: TLSSocket, proof: PeerProof): void {
    const { limits, timeouts } = this.#context.options;
    const session = performServerHandshake(socket, serverSessionOptions(limits));
    this.#cancelStep = awaitSettings(session, socket, timeouts.http2, (failure) => {
      if (failure !== undefined) {
        this.#failHandshake(failure);
        return;
      }
      this.#pod.handshakes.delete(this);
      this.#context.counters.tunnelsTotal += 1;
      const parts = { ...this.#attempt, credential: this.#credential, proof, socket, session };
      const tunnel = new Tunnel(this.#context, parts, this.#watcher);
      this.#context.batch.deliver((events) => events.tunnelUp(tunnel.info));
      this.#opened(tunnel);
    });
    widenConnection(session, limits);
  }

  #failHandshake(failure: Failure): void {
    this.#context.counters.handshakesFailedTotal += 1;
    this.#fail(failure);
  }

  #fail({ reason, detail }: Failure): void {
    this.#pod.handshakes.delete(this);
    reportFailure(this.#context, this.#attempt, { reason, detail });
  }
}
