import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { AgentRegistry } from "../../../src/control/inspection/agent-registry.ts";
import { AgentStream } from "../../../src/control/inspection/agent-stream.ts";
import { FanOut, type FanOutAnswer, type FanOutRequest } from "../../../src/control/inspection/fan-out.ts";
import type { MeshView } from "../../../src/model/mesh.ts";
import { AgentMessageSchema, type ControlMessage } from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { Failure_Kind } from "../../../src/xds/gen/warren/operator/v1/operator_pb.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const request: FanOutRequest = {
  ask: { case: "listPods", value: {} } as unknown as ControlMessage["kind"],
  nodes: [],
  timeoutMs: 1000,
  follow: false,
};

/** `pods` live on nodes that need an agent. */
function mesh(...pods: string[]) {
  const clock = new FakeClock();
  const workloads = () => pods.map((node) => ({ node, tunnel: "hbone" }));
  const agents = new AgentRegistry({ clock, view: () => ({ workloads }) as unknown as MeshView });
  const join = (node: string) => {
    const asks: ControlMessage[] = [];
    const stream = new AgentStream(
      { send: (message) => void asks.push(message) },
      { node, peer: "", connectedAt: clock.now() },
    );
    stream.receive(create(AgentMessageSchema, { kind: { case: "hello", value: {} } }));
    agents.add(stream);
    const say = (kind: "pods" | "end") =>
      stream.receive(
        create(AgentMessageSchema, {
          ask: asks.findLast((message) => message.kind.case === "listPods")?.ask ?? 0n,
          kind: kind === "pods" ? { case: "pods", value: { pods: [{ name: node }] } } : { case: "end", value: {} },
        }),
      );
    const leave = () => {
      stream.close();
      agents.remove(stream);
    };
    return { asks, say, leave, stream };
  };
  return { clock, agents, join, fanOut: new FanOut({ agents, clock }) };
}

const failures = {
  [Failure_Kind.UNSPECIFIED]: "otherwise",
  [Failure_Kind.NOT_CONNECTED]: "not connected",
  [Failure_Kind.TIMED_OUT]: "timed out",
  [Failure_Kind.LOST]: "lost",
} as Readonly<Record<number, string>>;

function words({ node, kind }: FanOutAnswer): string {
  if (kind?.case === "asked") return `asked ${kind.value.nodes?.join(",")}`;
  if (kind?.case === "failure") return `${node} failed: ${failures[kind.value.kind ?? 0]}`;
  return `${node} ${kind?.case === "message" ? kind.value.kind?.case : ""}`;
}

async function collect(answers: AsyncIterable<FanOutAnswer>, into: string[] = []): Promise<string[]> {
  for await (const answer of answers) into.push(words(answer));
  return into;
}

const settled = () => new Promise(setImmediate);

describe("asking many agents", () => {
  test("hands on what each says and ends when all have ended", async () => {
    const { fanOut, join } = mesh();
    const [one, two] = [join("w1"), join("w2")];
    const answers = collect(fanOut.ask(request, AbortSignal.timeout(30_000)));
    await settled();
    one.say("pods");
    two.say("end");
    one.say("end");
    expect((await answers).sort()).toEqual(["asked w1,w2", "w1 end", "w1 pods", "w2 end"]);
  });

  test("tells of nodes that need an agent and have none", async () => {
    const { fanOut } = mesh("w1");
    expect(await collect(fanOut.ask(request, AbortSignal.timeout(30_000)))).toEqual([
      "asked w1",
      "w1 failed: not connected",
    ]);
  });

  test("gives up on a node that is silent, and tells it to stop", async () => {
    const { fanOut, join, clock } = mesh();
    const [one, two] = [join("w1"), join("w2")];
    const answers = collect(fanOut.ask(request, AbortSignal.timeout(30_000)));
    await settled();
    two.say("end");
    await settled();
    clock.advance(1000);
    expect((await answers).sort()).toEqual(["asked w1,w2", "w1 failed: timed out", "w2 end"]);
    expect(one.asks.at(-1)?.kind.case).toBe("cancel");
  });

  test("tells of an agent that goes away in the middle, and expects it back for a while", async () => {
    const { fanOut, join, clock, agents } = mesh();
    const one = join("w1");
    const answers = collect(fanOut.ask(request, AbortSignal.timeout(30_000)));
    await settled();
    one.leave();
    expect(await answers).toEqual(["asked w1", "w1 failed: lost"]);
    expect(agents.nodes()).toEqual(["w1"]);
    clock.advance(3_600_000);
    expect(agents.nodes()).toEqual([]);
  });

  test("asks only the named nodes", async () => {
    const { fanOut, join } = mesh();
    const [one, two] = [join("w1"), join("w2")];
    const answers = collect(fanOut.ask({ ...request, nodes: ["w2"] }, AbortSignal.timeout(30_000)));
    await settled();
    two.say("end");
    expect(await answers).toEqual(["asked w2", "w2 end"]);
    expect(one.asks).toEqual([]);
  });

  test("asks the agent that came last when a node has two", async () => {
    const { fanOut, join } = mesh();
    const [old, young] = [join("w1"), join("w1")];
    const answers = collect(fanOut.ask(request, AbortSignal.timeout(30_000)));
    await settled();
    young.say("end");
    await answers;
    expect([old.asks.length, young.asks.length]).toEqual([0, 1]);
  });

  test("that follows asks agents that come later, and one that comes back, until it is stopped", async () => {
    const { fanOut, join } = mesh();
    const first = join("w1");
    const stop = new AbortController();
    const heard: string[] = [];
    const answers = collect(fanOut.ask({ ...request, follow: true }, stop.signal), heard);
    await settled();
    first.say("pods");
    const later = join("w2");
    await settled();
    later.say("pods");
    first.leave();
    await settled();
    const successor = join("w1");
    await settled();
    successor.say("pods");
    await expect.poll(() => heard.filter((word) => word.endsWith("pods"))).toEqual(["w1 pods", "w2 pods", "w1 pods"]);
    stop.abort(new Error("enough"));
    await answers;
    expect([later, successor].map(({ asks }) => asks.at(-1)?.kind.case)).toEqual(["cancel", "cancel"]);
  });

  test("holds back agents whose answers nobody reads", async () => {
    const { fanOut, join } = mesh();
    const one = join("w1");
    const reader = fanOut.ask(request, AbortSignal.timeout(30_000));
    await reader.next();
    const asked = reader.next();
    await settled();
    let sent = 0;
    while (one.say("pods") === undefined) if (++sent > 1000) break;
    await asked;
    expect(sent).toBeLessThan(100);
    await reader.return();
  });
});
