/** What passed over an interface, as a pcap file: proof of what is, and is not, readable on the wire. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../lib/errors.ts";
import { launch, type Place } from "./machine/launch.ts";

export interface CaptureOptions {
  /** In pcap-filter(7) syntax. Default: everything. */
  readonly filter?: string;
  /** The capture ends by itself when its file is this large. Default 256 MiB. */
  readonly maxBytes?: number;
}

export interface CapturedPackets {
  readonly path: string;
  /** The file: pcap header, then each packet whole. */
  readonly bytes: Buffer;
  readonly packets: number;
  /**
   * False when the kernel had to drop packets because nobody fetched them in time, or when the capture reached its limit before it was
   * stopped: then something's absence from it proves nothing.
   */
  readonly complete: boolean;
}

export class PacketCapture {
  readonly path: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #place: Place;
  #said: string;
  #result: Promise<CapturedPackets> | undefined;

  private constructor(child: ChildProcess, place: Place, path: string, said: string) {
    this.#child = child;
    this.#place = place;
    this.path = path;
    this.#said = said;
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#said += chunk.toString();
    });
    this.#ended = new Promise((resolve) => child.once("close", () => resolve()));
  }

  /** Resolves when packets are being taken. */
  static async start(
    place: Place,
    networkInterface: string,
    path: string,
    { filter, maxBytes = 256 * 1024 * 1024 }: CaptureOptions,
  ): Promise<PacketCapture> {
    const child = launch(
      place,
      [
        "prlimit",
        `--fsize=${maxBytes}`,
        "tcpdump",
        "-i",
        networkInterface,
        "-w",
        path,
        "--snapshot-length=262144",
        // Each packet is handed over as it comes, and written at once.
        "--immediate-mode",
        "-U",
        // Without this tcpdump becomes another user, who may not write here.
        "-Zroot",
        "-B16384",
        "-nn",
        ...(filter === undefined ? [] : [filter]),
      ],
      { stdio: ["ignore", "ignore", "pipe"], env: { PATH: process.env["PATH"] ?? "" }, detached: true },
    );
    const said = await untilListening(child, networkInterface);
    child.unref();
    return new PacketCapture(child, place, path, said);
  }

  /** Ends the capture when nothing more arrives. May be called twice. */
  stop(): Promise<CapturedPackets> {
    this.#result ??= this.#finish();
    return this.#result;
  }

  async #finish(): Promise<CapturedPackets> {
    const endedEarly = this.#child.exitCode !== null || this.#child.signalCode !== null;
    for (let before = -1, now = await this.#count(); before !== now; before = now, now = await this.#count())
      await delay(50);
    this.#child.kill("SIGINT");
    await this.#ended;
    await this.#place.cgroup.remove();
    return {
      path: this.path,
      bytes: readFileSync(this.path),
      packets: countIn(this.#said) ?? 0,
      complete: !endedEarly && /\b0 packets dropped by kernel/.test(lastCount(this.#said)),
    };
  }

  /**
   * What it took so far, as it answers to SIGUSR1 (tcpdump(8)). Its file's size would say the same of a capture that has nothing to do and
   * of one that is not given the processor; that it answers shows that it ran.
   */
  async #count(): Promise<number> {
    const before = this.#said.length;
    this.#child.kill("SIGUSR1");
    const closed = this.#ended.then(() => true);
    for (;;) {
      const count = countIn(this.#said.slice(before));
      if (count !== undefined) return count;
      const { stderr } = this.#child;
      if (stderr === null || (await Promise.race([once(stderr, "data").then(() => false), closed])))
        return countIn(this.#said) ?? 0;
    }
  }
}

/** tcpdump's counts as it told them last. */
function lastCount(said: string): string {
  const last = [...said.matchAll(/\d+ packets? captured/g)].at(-1);
  return last === undefined ? "" : said.slice(last.index);
}

function countIn(said: string): number | undefined {
  const count = /^(\d+) packets? captured/.exec(lastCount(said))?.[1];
  return count === undefined ? undefined : Number(count);
}

function untilListening(child: ChildProcess, networkInterface: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr?.on("data", function listen(chunk: Buffer) {
      said += chunk.toString();
      if (!said.includes("listening on")) return;
      child.stderr?.off("data", listen);
      resolve(said);
    });
    child.once("error", reject);
    child.once("close", () =>
      reject(
        new MeshError(
          "MESH_LAB_CAPTURE",
          `tcpdump cannot capture on ${networkInterface}: ${said.trim()}; is it installed, and is the filter right?`,
        ),
      ),
    );
  });
}
