/** What passed over an interface, as a pcap file: proof of what is, and is not, readable on the wire. */
import type { ChildProcess } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
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
    for (let before = -1, now = this.#size(); before !== now; before = now, now = this.#size()) await delay(50);
    this.#child.kill("SIGINT");
    await this.#ended;
    await this.#place.cgroup.remove();
    return {
      path: this.path,
      bytes: readFileSync(this.path),
      packets: Number(/(\d+) packets? captured/.exec(this.#said)?.[1] ?? 0),
      complete: !endedEarly && /\b0 packets dropped by kernel/.test(this.#said),
    };
  }

  #size(): number {
    return statSync(this.path).size;
  }
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
