import { describe, expect, test } from "vitest";
import { type Segment, tcpSegments, wireFacts } from "../../../src/lab/demo/packets.ts";

/** A pcap file (little-endian, Ethernet) of the frames. */
function pcapOf(frames: readonly Buffer[], linkType = 1): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt32LE(linkType, 20);
  const records = frames.map((frame) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([header, ...records]);
}

function ethernet(type: number, packet: Buffer): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, packet]);
}

function tcp(source: number, destination: number, payload: string): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  header[12] = (24 / 4) << 4;
  return Buffer.concat([header, Buffer.from(payload)]);
}

function overIpv4(segment: Buffer, protocol = 6): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + segment.length, 2);
  header[9] = protocol;
  header.set([10, 244, 1, 2], 12);
  header.set([10, 244, 2, 3], 16);
  return ethernet(0x0800, Buffer.concat([header, segment]));
}

function overIpv6(segment: Buffer): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(segment.length, 4);
  header[6] = 6;
  header.set([0xfd, 0, 0, 1], 8);
  header.set([0xfd, 0, 0, 2], 24);
  return ethernet(0x86dd, Buffer.concat([header, segment]));
}

describe("tcpSegments", () => {
  test("finds ports and payload behind options, in IPv4 and IPv6", () => {
    const segments = tcpSegments(pcapOf([overIpv4(tcp(40000, 8080, "four")), overIpv6(tcp(8080, 40000, "six"))]));
    expect(segments.map((one) => [one.source, one.sourcePort, one.destinationPort, one.payload.toString()])).toEqual([
      ["10.244.1.2", 40000, 8080, "four"],
      ["fd00:1::", 8080, 40000, "six"],
    ]);
  });

  test("does not take Ethernet padding for payload", () => {
    const padded = Buffer.concat([overIpv4(tcp(1, 2, "x")), Buffer.from("padding")]);
    expect(tcpSegments(pcapOf([padded]))[0]?.payload.toString()).toBe("x");
  });

  test("passes over what is not TCP, and a record cut off at the end", () => {
    const whole = pcapOf([overIpv4(tcp(1, 2, "x"), 17), overIpv4(tcp(1, 2, "y"))]);
    expect(tcpSegments(whole)).toHaveLength(1);
    expect(tcpSegments(Buffer.concat([whole, Buffer.alloc(7)]))).toHaveLength(1);
  });

  test("refuses an empty file and other link types, because absence would prove nothing", () => {
    expect(() => tcpSegments(Buffer.alloc(0))).toThrow("empty");
    expect(() => tcpSegments(pcapOf([], 113))).toThrow("Ethernet");
  });
});

test("wireFacts counts marker sightings and payload by service port", () => {
  const segment = (sourcePort: number, destinationPort: number, payload: string): Segment => ({
    source: "a",
    sourcePort,
    destination: "b",
    destinationPort,
    payload: Buffer.from(payload),
  });
  const facts = wireFacts([segment(40000, 15008, "sealed"), segment(8080, 40001, "a secret here")], "secret");
  expect(facts).toEqual({
    segments: 2,
    payloadBytes: 19,
    inClear: 1,
    bytesByPort: new Map([
      [15008, 6],
      [8080, 13],
    ]),
  });
});
