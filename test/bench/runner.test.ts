/** The runner over beds in memory: who takes part where, in which order, and what becomes of those that fail. */
import { expect, test } from "vitest";
import type { Bed } from "../../bench/bed.ts";
import { neighbours, pair } from "../../bench/lab/manifests.ts";
import { builtInVariants } from "../../bench/model.ts";
import { Runner } from "../../bench/runner.ts";
import { placed, sameNode } from "../../bench/scenarios/placed.ts";
import {
  columnsOf,
  everywhere,
  type ProgramScenario,
  quickPace,
  type TrafficScenario,
} from "../../bench/scenarios/scenario.ts";
import { measure } from "./objects.ts";

const quiet = { steal: 0, foreign: 0 };

class FakeBed implements Bed {
  readonly hasAgents = true;
  readonly loadGenerator = "load";
  readonly variant: string;
  readonly #journal: string[];

  constructor(variant: string, journal: string[]) {
    this.variant = variant;
    this.#journal = journal;
  }

  target = () => "10.0.0.1:1";
  run = async () => ({ code: 0, stdout: "", stderr: "" });
  observe = async <T>(what: () => Promise<T>) => ({ ...(await what()), agentSeconds: 0, noise: quiet });
  bind = async () => {};
  mtu = async () => 1500;
  down = async () => {
    this.#journal.push(`${this.variant} down`);
  };
}

/** Notes each round; `fails` decides by variant and round. */
function traffic(journal: string[], fails: (variant: string) => boolean = () => false): TrafficScenario {
  return {
    kind: "pods",
    name: "pingpong",
    quick: true,
    recipe: { name: "plain", cast: pair },
    sameNode: false,
    freshBeds: false,
    measures: [measure("pingpong_p50"), measure("pingpong_added_p50", { addedTo: "pingpong_p50" })],
    unsuited: everywhere,
    measure: async ({ variant }) => {
      journal.push(variant);
      if (fails(variant)) throw new Error(`${variant} broke`);
      return { values: { pingpong_p50: 1 }, histograms: {}, noise: quiet };
    },
  };
}

function run(
  scenarios: readonly (TrafficScenario | ProgramScenario)[],
  journal: string[],
  variants = ["direct", "typescript", "warren"],
) {
  return new Runner<FakeBed>({
    scenarios,
    variants,
    rounds: 3,
    pace: quickPace,
    signal: new AbortController().signal,
    say: () => {},
    up: async ({ name }, variant) => {
      if (variant === "absent") throw new Error("no such engine");
      journal.push(`${variant} up in ${name}`);
      return new FakeBed(variant, journal);
    },
  }).run();
}

test("rounds go from variant to variant and back, over beds that stand side by side", async () => {
  const journal: string[] = [];
  const { samples, mtu } = await run([traffic(journal)], journal);
  const beds = ["direct", "typescript", "warren"];
  expect(journal).toEqual([
    ...beds.map((variant) => `${variant} up in plain`),
    ...beds,
    ...beds.toReversed(),
    ...beds,
    ...beds.map((variant) => `${variant} down`),
  ]);
  expect(samples).toHaveLength(9);
  expect(mtu).toBe(1500);
});

test("all beds rest but the one that is measured, and all of them while a program is", async () => {
  const awake = new Set<string>();
  const seen: string[] = [];
  const noted = (what: string) => seen.push(`${what}: ${[...awake].sort().join(" ")}`);
  class RestingBed extends FakeBed {
    rest = async () => void awake.delete(this.variant);
    wake = async () => void awake.add(this.variant);
  }
  const pods: TrafficScenario = {
    ...traffic([]),
    measure: async ({ variant }) => {
      noted(variant);
      return { values: { pingpong_p50: 1 }, noise: quiet };
    },
  };
  const alone: ProgramScenario = {
    ...program(),
    measure: async () => {
      noted("program");
      return new Map();
    },
  };
  await new Runner<RestingBed>({
    scenarios: [pods, alone],
    variants: ["direct", "warren"],
    rounds: 2,
    pace: quickPace,
    signal: new AbortController().signal,
    say: () => {},
    up: async (_recipe, variant) => {
      awake.add(variant);
      return new RestingBed(variant, []);
    },
  }).run();
  expect(seen).toEqual([
    "direct: direct",
    "warren: warren",
    "warren: warren",
    "direct: direct",
    "program: ",
    "program: ",
  ]);
});

test("the bed in which the knee is found is awake meanwhile, and the measured one again after it", async () => {
  const seen: string[] = [];
  class RestingBed extends FakeBed {
    awake = true;
    rest = async () => {
      this.awake = false;
    };
    wake = async () => {
      this.awake = true;
    };
    override run = async () => {
      seen.push(`load in ${this.variant}: ${this.awake}`);
      const buckets = [[1000, 1]];
      const report = {
        requests: 100,
        seconds: 1,
        sent: 100,
        achieved: 1,
        unanswered: 0,
        latency: { count: 1, buckets },
      };
      return { code: 0, stdout: JSON.stringify(report), stderr: "" };
    };
  }
  const pods: TrafficScenario = {
    ...traffic([]),
    measure: async (bed, context) => {
      await context.knee();
      seen.push(`measured in ${bed.variant}: ${(bed as RestingBed).awake}`);
      return { values: { pingpong_p50: 1 }, noise: quiet };
    },
  };
  const { knee } = await new Runner<RestingBed>({
    scenarios: [pods],
    variants: ["direct", "typescript"],
    rounds: 1,
    pace: quickPace,
    signal: new AbortController().signal,
    say: () => {},
    up: async (_recipe, variant) => new RestingBed(variant, []),
  }).run();
  expect(knee?.variant).toBe("typescript");
  expect([...new Set(seen)]).toEqual([
    "load in typescript: true",
    "measured in direct: true",
    "measured in typescript: true",
  ]);
});

test("a variant that fails twice in a row is let be, and takes nothing from the others", async () => {
  const journal: string[] = [];
  const { samples, absences } = await run([traffic(journal, (variant) => variant === "typescript")], journal);
  expect(samples.map(({ variant }) => variant).filter((variant) => variant === "warren")).toHaveLength(3);
  expect(absences.map(({ variant, reason }) => `${variant}: ${reason}`)).toEqual([
    "typescript: round 1 failed: typescript broke",
    "typescript: round 2 failed: typescript broke",
  ]);
});

test("a bed that does not come up is a reason and no end", async () => {
  const journal: string[] = [];
  const { samples, absences } = await run([traffic(journal)], journal, ["direct", "absent"]);
  expect(samples).toHaveLength(3);
  expect(absences).toEqual([
    { scenario: "pingpong", variant: "absent", reason: "its lab did not come up: no such engine" },
  ]);
});

test("placed on one node a scenario has other pods and other names, and warren-local takes part in it alone", async () => {
  const between = traffic([]);
  const onOne = placed(between, sameNode);
  expect(onOne).toMatchObject({ name: "samenode-pingpong", quick: false, recipe: { cast: neighbours } });
  expect(onOne.measures.map(({ name, addedTo }) => [name, addedTo])).toEqual([
    ["samenode_pingpong_p50", undefined],
    ["samenode_pingpong_added_p50", "samenode_pingpong_p50"],
  ]);
  const journal: string[] = [];
  const { samples } = await run([traffic(journal), placed(traffic(journal), sameNode)], journal, [...builtInVariants]);
  const variantsIn = (scenario: string) => [
    ...new Set(samples.filter((sample) => sample.scenario === scenario).map(({ variant }) => variant)),
  ];
  expect(variantsIn("pingpong")).toEqual(["direct", "typescript", "warren"]);
  expect(variantsIn("samenode-pingpong")).toEqual(["direct", "typescript", "warren", "warren-local"]);
  expect(samples.find(({ scenario }) => scenario === "samenode-pingpong")?.values).toEqual({
    samenode_pingpong_p50: 1,
  });
  // The second recipe's beds are others.
  expect(journal.filter((line) => line.endsWith("up in samenode"))).toHaveLength(4);
});

const program = (fails = false): ProgramScenario => ({
  kind: "program",
  name: "policy",
  quick: false,
  variants: ["index", "warren", "typescript"],
  mostRounds: 2,
  measures: [measure("decision_p50")],
  measure: async (variants) => {
    if (fails) throw new Error("it broke");
    return new Map(variants.map((variant) => [variant, { values: { decision_p50: 2 } }]));
  },
});

test("a program measures its own variants, and of the run's only those asked for, in no more rounds than it takes", async () => {
  expect(columnsOf(program(), ["warren"])).toEqual(["index", "warren"]);
  const { samples } = await run([program()], [], ["direct", "warren"]);
  expect(samples.map(({ round, variant }) => [round, variant])).toEqual([
    [1, "index"],
    [1, "warren"],
    [2, "warren"],
    [2, "index"],
  ]);
  expect(samples[0]?.noise.foreign).toBeUndefined();
});

test("a program that fails is a reason for each of its variants", async () => {
  const { absences } = await run([program(true)], [], ["warren"]);
  expect(absences.map(({ variant, reason }) => [variant, reason])).toEqual([
    ["index", "round 1 failed: it broke"],
    ["warren", "round 1 failed: it broke"],
    ["index", "round 2 failed: it broke"],
    ["warren", "round 2 failed: it broke"],
  ]);
});
