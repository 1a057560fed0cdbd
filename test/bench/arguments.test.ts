import { expect, test } from "vitest";
import { type BenchRequest, parseBenchArguments } from "../../bench/arguments.ts";

const scenarios = ["throughput", "pingpong"];
const parse = (...args: string[]) => parseBenchArguments(args, scenarios);

function request(...args: string[]): BenchRequest {
  const parsed = parse(...args);
  if (parsed.kind !== "run") throw new Error(JSON.stringify(parsed));
  return parsed.request;
}

test("without arguments everything runs on all built-in variants, seven rounds", () => {
  expect(request()).toEqual({
    quick: false,
    json: false,
    scenarios: undefined,
    variants: ["direct", "typescript", "warren", "warren-local"],
    rounds: 7,
    compare: undefined,
    peers: [],
    out: undefined,
  });
});

test("a quick run has three rounds unless told otherwise", () => {
  expect(request("--quick").rounds).toBe(3);
  expect(request("--quick", "--rounds", "5").rounds).toBe(5);
});

test("variants come in the report's order, whatever the order asked for", () => {
  expect(request("--variant", "warren, direct").variants).toEqual(["direct", "warren"]);
});

test("a peer becomes a variant, and its command may hold anything", () => {
  const { variants, peers } = request("--peer", 'zt=sh -c "A=1 ztunnel"');
  expect(variants).toEqual(["direct", "typescript", "warren", "warren-local", "zt"]);
  expect(peers).toEqual([{ name: "zt", command: 'sh -c "A=1 ztunnel"' }]);
});

test("a peer that no variant names is not started", () => {
  expect(request("--peer", "zt=ztunnel", "--variant", "direct").peers).toEqual([]);
});

test("--help names every scenario", () => {
  const parsed = parse("--help");
  expect(parsed.kind).toBe("help");
  expect(parsed.kind === "help" && parsed.text).toContain("throughput, pingpong");
});

test.each([
  [["--target", "kind"], 3, "--target kind is not available in this version"],
  [["--target", "kubeconfig"], 3, "--target kubeconfig is not available in this version"],
  [["--target", "moon"], 2, "there is only lab"],
  [["--scenario", "pingpang"], 2, "did you mean pingpong?"],
  [["--scenario", ","], 2, "names nothing"],
  [["--variant", "ztunnel"], 2, "--variant ztunnel is not known"],
  [["--rounds", "0"], 2, "--rounds 0 is not a whole number"],
  [["--rounds", "many"], 2, "--rounds many is not a whole number"],
  [["--peer", "ztunnel"], 2, "write NAME=COMMAND"],
  [["--peer", "direct=true"], 2, "there is a variant named direct already"],
  [["--peer", "a=true", "--peer", "a=false"], 2, "there is a variant named a already"],
  [["--frobnicate"], 2, "--frobnicate"],
])("%j is refused with exit code %d", (args, exitCode, words) => {
  const parsed = parse(...args);
  expect(parsed).toMatchObject({ kind: "wrong", exitCode });
  expect(parsed.kind === "wrong" && parsed.message).toContain(words);
});
