import { expect, test } from "vitest";
import { type BenchRequest, parseBenchArguments } from "../../bench/arguments.ts";
import { builtInVariants } from "../../bench/model.ts";

const parse = (...args: string[]) =>
  parseBenchArguments(args, (target) =>
    target === "lab"
      ? { scenarios: ["throughput", "pingpong"], variants: builtInVariants }
      : { scenarios: ["samenode-pingpong"], variants: ["direct", "warren"] },
  );

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
    target: "lab",
    context: undefined,
    image: undefined,
    loadImage: undefined,
  });
});

test("a quick run has three rounds unless told otherwise", () => {
  expect(request("--quick").rounds).toBe(3);
  expect(request("--quick", "--rounds", "5").rounds).toBe(5);
});

test("variants come in the report's order, whatever the order asked for", () => {
  expect(request("--variant", "warren, direct").variants).toEqual(["direct", "warren"]);
});

test("a cluster has scenarios and variants of its own, and may be told which images to run", () => {
  const flags = ["--context=prod", "--image=registry.example/warren:1", "--load-image=registry.example/load:1"];
  expect(request("--target=kubeconfig", "--scenario=samenode-pingpong", ...flags)).toMatchObject({
    target: "kubeconfig",
    scenarios: ["samenode-pingpong"],
    variants: ["direct", "warren"],
    context: "prod",
    image: "registry.example/warren:1",
    loadImage: "registry.example/load:1",
  });
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
  [["--target", "moon"], "--target moon: there are lab, kind, kubeconfig"],
  [["--target", "kind", "--variant", "typescript"], "--variant typescript is not known"],
  [["--target", "kind", "--scenario", "throughput"], "--scenario throughput is not known"],
  [["--target", "kind", "--image", "warren:1"], "--image is for --target kubeconfig"],
  [["--context", "prod"], "--context is for --target kubeconfig"],
  [["--target", "kind", "--peer", "zt=ztunnel"], "--peer is for --target lab"],
  [["--scenario", "pingpang"], "did you mean pingpong?"],
  [["--scenario", ","], "names nothing"],
  [["--variant", "ztunnel"], "--variant ztunnel is not known"],
  [["--rounds", "0"], "--rounds 0 is not a whole number"],
  [["--rounds", "many"], "--rounds many is not a whole number"],
  [["--peer", "ztunnel"], "write NAME=COMMAND"],
  [["--peer", "direct=true"], "there is a variant named direct already"],
  [["--peer", "a=true", "--peer", "a=false"], "there is a variant named a already"],
  [["--frobnicate"], "--frobnicate"],
])("%j is refused", (args, words) => {
  const parsed = parse(...args);
  expect(parsed.kind).toBe("wrong");
  expect(parsed.kind === "wrong" && parsed.message).toContain(words);
});
