/** A client in a pod that opens one connection, keeps it, and sends a line now and then that must come back; it tells when it ends. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Lab } from "../../../src/lab/lab.ts";

const program = `
const { connect } = require("node:net");
const [host, port] = process.argv.slice(1);
const socket = connect(Number(port), host).setNoDelay(true);
process.stdin.on("end", () => process.exit(0)).resume();
socket.once("connect", () => socket.write("hello\\n"));
socket.on("data", () => { console.log("echo"); setTimeout(() => socket.write("again\\n"), 20); });
socket.on("error", (error) => console.log("error " + error.code));
socket.on("close", () => { console.log("closed"); process.exit(0); });
`;

/** Echoes what it is sent, on 9000. */
export const echoServer = `require("node:net").createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(9000, "::")`;

export class HeldLine {
  readonly #end: () => Promise<void>;
  #echoes = 0;
  #closed = false;

  constructor(lab: Lab, pod: string, host: string) {
    const child = lab.spawn(pod, ["node", "-e", program, host, "9000"]);
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new Error("the client has no pipes");
    createInterface({ input: stdout }).on("line", (line) => {
      if (line === "echo") this.#echoes++;
      else this.#closed = true;
    });
    const gone = once(child, "exit");
    this.#end = async () => {
      stdin.end();
      await gone;
    };
  }

  /** Lines that came back. */
  get echoes(): number {
    return this.#echoes;
  }

  /** The other side, or something between, has ended it. */
  get closed(): boolean {
    return this.#closed;
  }

  stop(): Promise<void> {
    return this.#end();
  }
}
