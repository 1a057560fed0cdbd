/**
 * What this agent has seen of its pods' traffic, by port and peer: how many connections came with mutual TLS and how many in clear, from
 * whom, since when. It answers `tls-check`, `plaintext`, `edges` and `top`, hears of each flow once at its end and of open ones when
 * somebody asks, and forgets the least recently seen when it is full: what was forgotten is counted, so that a report can say so.
 * Nothing survives a restart of the agent; `since` tells from when it has watched.
 */
import type { FlowLabel } from "../../model/flow-label.ts";
import type { Identity } from "../../model/identity.ts";
import { type Reason, reasonInfo } from "../../model/reason.ts";
import type { Service } from "../../model/service.ts";
import type { LocalPod, Workload } from "../../model/workload.ts";
import { type FlowProgress, type FlowRecord, securityOf } from "../flow-record.ts";
import { SlidingCount } from "./sliding-count.ts";

export type ObservedDirection = "inbound" | "outbound";
export type ObservedSecurity = ReturnType<typeof securityOf>;

/** The other end of the connections of a row. */
export interface ObservedPeer {
  /** As it was last judged; undefined for what is no pod of the mesh. */
  readonly workload: Workload | undefined;
  /** Empty for the row that stands for all further peers of a port. */
  readonly address: string;
  /** Proven by its certificate, empty when nothing was. */
  readonly identity: Identity | "";
}

export interface ObservedRow {
  readonly pod: LocalPod;
  readonly direction: ObservedDirection;
  /** The port that was asked for: the pod's own when inbound. */
  readonly port: number;
  readonly security: ObservedSecurity;
  readonly peer: ObservedPeer;
  readonly service: Service | undefined;
  /** Of the window that was asked for, open ones included. */
  readonly connections: number;
  readonly refused: number;
  /** Open now. */
  readonly open: number;
  /** Since `firstSeen`, from client to server and back. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly connectionsTotal: number;
  readonly refusedTotal: number;
  readonly firstSeen: number;
  readonly lastSeen: number;
  /** Why the last refusal, and by whose policy; undefined without one. */
  readonly lastRefusal: { readonly reason: Reason; readonly policy: string; readonly detail: string } | undefined;
}

export interface ObservedOptions {
  /** Rows kept in all, and of one port of one pod in one direction. */
  readonly rows: number;
  readonly peersPerPort: number;
}

export interface ObservedDeps {
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** A flow that is open, with what it was judged to be. */
export interface ObservedFlow extends FlowProgress {
  readonly judged: FlowLabel;
  readonly localPod: LocalPod | undefined;
  readonly arrivedAt: number;
}

interface Row {
  readonly key: string;
  readonly portKey: string;
  pod: LocalPod;
  readonly direction: ObservedDirection;
  readonly port: number;
  readonly security: ObservedSecurity;
  peer: ObservedPeer;
  service: Service | undefined;
  readonly accepted: SlidingCount;
  /** Made with the first refusal: most rows never see one. */
  refused: SlidingCount | undefined;
  open: number;
  bytesSent: number;
  bytesReceived: number;
  firstSeen: number;
  lastSeen: number;
  lastRefusal: ObservedRow["lastRefusal"];
  /** False once it was forgotten. */
  kept: boolean;
  touchedAt: number;
}

/** Rows are put in order of use at most this often. */
const touchEveryMs = 1000;

/** What of a flow has been counted while it was open. */
interface Counted {
  readonly row: Row;
  readonly sent: number;
  readonly received: number;
}

export class ObservedTraffic {
  /** Unix time in milliseconds from which on nothing was missed. */
  readonly since: number;
  readonly #deps: ObservedDeps;
  readonly #options: ObservedOptions;
  /** Least recently seen first. */
  readonly #rows = new Map<string, Row>();
  readonly #peersOfPort = new Map<string, number>();
  #open = new Map<number, Counted>();
  #evicted = 0;
  #merged = 0;

  constructor(deps: ObservedDeps, options: ObservedOptions) {
    this.#deps = deps;
    this.#options = options;
    this.since = deps.now();
  }

  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    const before = this.#open.get(record.flow);
    this.#open.delete(record.flow);
    if (pod === undefined) return;
    const at = this.#deps.now();
    const row = before?.row ?? this.#find(record, label, pod);
    row.lastSeen = at;
    if (before !== undefined) row.open -= 1;
    const refused = record.target === undefined && reasonInfo(record.reason).status !== 200;
    if (refused) {
      row.refused ??= new SlidingCount();
      row.refused.add(at);
    } else if (before === undefined) {
      row.accepted.add(record.arrivedAt);
    }
    if (reasonInfo(record.reason).status !== 200) {
      row.lastRefusal = { reason: record.reason, policy: label.policy, detail: record.detail };
    }
    row.firstSeen = Math.min(row.firstSeen, record.arrivedAt);
    row.bytesSent += record.bytesSent - (before?.sent ?? 0);
    row.bytesReceived += record.bytesReceived - (before?.received ?? 0);
  }

  /** Counts what is open now; called with all open flows before rows are read. */
  countOpen(flows: Iterable<ObservedFlow>): void {
    const at = this.#deps.now();
    const still = new Map<number, Counted>();
    for (const { row } of this.#open.values()) row.open = 0;
    for (const flow of flows) {
      // A flow that has gone nowhere yet may still become a refusal.
      if (flow.target === undefined || flow.localPod === undefined) continue;
      const before = this.#open.get(flow.flow);
      const row = before?.row ?? this.#find(flow, flow.judged, flow.localPod);
      this.#touch(row);
      if (before === undefined) {
        row.accepted.add(flow.arrivedAt);
        row.firstSeen = Math.min(row.firstSeen, flow.arrivedAt);
      }
      row.open += 1;
      row.lastSeen = at;
      row.bytesSent += flow.bytesSent - (before?.sent ?? 0);
      row.bytesReceived += flow.bytesReceived - (before?.received ?? 0);
      still.set(flow.flow, { row, sent: flow.bytesSent, received: flow.bytesReceived });
    }
    this.#open = still;
  }

  /** Rows with anything in the window. */
  *rows(window: number): Iterable<ObservedRow> {
    const now = this.#deps.now();
    for (const row of this.#rows.values()) {
      if (row.open === 0 && row.lastSeen < now - window) continue;
      const { accepted, refused, key: _key, portKey: _portKey, kept: _kept, touchedAt: _touchedAt, ...told } = row;
      yield {
        ...told,
        // A connection that is open is there now, however long ago it came.
        connections: Math.max(accepted.within(window, now), row.open),
        refused: refused?.within(window, now) ?? 0,
        connectionsTotal: accepted.total,
        refusedTotal: refused?.total ?? 0,
      };
    }
  }

  /** `mergedTotal` counts connections that were told under a shared row, `evictedTotal` rows that were forgotten. */
  stats(): Readonly<Record<"rows" | "evictedTotal" | "mergedTotal", number>> {
    return { rows: this.#rows.size, evictedTotal: this.#evicted, mergedTotal: this.#merged };
  }

  #find(flow: FlowProgress, label: FlowLabel, pod: LocalPod): Row {
    const outbound = flow.role === "outbound";
    const workload = outbound ? label.destination : label.source;
    const { address } = outbound ? (flow.target ?? flow.destination) : flow.source;
    const security = securityOf(flow, label);
    const { port } = flow.destination;
    // A pod keeps its row whatever address of it was seen; who has none is known by identity and address.
    const who = workload?.uid ?? `${flow.peer} ${address}`;
    const key = `${outbound ? ">" : "<"}${port} ${security} ${pod.uid} ${who}`;
    const known = this.#rows.get(key);
    if (known !== undefined) {
      this.#touch(known);
      known.pod = pod;
      known.service = label.service ?? known.service;
      const { peer } = known;
      if (peer.workload !== workload || peer.address !== address || peer.identity !== flow.peer) {
        known.peer = { workload, address, identity: flow.peer };
      }
      return known;
    }
    const direction = outbound ? "outbound" : "inbound";
    const portKey = `${pod.uid} ${direction} ${port}`;
    const fixed = { portKey, pod, direction, port, security, service: label.service } as const;
    if ((this.#peersOfPort.get(portKey) ?? 0) < this.#options.peersPerPort) {
      return this.#create({ ...fixed, key, peer: { workload, address, identity: flow.peer } });
    }
    this.#merged++;
    const sharedKey = `${portKey} ${security} others`;
    const others: ObservedPeer = { workload: undefined, address: "", identity: "" };
    return this.#rows.get(sharedKey) ?? this.#create({ ...fixed, key: sharedKey, peer: others });
  }

  #create(fixed: Pick<Row, "key" | "portKey" | "pod" | "direction" | "port" | "security" | "peer" | "service">): Row {
    if (this.#rows.size >= this.#options.rows) this.#evict();
    const now = this.#deps.now();
    const row: Row = {
      ...fixed,
      accepted: new SlidingCount(),
      refused: undefined,
      open: 0,
      bytesSent: 0,
      bytesReceived: 0,
      firstSeen: now,
      lastSeen: now,
      lastRefusal: undefined,
      kept: true,
      touchedAt: now,
    };
    this.#keep(row);
    return row;
  }

  #keep(row: Row): void {
    row.kept = true;
    this.#rows.set(row.key, row);
    this.#peersOfPort.set(row.portKey, (this.#peersOfPort.get(row.portKey) ?? 0) + 1);
  }

  /** The last to be forgotten, from now on. One that was forgotten while its connections were open is remembered again. */
  #touch(row: Row): void {
    const now = this.#deps.now();
    // Order by the second is good enough, and much cheaper for ports that are busy.
    if (row.kept && now - row.touchedAt < touchEveryMs) return;
    row.touchedAt = now;
    if (row.kept) {
      this.#rows.delete(row.key);
      this.#rows.set(row.key, row);
      return;
    }
    if (this.#rows.has(row.key)) return;
    if (this.#rows.size >= this.#options.rows) this.#evict();
    this.#keep(row);
  }

  /** The row that nothing was heard of for longest. */
  #evict(): void {
    const [oldest] = this.#rows.values();
    if (oldest === undefined) return;
    oldest.kept = false;
    this.#rows.delete(oldest.key);
    const left = (this.#peersOfPort.get(oldest.portKey) ?? 1) - 1;
    if (left === 0) this.#peersOfPort.delete(oldest.portKey);
    else this.#peersOfPort.set(oldest.portKey, left);
    this.#evicted++;
  }
}
