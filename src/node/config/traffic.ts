/** What is carried: how long things may take, how much there may be of them, and the TLS of the tunnels. */
import { z } from "zod";
import { byteSize, duration } from "../../lib/config-schema.ts";
import type { EngineLimits } from "../../tunnel/engine.ts";

export const drain = z
  .strictObject({
    deadline: duration({ max: "1h" })
      .prefault("25s")
      .describe(
        "After SIGTERM open connections may end for this long, then they are cut. 5 s less than Kubernetes' 30 s grace period.",
      ),
  })
  .describe("Stopping.");

export const timeouts = z
  .strictObject({
    unknownSource: duration()
      .prefault("5s")
      .describe(
        "A connection of a captured pod that the mesh does not know yet is held this long: state may be on its way.",
      ),
    decision: duration({ min: "100ms" })
      .prefault("10s")
      .describe(
        "A connection without a decision is refused after this; above timeouts.unknownSource so that that one speaks first.",
      ),
    credential: duration()
      .prefault("10s")
      .describe("A handshake waits this long for the workload's first certificate."),
    connect: duration({ min: "100ms" })
      .prefault("10s")
      .describe("TCP connect to a peer or an application; what ztunnel and most clients use."),
    tls: duration({ min: "100ms" })
      .prefault("10s")
      .describe("TLS handshake; a healthy one takes milliseconds, so this only bounds what a silent peer can hold."),
    http2: duration({ min: "100ms" }).prefault("10s").describe("HTTP/2 settings exchange after TLS."),
    connectAnswer: duration({ min: "100ms" })
      .prefault("15s")
      .describe("Answer to CONNECT; above timeouts.connect, because the peer answers after its own connect."),
    idle: duration()
      .prefault("0")
      .describe(
        "A connection on which nothing moves is closed after this; 0 is never, because databases hold idle connections for days.",
      ),
    halfClosed: duration()
      .prefault("1h")
      .describe(
        "A connection that one side ended and on which nothing moves is closed after this; 0 is never. Without it such pairs pile up.",
      ),
    pingInterval: duration({ min: "1s" })
      .prefault("10s")
      .describe("HTTP/2 PING on tunnels after this long without one."),
    pingTimeout: duration({ min: "1s" })
      .prefault("20s")
      .describe("A tunnel whose PING stays unanswered is given up after this."),
    tunnelIdle: duration({ min: "1s" })
      .prefault("5m")
      .describe("A tunnel without connections is closed after this; a handshake costs more than an idle tunnel."),
    peerBackoff: duration({ min: "10ms" })
      .prefault("250ms")
      .describe(
        "A peer that failed is answered from memory for this long, doubling: its callers fail at once instead of queueing.",
      ),
    peerBackoffMax: duration({ min: "10ms" })
      .prefault("5s")
      .describe("Longest such pause: a peer that is back is used within it."),
  })
  .describe("How long things may take. 0 turns idle and halfClosed off.");

export const http = z
  .strictObject({
    headerTimeout: duration({ min: "100ms" })
      .prefault("60s")
      .describe("From the first byte of a connection or request to the end of its header section."),
    idleTimeout: duration({ min: "1s" })
      .prefault("1h")
      .describe("A connection between requests is closed after this; Envoy's default, above most clients' own."),
    lingerTimeout: duration({ min: "10ms" })
      .prefault("1s")
      .describe(
        "A refused client's bytes are taken this long before the connection ends, so that it reads the answer.",
      ),
    lingerBytes: byteSize({ min: "1KiB", max: "16MiB" })
      .prefault("64KiB")
      .describe("And this many of them: a larger refused body ends the connection."),
    maxHeaderSize: byteSize({ min: "8KiB", max: "1MiB" })
      .prefault("60KiB")
      .describe("Header section of a request or an answer; larger ones are refused with 431. Envoy's default."),
    maxConcurrentRequests: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(100)
      .describe("Requests of one connection that wait for answers: pipelined ones, or streams of HTTP/2."),
  })
  .describe("Connections whose requests are judged one by one, because a policy has HTTP rules for their port.");

export const limits = z
  .strictObject({
    flows: z.int().min(1).max(10_000_000).prefault(100_000).describe("Open connections of this node."),
    flowsPerPod: z
      .int()
      .min(1)
      .max(10_000_000)
      .prefault(20_000)
      .describe("Open connections of one pod, so that one cannot starve its neighbours."),
    flowsPerTunnel: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(100)
      .describe(
        "Connections in one tunnel; peers that advertise fewer are obeyed. 100 is what peers are known to grant.",
      ),
    streamsPerInboundTunnel: z
      .int()
      .min(100)
      .max(10_000)
      .prefault(200)
      .describe("MAX_CONCURRENT_STREAMS offered to peers; ztunnel offers the same and limits itself to 100."),
    tunnelsPerGroup: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(200)
      .describe(
        "Tunnels from one pod to one peer: with flowsPerTunnel all of a pod's connections may have one destination.",
      ),
    inboundTunnelsPerPod: z
      .int()
      .min(1)
      .max(100_000)
      .prefault(4096)
      .describe("Tunnels into one pod, handshaking ones included: bounds what strangers on 15008 can hold."),
    outboundTunnelsPerPod: z
      .int()
      .min(2)
      .max(100_000)
      .prefault(4096)
      .describe(
        "Tunnels from one pod to all its peers. From half of it on none is kept idle, so that a pod that goes through all others does not hold one to each.",
      ),
    streamWindow: byteSize({ min: "64KiB", max: "16MiB" })
      .prefault("4MiB")
      .describe(
        "HTTP/2 window of one connection: 160 Mbit/s at a round trip of 100 ms. It is credit; memory only for readers that stand still.",
      ),
    connectionWindow: byteSize({ min: "64KiB", max: "256MiB" })
      .prefault("16MiB")
      .describe(
        "HTTP/2 window of one tunnel; many times streamWindow, so that one slow reader cannot stop the others.",
      ),
    frameSize: byteSize({ min: "16KiB", max: "16383KiB" })
      .prefault("128KiB")
      .describe(
        "Largest HTTP/2 frame taken; larger ones only lengthen the wait of the other connections in the tunnel.",
      ),
    headerListSize: byteSize({ min: "4KiB", max: "1MiB" })
      .prefault("64KiB")
      .describe("Largest header list taken from a peer."),
    bufferPerFlow: byteSize({ min: "16KiB", max: "16MiB" })
      .prefault("256KiB")
      .describe(
        "Bytes buffered for one connection, both directions: 128 KiB each way, where measured throughput stops growing.",
      ),
    memoryPerTunnel: byteSize({ min: "2MiB" })
      .optional()
      .describe(
        "Bytes buffered for the connections of one tunnel; above it those that hold most end. Half of limits.memoryPerPod unless given.",
      ),
    memoryPerPod: byteSize({ min: "4MiB" })
      .optional()
      .describe(
        "Bytes buffered for the connections of one pod; above it those that hold most end, and new ones of that pod are refused. A quarter of limits.memory unless given.",
      ),
    memory: byteSize({ min: "16MiB" })
      .prefault("512MiB")
      .describe(
        "Bytes buffered for all connections; above it those of the pod that holds most end, and new ones are refused. From half of this limit on, or of a pod's or tunnel's, peers are granted smaller windows.",
      ),
  })
  .describe("How much there may be of things.");

/** What the engine is given: a pod's part of the memory, and a tunnel's, follow the process's unless they are named. */
export function engineLimits({
  memoryPerPod,
  memoryPerTunnel,
  ...others
}: z.output<typeof limits>): Omit<EngineLimits, "descriptors"> {
  const perPod = memoryPerPod ?? Math.floor(others.memory / 4);
  return { ...others, memoryPerPod: perPod, memoryPerTunnel: memoryPerTunnel ?? Math.floor(perPod / 2) };
}

export const tls = z
  .strictObject({
    groups: z
      .string()
      .min(1)
      .prefault("X25519MLKEM768:X25519:P-256")
      .describe(
        "Key exchange groups in order of preference: a hybrid that also withstands quantum computers, then what peers without it have.",
      ),
    ciphers: z
      .string()
      .min(1)
      .prefault("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
      .describe("TLS 1.3 cipher suites in order of preference; the two that ztunnel and FIPS providers share."),
    resumption: z
      .boolean()
      .prefault(false)
      .describe("Resume sessions of outbound tunnels. Off: a resumed session does not show a certificate again."),
    fips: z
      .enum(["report", "required"])
      .prefault("report")
      .describe("required refuses to start unless OpenSSL runs its FIPS provider; report only says so in the log."),
  })
  .describe("TLS of the tunnels: 1.3 only, always mutual.");
