/**
 * Reads what a capture caught: classic pcap files of Ethernet frames as tcpdump writes them (pcap-savefile(5)), far enough to tell
 * TCP segments, their ports and their payload. It reads frames by itself on purpose: it is the demo's witness.
 */
import { canonicalIp } from "../../lib/ip.ts";

export interface Segment {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly payload: Buffer;
}

const ethernet = 1;
const ipv4 = 0x0800;
const ipv6 = 0x86dd;
const tcp = 6;

/** All TCP segments with their payload; other packets are passed over. Throws if the bytes are no Ethernet capture. */
export function tcpSegments(pcap: Buffer): Segment[] {
  if (pcap.length < 24) throw new Error("the capture is empty: did tcpdump start?");
  const magic = pcap.readUInt32LE(0);
  if (magic !== 0xa1b2c3d4 && magic !== 0xa1b23c4d) throw new Error("the capture is no little-endian pcap file");
  if (pcap.readUInt32LE(20) !== ethernet) throw new Error("the capture is not of Ethernet frames");
  const segments: Segment[] = [];
  let at = 24;
  while (at + 16 <= pcap.length) {
    const length = pcap.readUInt32LE(at + 8);
    const frame = pcap.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    const segment = segmentOf(frame);
    if (segment !== undefined) segments.push(segment);
  }
  return segments;
}

function segmentOf(frame: Buffer): Segment | undefined {
  if (frame.length < 14 + 20) return undefined;
  const type = frame.readUInt16BE(12);
  const packet = frame.subarray(14);
  if (type === ipv4) {
    const header = ((packet[0] ?? 0) & 15) * 4;
    if (packet[9] !== tcp) return undefined;
    const end = packet.readUInt16BE(2);
    return ports(dotted(packet.subarray(12, 16)), dotted(packet.subarray(16, 20)), packet.subarray(header, end));
  }
  if (type === ipv6 && packet.length >= 40 && packet[6] === tcp) {
    const end = 40 + packet.readUInt16BE(4);
    return ports(colons(packet.subarray(8, 24)), colons(packet.subarray(24, 40)), packet.subarray(40, end));
  }
  return undefined;
}

function ports(source: string, destination: string, segment: Buffer): Segment | undefined {
  if (segment.length < 20) return undefined;
  const header = ((segment[12] ?? 0) >> 4) * 4;
  return {
    source,
    destination,
    sourcePort: segment.readUInt16BE(0),
    destinationPort: segment.readUInt16BE(2),
    payload: segment.subarray(header),
  };
}

function dotted(bytes: Buffer): string {
  return [...bytes].join(".");
}

function colons(bytes: Buffer): string {
  const words: string[] = [];
  for (let at = 0; at < 16; at += 2) words.push(bytes.readUInt16BE(at).toString(16));
  // In the spelling of everybody else, so that a packet's address can be compared with a pod's.
  return canonicalIp(words.join(":")) ?? "";
}

/** What a capture says about a secret that was sent meanwhile. */
export interface WireFacts {
  readonly segments: number;
  readonly payloadBytes: number;
  /** Segments that hold the marker in clear. */
  readonly inClear: number;
  /** Destination or source port below the ephemeral range → payload bytes. */
  readonly bytesByPort: ReadonlyMap<number, number>;
}

export function wireFacts(segments: readonly Segment[], marker: string): WireFacts {
  const bytesByPort = new Map<number, number>();
  let payloadBytes = 0;
  let inClear = 0;
  for (const segment of segments) {
    payloadBytes += segment.payload.length;
    if (segment.payload.includes(marker)) inClear += 1;
    const port = Math.min(segment.sourcePort, segment.destinationPort);
    bytesByPort.set(port, (bytesByPort.get(port) ?? 0) + segment.payload.length);
  }
  return { segments: segments.length, payloadBytes, inClear, bytesByPort };
}
