/** Plug-in certificates in a folder, as a mounted Secret or a person's copy. Looked at by polling: that sees Kubernetes' swapped links too. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { PlugInReader } from "./plug-in-source.ts";

const pollMs = 1000;
const names = /^(ca-cert|ca-key|cert-chain|root-cert|ca-crl)\.pem$|^(tls\.crt|tls\.key|ca\.crt)$/;

export class PlugInFolder implements PlugInReader {
  readonly where: string;
  readonly #clock: Clock;

  constructor(deps: { readonly clock: Clock }, options: { readonly folder: string }) {
    this.#clock = deps.clock;
    this.where = options.folder;
  }

  async read(): Promise<Readonly<Record<string, string>>> {
    const found = (await readdir(this.where)).filter((name) => names.test(name));
    const texts = await Promise.all(found.map(async (name) => [name, await readFile(join(this.where, name), "utf8")]));
    return Object.fromEntries(texts) as Record<string, string>;
  }

  /**
   * Copying four files takes a moment, and half of a set is not right: a change is told when two looks in a row have seen the same.
   */
  watch(changed: () => void): () => void {
    let told: string | undefined;
    let seen: string | undefined;
    let stopped = false;
    let cancel = () => {};
    const look = async () => {
      const mark = await this.#mark();
      if (stopped) return;
      told ??= mark;
      if (mark === seen && mark !== told) {
        told = mark;
        changed();
      }
      seen = mark;
      cancel = this.#clock.after(pollMs, () => void look());
    };
    void look();
    return () => {
      stopped = true;
      cancel();
    };
  }

  async #mark(): Promise<string> {
    const texts = await this.read().catch((error: unknown) => ({ error: String(error) }));
    return createHash("sha256").update(JSON.stringify(texts)).digest("hex");
  }
}
