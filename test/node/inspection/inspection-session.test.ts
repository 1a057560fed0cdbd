import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { MeshError } from "../../../src/lib/errors.ts";
import {
  type AnswerKind,
  type Answers,
  firstWindow,
  InspectionSession,
  mostAsks,
} from "../../../src/node/inspection/inspection-session.ts";
import { type AgentMessage, ControlMessageSchema } from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";

const pod: AnswerKind = { case: "pods", value: { pods: [] } };

function* endless(count: { made: number }): Iterable<AnswerKind> {
  for (;;) {
    count.made++;
    yield pod;
  }
}

function session(answers: Answers, room: () => Promise<void> = async () => {}) {
  const sent: AgentMessage[] = [];
  const failures: unknown[] = [];
  const made = new InspectionSession({
    answers,
    send: (message) => {
      sent.push(message);
      return room();
    },
    failed: (error) => void failures.push(error),
  });
  const ask = (number: number, kind: "listPods" | "listTunnels" | "cancel" | "more", messages = 0) =>
    made.receive(
      create(ControlMessageSchema, { ask: BigInt(number), kind: { case: kind, value: { messages } } as never }),
    );
  const words = () =>
    sent.map(
      ({ ask: number, kind }) =>
        `${number} ${kind.case === "end" ? `end${kind.value.errorCode && ` ${kind.value.errorCode}`}` : kind.case}`,
    );
  return { made, ask, words, sent, failures };
}

const settled = () => new Promise(setImmediate);

describe("answers on one stream", () => {
  test("run side by side, each to its end", async () => {
    const gate = Promise.withResolvers<void>();
    const { ask, words, made } = session({
      listPods: async function* () {
        await gate.promise;
        yield pod;
      },
      listTunnels: () => [],
    });
    ask(1, "listPods");
    ask(2, "listTunnels");
    await settled();
    expect(words()).toEqual(["2 end"]);
    gate.resolve();
    await settled();
    expect(words()).toEqual(["2 end", "1 pods", "1 end"]);
    expect(made.running).toBe(0);
  });

  test("stop at what control allowed, go on with more, and make nothing that is not read", async () => {
    const count = { made: 0 };
    const { ask, sent } = session({ listPods: () => endless(count) });
    ask(1, "listPods");
    await settled();
    expect(sent).toHaveLength(firstWindow);
    expect(count.made).toBe(firstWindow + 1);
    ask(1, "more", 3);
    await settled();
    expect(sent).toHaveLength(firstWindow + 3);
  });

  test("wait while the wire has no room", async () => {
    const room = Promise.withResolvers<void>();
    const { ask, sent } = session({ listPods: () => [pod, pod, pod] }, () => room.promise);
    ask(1, "listPods");
    await settled();
    expect(sent).toHaveLength(1);
    room.resolve();
    await settled();
    expect(sent).toHaveLength(4);
  });

  test("end when they are cancelled, and their makers are told to clean up", async () => {
    let cleaned = false;
    const { ask, words, made } = session({
      listPods: async function* (_ask, signal) {
        try {
          yield pod;
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        } finally {
          cleaned = true;
        }
      },
    });
    ask(1, "listPods");
    await settled();
    ask(1, "cancel");
    await settled();
    expect({ words: words(), cleaned, running: made.running }).toEqual({
      words: ["1 pods", "1 end"],
      cleaned: true,
      running: 0,
    });
  });

  test("that fail end with a code, and leave the others alone", async () => {
    const { ask, words } = session({
      listPods: () => {
        throw new MeshError("MESH_TEST", "no pods today");
      },
      listTunnels: () => [{ case: "tunnels", value: {} }],
    });
    ask(1, "listPods");
    ask(2, "listTunnels");
    await settled();
    expect(words().sort()).toEqual(["1 end MESH_TEST", "2 end", "2 tunnels"]);
  });

  test("that cannot even be ended are told of, whatever stage they were in", async () => {
    const broken = new Error("the wire takes nothing");
    const { ask, failures, made } = session({ listPods: () => [pod] }, () => Promise.reject(broken));
    ask(1, "listPods");
    ask(2, "listTunnels");
    await settled();
    expect(failures).toEqual([broken, broken]);
    expect(made.running).toBe(0);
  });

  test("to unknown asks, to numbers in use and to too many at once are refusals", async () => {
    const { ask, words } = session({ listPods: () => endless({ made: 0 }) }, () => new Promise(() => {}));
    ask(1, "listTunnels");
    ask(2, "listPods");
    ask(2, "listPods");
    for (let number = 3; number < mostAsks + 3; number++) ask(number, "listPods");
    await settled();
    const ends = words().filter((word) => word.includes("end"));
    expect(ends).toEqual([
      "1 end MESH_INSPECT_UNKNOWN",
      "2 end MESH_INSPECT_NUMBER",
      `${mostAsks + 2} end MESH_INSPECT_BUSY`,
    ]);
  });

  test("are given up when the stream ends, without a word", async () => {
    const { ask, words, made } = session({ listPods: () => endless({ made: 0 }) });
    ask(1, "listPods");
    await settled();
    made.close();
    made.close();
    await settled();
    expect(made.running).toBe(0);
    expect(words().filter((word) => word.includes("end"))).toEqual([]);
    ask(2, "listPods");
    await settled();
    expect(words().filter((word) => word.startsWith("2"))).toEqual([]);
  });
});
