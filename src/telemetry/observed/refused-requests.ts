/**
 * Requests that the agent answered in the application's stead, by port and peer. The connection that they came on was let in and counts
 * as such in `ObservedTraffic`; without this table a 403 would be nowhere but in the log. It answers `why` and `edges`, and forgets the
 * least recently refused when it is full.
 */
import type { Identity } from "../../model/identity.ts";
import { type Reason, reasonInfo } from "../../model/reason.ts";
import type { LocalPod, Workload } from "../../model/workload.ts";
import type { RequestRecord } from "../request-record.ts";
import type { ObservedPeer } from "./observed-traffic.ts";
import { SlidingCount } from "./sliding-count.ts";

/** The last one of a row. */
export interface RefusedRequest {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  /** 0 where the connection ended without an answer. */
  readonly status: number;
  readonly reason: Reason;
  readonly policy: string;
  readonly detail: string;
}

export interface RefusedRequestsRow {
  readonly pod: LocalPod;
  /** The pod's own. */
  readonly port: number;
  readonly peer: ObservedPeer;
  /** Of the window that was asked for. */
  readonly requests: number;
  readonly requestsTotal: number;
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly last: RefusedRequest;
}

export interface RefusedRequestsDeps {
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly workloadByAddress: (address: string) => Workload | undefined;
}

export interface RefusedRequestsOptions {
  /** Rows kept in all, and of one port of one pod. */
  readonly rows: number;
  readonly peersPerPort: number;
}

interface Row extends Omit<RefusedRequestsRow, "requests" | "requestsTotal"> {
  readonly portKey: string;
  readonly count: SlidingCount;
}

/** Clients write these, as long as a header section may be. */
const longestText = 256;

export class RefusedRequests {
  readonly #deps: RefusedRequestsDeps;
  readonly #options: RefusedRequestsOptions;
  /** Least recently refused first. */
  readonly #rows = new Map<string, Row>();
  readonly #peersOfPort = new Map<string, number>();

  constructor(deps: RefusedRequestsDeps, options: RefusedRequestsOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  requestEnded(record: RequestRecord, pod: LocalPod | undefined): void {
    if (pod === undefined || reasonInfo(record.reason).status === 200) return;
    const now = this.#deps.now();
    const { key, portKey, peer } = this.#placeOf(record, pod);
    const known = this.#rows.get(key);
    const count = known?.count ?? new SlidingCount();
    count.add(now);
    if (known === undefined) this.#makeRoom(portKey);
    // Deleted and set again: the last to be forgotten from now on.
    this.#rows.delete(key);
    this.#rows.set(key, {
      portKey,
      count,
      pod,
      port: record.flow.destination.port,
      peer,
      firstSeen: known?.firstSeen ?? now,
      lastSeen: now,
      last: lastOf(record),
    });
  }

  /** Rows with a refusal in the window. */
  *rows(window: number): Iterable<RefusedRequestsRow> {
    const now = this.#deps.now();
    for (const { count, portKey: _portKey, ...told } of this.#rows.values()) {
      if (told.lastSeen < now - window) continue;
      yield { ...told, requests: count.within(window, now), requestsTotal: count.total };
    }
  }

  #placeOf({ flow: { peer: identity, source, destination } }: RequestRecord, pod: LocalPod) {
    const workload = this.#workloadOf(source.address, identity);
    const portKey = `${pod.uid} ${destination.port}`;
    const key = `${portKey} ${workload?.uid ?? source.address} ${identity}`;
    const room = (this.#peersOfPort.get(portKey) ?? 0) < this.#options.peersPerPort;
    if (room || this.#rows.has(key)) return { key, portKey, peer: { workload, address: source.address, identity } };
    const others: ObservedPeer = { workload: undefined, address: "", identity: "" };
    // Not counted among the peers of the port, whose places it does not take.
    const shared = `${portKey} others`;
    return { key: shared, portKey: shared, peer: others };
  }

  /** An address that another pod has by now proves nothing about who asked. */
  #workloadOf(address: string, identity: Identity | ""): Workload | undefined {
    const found = this.#deps.workloadByAddress(address);
    return identity === "" || found?.identity === identity ? found : undefined;
  }

  #makeRoom(portKey: string): void {
    const [oldest] = this.#rows;
    if (this.#rows.size >= this.#options.rows && oldest !== undefined) {
      const [key, { portKey: its }] = oldest;
      this.#rows.delete(key);
      const left = (this.#peersOfPort.get(its) ?? 1) - 1;
      if (left === 0) this.#peersOfPort.delete(its);
      else this.#peersOfPort.set(its, left);
    }
    this.#peersOfPort.set(portKey, (this.#peersOfPort.get(portKey) ?? 0) + 1);
  }
}

function lastOf({ method, host, path, status, reason, policy, detail }: RequestRecord): RefusedRequest {
  const short = (text: string) => (text.length > longestText ? `${text.slice(0, longestText)}…` : text);
  return { method: short(method), host: short(host), path: short(path), status, reason, policy, detail: short(detail) };
}
