/** Loading the addon: what is wrong is said before an engine exists, with the way on. */
import { describe, expect, it } from "vitest";
import { reasonInfo, reasons } from "../../../src/model/reason.ts";
import {
  checkNghttp2,
  checkOpenSsl,
  EngineUnavailable,
  loadEngineAddon,
  type NativeOptions,
} from "../../../src/tunnel/native/addon.ts";
import { engineOptions } from "../../conformance/support/options.ts";

describe("the engine addon", () => {
  it("names the file that is missing and the engine that needs none", () => {
    const load = () => loadEngineAddon("/nowhere/warren_engine.node");
    expect(load).toThrow(EngineUnavailable);
    expect(load).toThrow(/\/nowhere\/warren_engine\.node.*--engine typescript/s);
  });

  it.each([
    ["1.52.0", "1.70.0", true],
    ["1.52.0", "1.52.0", true],
    ["1.52.0", "1.51.0", false],
    ["1.52.0", "2.0.0", false],
    ["1.52.0", "", false],
  ])("built for nghttp2 %s accepts Node's %j: %s", (header, runtime, accepted) => {
    const check = () => checkNghttp2(header, runtime);
    if (accepted) expect(check).not.toThrow();
    else expect(check).toThrow(EngineUnavailable);
  });

  it.each([
    ["3.5.8", "3.5.8", true],
    ["3.5.0", "3.5.11+quic", true],
    ["3.5.8", "3.0.17", false],
    ["3.5.8", "3.50.8", false],
    ["3.5.8", "4.5.8", false],
    ["3.5.8", "", false],
    ["", "3.5.8", false],
  ])("built for OpenSSL %j accepts Node's %j: %s", (header, runtime, accepted) => {
    const check = () => checkOpenSsl(header, runtime);
    if (accepted) expect(check).not.toThrow();
    else expect(check).toThrow(EngineUnavailable);
  });

  it("was built for the libraries inside this Node", () => {
    const { nghttp2Header, openSslHeader } = loadEngineAddon();
    expect(process.versions["openssl"]?.startsWith(openSslHeader.split(".", 2).join("."))).toBe(true);
    expect(process.versions["nghttp2"]?.split(".")[0]).toBe(nghttp2Header.split(".")[0]);
  });

  it("refuses a table of reasons whose numbers are not those that it was built with", () => {
    const { Engine } = loadEngineAddon();
    const table = reasons.map((code) => ({ code: code as string, status: reasonInfo(code).status }));
    const [first, second, ...others] = table;
    if (first === undefined || second === undefined) throw new Error("the table is empty");
    const options: NativeOptions = { ...engineOptions(), reasons: [second, first, ...others] };
    expect(() => new Engine(options, () => {})).toThrow(/the reason table has no ok at index 0/);
  });
});
