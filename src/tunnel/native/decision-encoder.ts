/**
 * Decisions on their way to the workers: one record each, written behind one another into a buffer that is reused, handed over in
 * one call. `native/engine/core/decision.cc` reads them.
 *
 *   u32 size | u8 kind | u8 0x80 + fields | u8 reason | u8 deliver | f64 flow | f64 epoch | u32 label | u16 targets |
 *   u16 baggage | u16 host | f64 from | address[20] source | baggage | host | targets
 *   carry target: f64 group | f64 weight | u16 length | authority      dial target: f64 weight | address[20]
 */
import { ipBytes } from "../../lib/ip.ts";
import type { SocketAddress } from "../../model/address.ts";
import { reasonInfo } from "../../model/reason.ts";
import type { Decision, FlowId, RememberField } from "../engine.ts";

const kinds = { carry: 1, dial: 2, "hand-over": 3, refuse: 4 } as const;

const fieldBits: Readonly<Record<RememberField, number>> = {
  destination: 1,
  "destination-port": 2,
  "source-address": 4,
  "peer-identity": 8,
  authority: 16,
};
const remembered = 0x80;

export const addressSize = 20;
const fixedSize = 62;
const carryTargetSize = 18;
const dialTargetSize = 8 + addressSize;
/** What a u16 length can say. Longer baggage is dropped (it is telemetry), longer authorities cannot be. */
const longestText = 0xffff;

export class DecisionEncoder {
  #bytes = Buffer.allocUnsafe(16 * 1024);
  #at = 0;

  get empty(): boolean {
    return this.#at === 0;
  }

  /** The records so far; valid until the next `add`. */
  take(): { readonly bytes: Buffer; readonly length: number } {
    const length = this.#at;
    this.#at = 0;
    return { bytes: this.#bytes, length };
  }

  add(flow: FlowId, decision: Decision): void {
    const baggage = "baggage" in decision && decision.baggage.length <= longestText ? decision.baggage : "";
    const host = decision.kind === "carry" ? decision.forwardedHost : "";
    this.#reserve(fixedSize + baggage.length + host.length + targetsSize(decision));
    const start = this.#at;
    try {
      this.#fixed(flow, decision, baggage.length, host.length);
      this.#text(baggage);
      this.#text(host);
      this.#targets(decision);
    } catch (error) {
      // Half a record would spoil those behind it.
      this.#at = start;
      throw error;
    }
    this.#bytes.writeUInt32LE(this.#at - start, start);
  }

  #fixed(flow: FlowId, decision: Decision, baggage: number, host: number): void {
    const bytes = this.#bytes;
    const at = this.#at;
    const { remember } = decision;
    let fields = 0;
    if (remember !== undefined) {
      fields = remembered;
      for (const field of remember.fields) fields |= fieldBits[field];
    }
    bytes[at + 4] = kinds[decision.kind];
    bytes[at + 5] = fields;
    bytes[at + 6] = decision.kind === "refuse" ? reasonInfo(decision.reason).index : 0;
    bytes[at + 7] = decision.kind === "dial" && decision.purpose === "deliver" ? 1 : 0;
    bytes.writeDoubleLE(flow, at + 8);
    bytes.writeDoubleLE(remember?.epoch ?? 0, at + 16);
    bytes.writeUInt32LE(decision.label, at + 24);
    bytes.writeUInt16LE("targets" in decision ? decision.targets.length : 0, at + 28);
    bytes.writeUInt16LE(baggage, at + 30);
    bytes.writeUInt16LE(host, at + 32);
    bytes.writeDoubleLE(decision.kind === "dial" ? decision.from : 0, at + 34);
    this.#at = at + 42;
    const source = decision.kind === "dial" ? decision.sourceAddress : undefined;
    if (source === undefined) this.#noAddress();
    else this.#address({ address: source, port: 0 });
  }

  #targets(decision: Decision): void {
    if (decision.kind === "carry") {
      for (const { group, weight, authority } of decision.targets) {
        this.#double(group);
        this.#double(weight);
        this.#bytes.writeUInt16LE(authority.length, this.#at);
        this.#at += 2;
        this.#text(authority);
      }
    } else if (decision.kind === "dial") {
      for (const { weight, destination } of decision.targets) {
        this.#double(weight);
        this.#address(destination);
      }
    }
  }

  #double(value: number): void {
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  #text(text: string): void {
    this.#at += this.#bytes.write(text, this.#at, "latin1");
  }

  #noAddress(): void {
    this.#bytes.fill(0, this.#at, this.#at + addressSize);
    this.#at += addressSize;
  }

  #address({ address, port }: SocketAddress): void {
    const at = this.#at;
    this.#noAddress();
    const ip = ipBytes(address);
    if (ip === undefined) throw new TypeError(`"${address}" is not an IP address`);
    this.#bytes[at] = ip.length === 4 ? 4 : 6;
    this.#bytes.writeUInt16LE(port, at + 2);
    this.#bytes.set(ip, at + 4);
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + size));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

function targetsSize(decision: Decision): number {
  if (decision.kind === "dial") return decision.targets.length * dialTargetSize;
  if (decision.kind !== "carry") return 0;
  return decision.targets.reduce((size, { authority }) => size + carryTargetSize + authority.length, 0);
}
