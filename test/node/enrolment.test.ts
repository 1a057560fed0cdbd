import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MeshError } from "../../src/lib/errors.ts";
import type { Identity } from "../../src/model/identity.ts";
import { FakeNode, pod, settle } from "./fakes.ts";

let node: FakeNode;
beforeEach(() => {
  node = new FakeNode();
});
afterEach(async () => {
  await node.enrolment.stop({ release: false, deadlineMs: 1000 });
  expect(node.opened).toBe(0);
});

/** The first `count` times a step comes it fails. */
function failing(step: string, count: number, error = new MeshError("MESH_TEST", "not now")) {
  let left = count;
  return (asked: string) => {
    if (asked === step && left-- > 0) throw error;
  };
}

/** Holds a step until it is let go. */
function holding(step: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  node.hook = (asked) => (asked === step ? promise : undefined);
  return resolve;
}

describe("a pod coming in", () => {
  it("has its certificate asked for, then is found, captured, handed to the engine and probed", async () => {
    node.run("uid-a");
    node.wanted = [pod("a")];
    await node.enrolment.start();
    expect(node.journal).toEqual(["collect uid-a", "hold a", "find uid-a", "enrol uid-a", "add uid-a", "probe uid-a"]);
    expect(node.enrolment.rows()).toMatchObject([
      { uid: "uid-a", state: "captured", backend: "ebpf", failures: 0, netns: { ino: 11n, cookie: 7n } },
    ]);
    expect(node.metrics).toEqual(["probed ok", "enrolled ebpf"]);
  });

  it("is tried again with growing pauses until its namespace is there", async () => {
    node.want(pod("a"));
    await settle();
    expect(node.state("uid-a")).toBe("failed");
    expect(node.enrolment.rows()[0]?.lastError).toBe("no process of the pod runs yet");
    await node.clock.advance(100 + 200 + 399);
    expect(node.journal.filter((step) => step === "find uid-a")).toHaveLength(3);
    node.run("uid-a");
    await node.clock.advance(1);
    expect(node.state("uid-a")).toBe("captured");
    expect(node.enrolment.rows()[0]).toMatchObject({ failures: 0, lastError: "" });
    expect(node.metrics.slice(0, 3)).toEqual(Array.from({ length: 3 }, () => "MESH_NETNS_NOT_FOUND"));
  });

  it("does not hold up the start when it cannot be captured", async () => {
    node.run("uid-b");
    node.wanted = [pod("a"), pod("b")];
    await node.enrolment.start();
    expect(node.state("uid-a")).toBe("failed");
    expect(node.state("uid-b")).toBe("captured");
  });

  it("is refused when the namespace is not its own, and stays out until it is", async () => {
    node.run("uid-a");
    node.hook = failing("enrol uid-a", 1, new MeshError("MESH_WRONG_NETNS", "the namespace has other addresses"));
    node.want(pod("a"));
    await settle();
    expect(node.state("uid-a")).toBe("failed");
    expect(node.engine.size).toBe(0);
    expect(node.metrics).toEqual(["MESH_WRONG_NETNS"]);
    await node.clock.advance(100);
    expect(node.state("uid-a")).toBe("captured");
  });

  it("is released again, its listeners closed, when the engine does not take it", async () => {
    node.run("uid-a");
    node.hook = failing("add uid-a", 1);
    node.want(pod("a"));
    await settle();
    expect(node.journal.slice(-2)).toEqual(["add uid-a", "release uid-a"]);
    expect(node.closed).toHaveLength(1);
    expect(node.captured.size).toBe(0);
    await node.clock.advance(100);
    expect(node.state("uid-a")).toBe("captured");
  });

  it("does not count as captured before the probe has come through", async () => {
    node.run("uid-a");
    const letGo = holding("probe uid-a");
    node.want(pod("a"));
    await settle();
    expect(node.engine.has("uid-a")).toBe(true);
    expect(node.state("uid-a")).toBe("pending");
    letGo();
    await settle();
    expect(node.state("uid-a")).toBe("captured");
  });

  it("is doubtful when the probe fails, and is captured anew", async () => {
    node.run("uid-a");
    node.hook = failing("probe uid-a", 1);
    node.want(pod("a"));
    await settle();
    expect(node.state("uid-a")).toBe("doubtful");
    await node.clock.advance(100);
    expect(node.state("uid-a")).toBe("captured");
  });

  it("is given up after the timeout, and tried again", async () => {
    node.run("uid-a");
    let first = true;
    node.hook = (step, signal) => {
      if (step !== "enrol uid-a" || !first) return undefined;
      first = false;
      return new Promise((_resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason as Error)));
    };
    node.want(pod("a"));
    await node.clock.advance(4999);
    expect(node.state("uid-a")).toBe("pending");
    await node.clock.advance(1);
    expect(node.enrolment.rows()[0]?.lastError).toBe("no result within 5s");
    await node.clock.advance(100);
    expect(node.state("uid-a")).toBe("captured");
  });

  it("waits its turn: no more than the allowed number at a time", async () => {
    const pods = Array.from({ length: 10 }, (_, index) => pod(`p${index}`));
    let running = 0;
    let most = 0;
    const gate = Promise.withResolvers<void>();
    node.hook = async (step) => {
      if (!step.startsWith("enrol")) return;
      most = Math.max(most, ++running);
      await gate.promise;
      running--;
    };
    for (const { uid } of pods) node.run(uid);
    node.want(...pods);
    await settle();
    expect(most).toBe(4);
    gate.resolve();
    await settle();
    expect(node.captured.size).toBe(10);
    expect(most).toBe(4);
  });
});

describe("a pod going out", () => {
  it("is no longer steered before its listeners close, and gives its certificate back", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    node.journal.length = 0;
    node.want();
    await settle();
    expect(node.journal).toEqual(["release uid-a", "remove uid-a"]);
    expect(node.enrolment.rows()).toEqual([]);
    expect([...node.held.values()]).toEqual([0]);
  });

  it("leaves also when that takes several attempts", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    node.hook = failing("release uid-a", 2);
    node.want();
    await settle();
    expect(node.state("uid-a")).toBe("leaving");
    await node.clock.advance(100 + 200);
    expect(node.enrolment.rows()).toEqual([]);
    expect(node.captured.size).toBe(0);
  });

  it("is cleared of traces even when no attempt to capture it succeeded", async () => {
    node.run("uid-a");
    node.hook = failing("enrol uid-a", 99);
    node.want(pod("a"));
    await settle();
    node.want();
    await settle();
    expect(node.journal.slice(-3)).toEqual(["release uid-a", "remove uid-a", "collect "]);
    expect(node.enrolment.rows()).toEqual([]);
  });

  it("is forgotten without a trace when it never was found", async () => {
    node.want(pod("a"));
    await settle();
    node.want();
    await settle();
    expect(node.journal).not.toContain("release uid-a");
    expect(node.enrolment.rows()).toEqual([]);
  });

  it("comes back when it is wanted again while it leaves", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    const letGo = holding("release uid-a");
    node.want();
    await settle();
    node.want(pod("a"));
    letGo();
    await settle();
    expect(node.state("uid-a")).toBe("captured");
    expect(node.captured.has("uid-a")).toBe(true);
  });

  it("does not stay captured when it is un-labelled in the middle of its enrolment", async () => {
    node.run("uid-a");
    const letGo = holding("enrol uid-a");
    node.want(pod("a"));
    await settle();
    node.want();
    letGo();
    await settle();
    expect(node.captured.size).toBe(0);
    expect(node.engine.size).toBe(0);
    expect(node.enrolment.rows()).toEqual([]);
  });
});

describe("a pod that is replaced by one of the same name", () => {
  it("has left before the new one comes in", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    const letGo = holding("release uid-a");
    node.run("uid-new", 12n);
    node.journal.length = 0;
    node.want(pod("a", { uid: "uid-new" }));
    await settle();
    expect(node.journal).toEqual(["release uid-a"]);
    letGo();
    await settle();
    expect(node.journal).toEqual([
      "release uid-a",
      "remove uid-a",
      "hold a",
      "find uid-new",
      "enrol uid-new",
      "add uid-new",
      "probe uid-new",
    ]);
    expect(node.enrolment.rows()).toMatchObject([{ uid: "uid-new", state: "captured", netns: { ino: 12n } }]);
  });
});

describe("a captured pod", () => {
  beforeEach(async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    node.journal.length = 0;
    node.metrics.length = 0;
  });

  it("is left alone when nothing changed", async () => {
    node.want(pod("a"));
    await settle();
    expect(node.journal).toEqual([]);
  });

  it("is probed again through the real path at each interval", async () => {
    await node.clock.advance(59_999);
    expect(node.journal).toEqual([]);
    await node.clock.advance(1);
    expect(node.journal).toEqual(["probe uid-a"]);
    await node.clock.advance(60_000);
    expect(node.metrics).toEqual(["probed ok", "probed ok"]);
  });

  it("is captured anew when a check finds that redirection is lost", async () => {
    node.hook = failing("probe uid-a", 1);
    await node.clock.advance(60_000);
    expect(node.journal).toEqual(["probe uid-a", "find uid-a", "enrol uid-a", "add uid-a", "probe uid-a"]);
    expect(node.state("uid-a")).toBe("captured");
    expect(node.logged.at(-1)).toEqual({ level: "warn", message: "redirection is lost and set up again: not now" });
  });

  it("is doubtful, and checked with pauses, while it cannot be set up again", async () => {
    node.hook = (step) => {
      if (step === "probe uid-a") throw new MeshError("MESH_PROBE_FAILED", "swallowed");
    };
    await node.clock.advance(60_000);
    expect(node.state("uid-a")).toBe("doubtful");
    await node.clock.advance(99);
    const asked = node.journal.length;
    await node.clock.advance(1);
    expect(node.journal.length).toBeGreaterThan(asked);
    node.hook = () => undefined;
    await node.clock.advance(1000);
    expect(node.state("uid-a")).toBe("captured");
  });

  it("is moved when its sandbox was made anew with another namespace", async () => {
    node.run("uid-a", 99n);
    await node.clock.advance(60_000);
    expect(node.journal).toEqual(["find uid-a", "release uid-a", "enrol uid-a", "add uid-a", "probe uid-a"]);
    expect(node.enrolment.rows()[0]?.netns?.ino).toBe(99n);
  });

  it("is told new addresses in place", async () => {
    node.want(pod("a", { addresses: ["10.244.1.6"] }));
    await settle();
    expect(node.journal).toEqual(["update uid-a", "change uid-a", "probe uid-a"]);
    expect(node.engine.get("uid-a")?.addresses).toEqual(["10.244.1.6"]);
  });

  it("is told new addresses again when the first attempt failed", async () => {
    node.hook = failing("update uid-a", 1);
    node.want(pod("a", { addresses: ["10.244.1.6"] }));
    await settle();
    await node.clock.advance(100);
    expect(node.engine.get("uid-a")?.addresses).toEqual(["10.244.1.6"]);
    expect(node.state("uid-a")).toBe("captured");
  });

  it("changes its identity in place, holding the new certificate before the old one goes", async () => {
    const identity = "spiffe://other.example/ns/production/sa/a" as Identity;
    node.want(pod("a", { identity }));
    await settle();
    expect(node.journal).toEqual(["hold a", "update uid-a", "change uid-a", "probe uid-a"]);
    expect(node.held.get(identity)).toBe(1);
    expect(node.held.get(pod("a").identity)).toBe(0);
  });

  it("is captured anew when the ports that the kubelet probes change", async () => {
    node.want(pod("a", { probePorts: [8080] }));
    await settle();
    expect(node.journal).toEqual(["find uid-a", "enrol uid-a", "add uid-a", "probe uid-a"]);
    expect(node.captured.get("uid-a")?.probePorts).toEqual([8080]);
  });

  it("is captured anew when what happens without an agent changes", async () => {
    node.want(pod("a", { failOpen: true }));
    await settle();
    expect(node.journal).toEqual(["find uid-a", "enrol uid-a", "add uid-a", "probe uid-a"]);
    expect(node.captured.get("uid-a")?.failOpen).toBe(true);
  });
});

describe("what earlier agents left behind", () => {
  it("is removed after the first complete state, except for what is wanted", async () => {
    node.leftovers.add("uid-gone").add("uid-a");
    node.run("uid-a");
    node.wanted = [pod("a")];
    await node.enrolment.start();
    await settle();
    expect(node.leftovers).toEqual(new Set(["uid-a"]));
  });

  it("is removed too when its pod was never captured by this agent and is not wanted any more", async () => {
    node.leftovers.add("uid-a");
    node.wanted = [pod("a")];
    await node.enrolment.start();
    expect(node.leftovers).toEqual(new Set(["uid-a"]));
    node.want();
    await settle();
    expect(node.leftovers.size).toBe(0);
  });

  it("is tried again when it cannot be removed", async () => {
    node.leftovers.add("uid-gone");
    node.hook = failing("collect ", 2);
    await node.enrolment.start();
    await node.clock.advance(100 + 200);
    expect(node.leftovers.size).toBe(0);
  });
});

describe("stopping", () => {
  it("leaves redirection in place for the next agent", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    await node.enrolment.stop({ release: false, deadlineMs: 1000 });
    expect(node.captured.has("uid-a")).toBe(true);
    await node.clock.advance(600_000);
    expect(node.journal).toEqual(["hold a", "find uid-a", "enrol uid-a", "add uid-a", "probe uid-a"]);
  });

  it("takes every pod out when asked to", async () => {
    node.run("uid-a");
    node.run("uid-b", 12n);
    node.want(pod("a"), pod("b"));
    await settle();
    await node.enrolment.stop({ release: true, deadlineMs: 1000 });
    expect(node.captured.size).toBe(0);
    expect(node.engine.size).toBe(0);
  });

  it("gives up taking pods out at the deadline", async () => {
    node.run("uid-a");
    node.want(pod("a"));
    await settle();
    node.hook = failing("release uid-a", 99);
    let stopped = false;
    void node.enrolment.stop({ release: true, deadlineMs: 1000 }).then(() => {
      stopped = true;
    });
    await node.clock.advance(999);
    expect(stopped).toBe(false);
    await node.clock.advance(1);
    expect(stopped).toBe(true);
  });

  it("ends at once in the middle of an attempt, and may be asked for twice", async () => {
    node.run("uid-a");
    node.hook = (step, signal) =>
      step === "enrol uid-a"
        ? new Promise((_resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason as Error)))
        : undefined;
    node.want(pod("a"));
    await settle();
    await node.enrolment.stop({ release: false, deadlineMs: 1000 });
    await node.enrolment.stop({ release: false, deadlineMs: 1000 });
    expect(node.engine.size).toBe(0);
  });
});
