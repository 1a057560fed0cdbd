/** Records of the addon as the events and rows of the contract. Kinds, roles and offsets are those of `core/events.h` and `.cc`. */
import type { SocketAddress } from "../../model/address.ts";
import type { Identity } from "../../model/identity.ts";
import { reasonAt } from "../../model/reason.ts";
import type {
  ConnectArrived,
  FlowArrived,
  FlowClosed,
  FlowId,
  FlowRole,
  FlowRow,
  GroupHandle,
  PodHandle,
  TunnelDown,
  TunnelId,
  TunnelInfo,
} from "../engine.ts";
import type { RecordReader } from "./record-reader.ts";

export const recordKinds = {
  flowArrived: 1,
  connectArrived: 2,
  flowClosed: 3,
  tunnelUp: 4,
  tunnelDown: 5,
  handedOver: 6,
  podGone: 7,
  flowRow: 8,
} as const;

/** In index order. */
export const roles: readonly FlowRole[] = ["outbound", "inbound-plaintext", "inbound-hbone"];

const nowhere: SocketAddress = { address: "", port: 0 };

function roleAt(index: number): FlowRole {
  return roles[index] ?? "outbound";
}

export function readFlowArrived(record: RecordReader): FlowArrived {
  return {
    flow: record.double(8) as FlowId,
    pod: record.double(16) as PodHandle,
    role: record.byte(5) === 0 ? "outbound" : "inbound-plaintext",
    source: record.address(24) ?? nowhere,
    destination: record.address(44) ?? nowhere,
  };
}

export function readConnectArrived(record: RecordReader): ConnectArrived {
  record.startTexts(62);
  return {
    flow: record.double(8) as FlowId,
    pod: record.double(16) as PodHandle,
    tunnel: record.double(24) as TunnelId,
    source: record.address(32) ?? nowhere,
    peer: record.text(52) as Identity,
    authority: record.text(54),
    baggage: record.text(56),
    forwarded: record.text(58),
    traceparent: record.text(60),
  };
}

/** Of open and of closed flows alike. */
export function readFlowRow(record: RecordReader): FlowRow {
  record.startTexts(144);
  const peer = record.text(136) as Identity | "";
  const host = record.text(138);
  return {
    flow: record.double(8) as FlowId,
    pod: record.double(16) as PodHandle,
    role: roleAt(record.byte(5)),
    source: record.address(76) ?? nowhere,
    destination: record.address(96) ?? (host === "" ? nowhere : { address: host, port: record.word(98) }),
    target: record.address(116),
    peer,
    tunnel: record.double(24) as TunnelId | 0,
    label: record.integer(72),
    bytesSent: record.double(32),
    bytesReceived: record.double(40),
    arrivedAt: record.double(48),
  };
}

export function readFlowClosed(record: RecordReader): FlowClosed {
  const row = readFlowRow(record);
  return {
    ...row,
    reason: reasonAt(record.byte(6)),
    detail: record.text(140),
    traceparent: record.text(142),
    connectedMs: record.double(56),
    durationMs: record.double(64),
  };
}

export function readTunnelInfo(record: RecordReader): TunnelInfo {
  record.startTexts(82);
  return {
    tunnel: record.double(8) as TunnelId,
    direction: record.byte(5) === 1 ? "outbound" : "inbound",
    pod: record.double(16) as PodHandle,
    group: record.double(24) as GroupHandle | 0,
    peerAddress: record.address(52) ?? nowhere,
    peer: record.text(72) as Identity | "",
    tls: { version: record.text(74), group: record.text(76), cipher: record.text(78) },
    setupMs: record.double(32),
  };
}

export function readTunnelDown(record: RecordReader): TunnelDown {
  return { ...readTunnelInfo(record), reason: reasonAt(record.byte(6)), detail: record.text(80) };
}

export function readTunnelRow(record: RecordReader): TunnelInfo & { openedAt: number; flows: number } {
  return { ...readTunnelInfo(record), openedAt: record.double(40), flows: record.integer(48) };
}
