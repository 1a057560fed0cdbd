/** A captured connection, accepted on 15001 or 15006; nothing is read from it until a decision is carried out. */
import type { Socket } from "node:net";
import type { Reason } from "../../model/reason.ts";
import type { Arrival } from "./flow.ts";
import type { SocketLeg } from "./leg.ts";

export class SocketArrival implements Arrival {
  readonly leg: SocketLeg;
  readonly tunnel = undefined;

  constructor(leg: SocketLeg) {
    this.leg = leg;
  }

  get socket(): Socket {
    return this.leg.duplex;
  }

  /** The application's connect(2) succeeded long ago; reading begins with the relay. */
  accept(): void {}

  refuse(_reason: Reason): void {
    this.leg.reset();
  }
}
