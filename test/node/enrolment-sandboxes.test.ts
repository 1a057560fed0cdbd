import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MeshError } from "../../src/lib/errors.ts";
import { FakeNode, pod, settle } from "./fakes.ts";

let node: FakeNode;
beforeEach(() => {
  node = new FakeNode();
});
afterEach(async () => {
  await node.enrolment.stop({ release: false, deadlineMs: 1000 });
  expect(node.opened).toBe(0);
});

const nameless = pod("a", { addresses: [] });
const sandbox = { uid: "uid-a", container: "c1", netnsPath: "/run/netns/a", addresses: ["10.244.1.5"] };
const never = new AbortController().signal;

/** How a wait for the pod ends. */
function outcome(signal: AbortSignal = never): { now: () => string } {
  let ended = "waiting";
  node.enrolment.captured("uid-a", signal).then(
    () => (ended = "captured"),
    (error: unknown) => (ended = error instanceof MeshError ? error.code : String(error)),
  );
  return { now: () => ended };
}

describe("a pod whose sandbox the container runtime announces", () => {
  it("is captured where it says, before the cluster knows an address of it", async () => {
    node.run("uid-a");
    node.want(nameless);
    await settle();
    expect(node.journal).toEqual([]);
    node.enrolment.announce(sandbox);
    const waiting = outcome();
    await settle();
    expect(node.journal).toEqual(["hold a", "find uid-a at /run/netns/a", "enrol uid-a", "add uid-a", "probe uid-a"]);
    expect(node.captured.get("uid-a")?.addresses).toEqual(["10.244.1.5"]);
    expect(waiting.now()).toBe("captured");
    node.want(pod("a"));
    await settle();
    expect(node.journal).toHaveLength(5);
  });

  it("is not captured when the mesh does not want it", async () => {
    node.run("uid-a");
    node.enrolment.announce(sandbox);
    await settle();
    expect(node.journal).toEqual([]);
    node.want(pod("a"));
    await settle();
    expect(node.journal[1]).toBe("find uid-a at /run/netns/a");
  });

  it("keeps whoever waits waiting through failures that another attempt may mend", async () => {
    node.want(nameless);
    node.enrolment.announce(sandbox);
    const waiting = outcome();
    await settle();
    expect(node.state("uid-a")).toBe("failed");
    expect(waiting.now()).toBe("waiting");
    node.run("uid-a");
    await node.clock.advance(100);
    expect(waiting.now()).toBe("captured");
  });

  it("tells the last failure when the time is over", async () => {
    node.want(nameless);
    node.enrolment.announce(sandbox);
    const late = new AbortController();
    const waiting = outcome(late.signal);
    await settle();
    late.abort(new MeshError("MESH_ENROLMENT_TIMEOUT", "not in time"));
    await settle();
    expect(waiting.now()).toBe("MESH_NETNS_NOT_FOUND");
  });

  it("tells at once when only another sandbox would help", async () => {
    node.run("uid-a");
    node.hook = (step) => {
      if (step === "enrol uid-a") throw new MeshError("MESH_WRONG_NETNS", "it has other addresses");
    };
    node.want(nameless);
    node.enrolment.announce(sandbox);
    const waiting = outcome();
    await settle();
    expect(waiting.now()).toBe("MESH_WRONG_NETNS");
  });

  it("is let go when the runtime takes the sandbox down, although the cluster still names it, and comes back in another", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    node.enrolment.announce(sandbox);
    await settle();
    node.enrolment.withdraw("uid-a", "c1");
    await settle();
    expect(node.journal.slice(-2)).toEqual(["release uid-a", "remove uid-a"]);
    expect(node.enrolment.rows()).toEqual([]);
    node.want(pod("a"));
    await settle();
    expect(node.enrolment.rows()).toEqual([]);
    node.run("uid-a", 12n);
    node.enrolment.announce({ ...sandbox, container: "c2", netnsPath: "/run/netns/b" });
    await settle();
    expect(node.state("uid-a")).toBe("captured");
    expect(node.enrolment.rows()[0]?.netns?.ino).toBe(12n);
  });

  it("moves at once when it gets another sandbox while the first is still there", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    node.enrolment.announce(sandbox);
    await settle();
    node.run("uid-a", 99n);
    node.journal.length = 0;
    node.enrolment.announce({ ...sandbox, container: "c2", netnsPath: "/run/netns/b" });
    const waiting = outcome();
    expect(waiting.now()).toBe("waiting");
    await settle();
    expect(node.journal).toEqual([
      "find uid-a at /run/netns/b",
      "release uid-a",
      "enrol uid-a",
      "add uid-a",
      "probe uid-a",
    ]);
    expect(waiting.now()).toBe("captured");
    expect(node.metrics).toContain("repaired netns");
  });

  it("is only looked at when a sandbox goes that was never announced to this agent", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    node.journal.length = 0;
    node.enrolment.withdraw("uid-a", "c-old");
    await settle();
    expect(node.journal).toEqual(["find uid-a", "probe uid-a"]);
    expect(node.state("uid-a")).toBe("captured");
  });
});

describe("what somebody else changed", () => {
  it("is looked at as soon as the kernel meets no listener of the pod, and not with each packet", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    node.journal.length = 0;
    node.enrolment.doubt(7n);
    await settle();
    expect(node.journal).toEqual([]);
    await node.clock.advance(1000);
    node.enrolment.doubt(8n);
    node.enrolment.doubt(7n);
    node.enrolment.doubt(7n);
    await settle();
    expect(node.journal).toEqual(["find uid-a", "probe uid-a"]);
  });

  it("is set right, and counted", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    await node.clock.advance(1000);
    let left = 1;
    node.hook = (step) => {
      if (step === "probe uid-a" && left-- > 0) throw new MeshError("MESH_PROBE_FAILED", "nobody listens");
    };
    node.enrolment.doubt(7n);
    await settle();
    expect(node.state("uid-a")).toBe("captured");
    expect(node.metrics.at(-1)).toBe("repaired redirection");
  });

  it("is removed once in a while when it belongs to nobody, and counted", async () => {
    await node.enrolment.start();
    await settle();
    node.leftovers.add("uid-gone");
    await node.clock.advance(3_599_999);
    expect(node.leftovers.size).toBe(1);
    await node.clock.advance(1);
    expect(node.leftovers.size).toBe(0);
    expect(node.metrics).toEqual(["removed 1"]);
  });
});
