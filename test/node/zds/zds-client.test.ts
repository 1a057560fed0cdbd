import { closeSync, fstatSync, openSync } from "node:fs";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Packet } from "../../../src/capture/addon.ts";
import { MeshError } from "../../../src/lib/errors.ts";
import { ZdsClient } from "../../../src/node/zds/zds-client.ts";
import {
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from "../../../src/xds/gen/istio/workload/zds_pb.ts";
import { added, snapshotSent } from "../../support/zds.ts";
import { FakeClock, settle } from "../fakes.ts";

type Payload = NonNullable<MessageInitShape<typeof WorkloadRequestSchema>["payload"]>;

interface Link {
  readonly sent: Uint8Array[];
  closed: boolean;
  receive(packet: Packet): void;
  end(why: string): void;
}

let clock: FakeClock;
let links: Link[];
let journal: string[];
let held: Set<string>;
let client: ZdsClient;
/** How a pod's capture goes. */
let capture: (uid: string, signal: AbortSignal) => Promise<void>;
let refuses: boolean;

beforeEach(() => {
  clock = new FakeClock();
  links = [];
  journal = [];
  held = new Set();
  capture = async () => {};
  refuses = false;
  const note = (text: string) => void journal.push(text);
  client = new ZdsClient(
    {
      connect: (receive, end) => {
        if (refuses) throw new MeshError("MESH_SOCKET_FAILED", "nobody listens");
        const link: Link = { sent: [], closed: false, receive, end };
        links.push(link);
        return {
          send: (bytes) => void link.sent.push(bytes),
          close: () => {
            link.closed = true;
          },
        };
      },
      pods: {
        add: async ({ uid, name, namespace, serviceAccount }, descriptor) => {
          closeSync(descriptor);
          held.add(uid);
          note(`add ${uid} ${namespace}/${name} as ${serviceAccount}`);
        },
        delete: (uid) => {
          note(`delete ${uid}`);
          return held.delete(uid);
        },
        has: (uid) => held.has(uid),
        uids: () => [...held],
      },
      enrolment: {
        reconcile: () => note("reconcile"),
        recheck: (uid) => note(`recheck ${uid}`),
        captured: (uid, signal) => capture(uid, signal),
      },
      clock,
      random: () => 0.5,
      log: { debug() {}, info() {}, warn() {} },
    },
    { answerMs: 5000 },
  );
});
afterEach(() => client.stop());

function link(): Link {
  const last = links.at(-1);
  if (last === undefined) throw new Error("not connected");
  return last;
}

function say(payload: Payload, descriptors: readonly number[] = []): void {
  link().receive({ bytes: toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload })), descriptors });
}

const netns = () => openSync("/proc/self/ns/net", "r");
/** Errors of the answers so far; empty ones are good. */
const answers = () =>
  link()
    .sent.slice(1)
    .map((bytes) => fromBinary(WorkloadResponseSchema, bytes).payload.value?.error);

function isOpen(descriptor: number): boolean {
  try {
    fstatSync(descriptor);
    return true;
  } catch {
    return false;
  }
}

describe("a proxy that is handed pods", () => {
  it("greets, takes pods, and knows them all when the snapshot is complete", async () => {
    let started = false;
    void client.start().then(() => (started = true));
    expect(fromBinary(ZdsHelloSchema, link().sent[0] ?? new Uint8Array()).version).toBe(1);
    say(added("uid-a", "a", "shop", "account"), [netns()]);
    await settle();
    expect(journal).toEqual(["add uid-a shop/a as account", "reconcile", "recheck uid-a"]);
    expect(answers()).toEqual([""]);
    expect(started).toBe(false);
    say(snapshotSent);
    await settle();
    expect(answers()).toEqual(["", ""]);
    expect(started).toBe(true);
  });

  it("answers one after the other, also a peer that does not wait", async () => {
    const gate = Promise.withResolvers<void>();
    capture = (uid) => (uid === "uid-a" ? gate.promise : Promise.resolve());
    void client.start();
    say(added("uid-a", "a"), [netns()]);
    say(added("uid-b", "b"), [netns()]);
    await settle();
    expect(answers()).toEqual([]);
    expect(held).toEqual(new Set(["uid-a"]));
    gate.resolve();
    await settle();
    expect(answers()).toEqual(["", ""]);
  });

  it("says why a pod is not served, and that it goes on when that takes too long", async () => {
    capture = (uid, signal) =>
      uid === "uid-a"
        ? Promise.reject(new MeshError("MESH_LISTEN_FAILED", "15001 is taken"))
        : new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    void client.start();
    say(added("uid-a", "a"), [netns()]);
    await settle();
    expect(answers()).toEqual(["15001 is taken"]);
    say(added("uid-b", "b"), [netns()]);
    await clock.advance(5000);
    expect(answers()[1]).toMatch(/goes on being tried/);
    expect(held).toEqual(new Set(["uid-a", "uid-b"]));
  });

  it("lets go of pods that a new snapshot does not name, and keeps those it may keep", async () => {
    void client.start();
    for (const uid of ["uid-a", "uid-b", "uid-c"]) say(added(uid, uid), [netns()]);
    say(snapshotSent);
    await settle();
    link().end("the peer ended the connection");
    await clock.advance(20);
    expect(links).toHaveLength(2);
    say({ case: "keep", value: { uid: "uid-a" } });
    say({ case: "keep", value: { uid: "uid-never" } });
    say(added("uid-b", "uid-b"), [netns()]);
    say(added("uid-c", "uid-c"), [netns()]);
    say({ case: "del", value: { uid: "uid-c" } });
    await settle();
    expect(held.size).toBe(3);
    say(snapshotSent);
    await settle();
    expect(held).toEqual(new Set(["uid-a", "uid-b"]));
    say({ case: "del", value: { uid: "uid-b" } });
    say({ case: "del", value: { uid: "uid-b" } });
    await settle();
    expect(held).toEqual(new Set(["uid-a"]));
    expect(answers()).toEqual(["", "", "", "", "", "", "", ""]);
  });

  it.each<[string, () => { bytes?: Uint8Array; payload?: Payload; descriptors?: number }]>([
    ["a second snapshot", () => ({ payload: snapshotSent })],
    ["a pod without its netns", () => ({ payload: added("uid-x", "x") })],
    ["a pod with two", () => ({ payload: added("uid-x", "x"), descriptors: 2 })],
    ["a descriptor with something else", () => ({ payload: { case: "del", value: { uid: "a" } }, descriptors: 1 })],
    ["a pod to keep after the snapshot", () => ({ payload: { case: "keep", value: { uid: "a" } } })],
    ["bytes that are no message", () => ({ bytes: Buffer.from("ffffff", "hex"), descriptors: 1 })],
    ["a message that asks for nothing", () => ({ bytes: new Uint8Array() })],
    ["a message that is too long", () => ({ payload: added("x".repeat(2000), "x"), descriptors: 1 })],
  ])("ends the connection over %s, with its pods served on, and keeps no descriptor", async (_, of) => {
    void client.start();
    say(added("uid-a", "a"), [netns()]);
    say(snapshotSent);
    await settle();
    const { bytes, payload, descriptors: count = 0 } = of();
    const descriptors = Array.from({ length: count }, netns);
    const encoded = payload && toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload }));
    link().receive({ bytes: bytes ?? encoded ?? new Uint8Array(), descriptors });
    await settle();
    expect(answers().at(-1)).not.toBe("");
    expect(link().closed).toBe(true);
    expect(descriptors.filter(isOpen)).toEqual([]);
    expect(held).toEqual(new Set(["uid-a"]));
    await clock.advance(20);
    expect(links).toHaveLength(2);
  });

  it("ends the connection, and makes it anew, when what came with a message cannot even be closed", async () => {
    void client.start();
    const descriptor = netns();
    closeSync(descriptor);
    link().receive({ bytes: new Uint8Array(), descriptors: [descriptor, descriptor] });
    link().end("gone");
    link().receive({ bytes: new Uint8Array(), descriptors: [descriptor] });
    await settle();
    await clock.advance(20);
    expect(links).toHaveLength(2);
    say(added("uid-a", "a"), [netns()]);
    await settle();
    expect(held).toEqual(new Set(["uid-a"]));
  });

  it("closes what comes over a connection that has ended", async () => {
    void client.start();
    const old = link();
    old.end("gone");
    const descriptor = netns();
    old.receive({ bytes: new Uint8Array(), descriptors: [descriptor] });
    await settle();
    expect(isOpen(descriptor)).toBe(false);
  });

  it("tries again with growing pauses while nobody listens, and stops when told to", async () => {
    refuses = true;
    void client.start();
    await clock.advance(10 + 20 + 40);
    refuses = false;
    expect(links).toHaveLength(0);
    await clock.advance(80);
    expect(links).toHaveLength(1);
    await client.stop();
    await client.stop();
    expect(link().closed).toBe(true);
    await clock.advance(60_000);
    expect(links).toHaveLength(1);
  });
});
