/** A client in a pod that opens a new connection for each request, without a pause, and counts what became of them. */
import { once } from "node:events";
import { text } from "node:stream/consumers";
import type { Lab } from "../../../src/lab/lab.ts";

export interface LoadReport {
  readonly answered: number;
  /** What went wrong, with the time. */
  readonly failed: readonly string[];
}

const program = `
const { get } = require("node:http");
const [url] = process.argv.slice(1);
const report = { answered: 0, failed: [] };
let going = true;
const whole = () => report.answered + report.failed.length > 100;
process.stdin.on("end", () => { going = false; }).resume();
const ask = () => new Promise((resolve) => {
  const fail = (error) => { report.failed.push(new Date().toISOString() + " " + error.message); resolve(); };
  const request = get(url, { agent: false, timeout: 30000 }, (response) => {
    response.resume().on("end", () => { report.answered++; resolve(); }).on("error", fail);
  });
  request.on("error", fail).on("timeout", () => request.destroy(new Error("no answer in time")));
});
const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
(async () => { while (going || !whole()) { await ask(); await pause(); } console.log(JSON.stringify(report)); })();
`;

export class SteadyLoad {
  readonly #end: () => Promise<LoadReport>;

  constructor(lab: Lab, pod: string, url: string) {
    const child = lab.spawn(pod, ["node", "-e", program, url]);
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new Error("the load has no pipes");
    const said = text(stdout);
    const gone = once(child, "exit");
    this.#end = async () => {
      stdin.end();
      await gone;
      return JSON.parse(await said) as LoadReport;
    };
  }

  /** Lets the request under way end; a load that was short makes up its hundred requests. */
  stop(): Promise<LoadReport> {
    return this.#end();
  }
}
