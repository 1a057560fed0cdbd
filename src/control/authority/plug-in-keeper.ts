/**
 * Keeps the authority's issuer equal to plug-in certificates that lie in a folder or a Secret. At the start they must be right, or control
 * does not start. Replaced later, another certificate under the same roots is put in force at once; another root begins a rotation, for
 * which the old certificates go on signing. Replacements that are not right change nothing and are told until they are.
 */
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { Authority } from "./authority.ts";
import type { Issuer } from "./authority-state.ts";
import { checkPlugIn, fromTlsSecret, type PlugInMaterial, type PlugInProblem, plugInFiles } from "./plug-in.ts";
import { adoptIssuer } from "./plug-in-adoption.ts";
import type { PlugInReader } from "./plug-in-source.ts";

export interface PlugInKeeperDeps {
  readonly reader: PlugInReader;
  readonly clock: Clock;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export class PlugInKeeper {
  readonly #deps: PlugInKeeperDeps;
  readonly #certificateLifetimeMs: number;
  #material = "";
  #issuer: Issuer | undefined;
  #problems: readonly string[] = [];
  #warnings: readonly string[] = [];
  #last: Promise<void> = Promise.resolve();
  #stopWatching: (() => void)[] = [];

  constructor(deps: PlugInKeeperDeps, options: { readonly certificateLifetimeMs: number }) {
    this.#deps = deps;
    this.#certificateLifetimeMs = options.certificateLifetimeMs;
  }

  /** Of what lies there now and is not in force. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Of what is in force. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /** The issuer that lies there; rejects with MESH_PLUG_IN_UNUSABLE, naming every file that is not right. */
  async load(): Promise<Issuer> {
    const { reader } = this.#deps;
    const issuer = await this.#read();
    if (issuer === undefined) {
      throw new MeshError(
        "MESH_PLUG_IN_UNUSABLE",
        `the certificates in ${reader.where} cannot be used: ${this.#problems.join("; ")}`,
      );
    }
    this.#issuer = issuer;
    return issuer;
  }

  /** Call when the authority runs; from then on replacements are taken. */
  async follow(authority: Pick<Authority, "change" | "onChange">): Promise<void> {
    const adopt = async () => {
      const issuer = this.#issuer;
      if (issuer === undefined) return;
      await authority.change((state) => adoptIssuer(state, issuer, this.#deps.clock.now()));
    };
    await adopt();
    const again = (work: () => Promise<void>) => {
      this.#last = this.#last.then(work).catch((error: unknown) => {
        this.#deps.log.error({ error }, `plug-in certificates are not taken: ${messageOf(error)}`);
      });
    };
    const reread = async () => {
      const issuer = await this.#read();
      if (issuer === undefined) return;
      this.#issuer = issuer;
      await adopt();
    };
    // A root that came while another rotation was under way waits for its end.
    this.#stopWatching = [this.#deps.reader.watch(() => again(reread)), authority.onChange(() => again(adopt))];
  }

  /** May be called twice. */
  stop(): void {
    for (const stop of this.#stopWatching.splice(0)) stop();
  }

  /** Undefined when it is what was read before, or not right. */
  async #read(): Promise<Issuer | undefined> {
    const { reader, clock, log } = this.#deps;
    let data: Readonly<Record<string, string>>;
    try {
      data = await reader.read();
    } catch (error) {
      this.#refuse([`they cannot be read: ${messageOf(error)}`]);
      return undefined;
    }
    const material = pick(data);
    const text = JSON.stringify(material);
    if (text === this.#material) return undefined;
    this.#material = text;
    const options = { now: clock.now(), certificateLifetimeMs: this.#certificateLifetimeMs };
    const verdict = checkPlugIn(material, options);
    if (verdict.kind === "unusable") {
      this.#refuse(verdict.problems.map(told));
      return undefined;
    }
    this.#problems = [];
    this.#warnings = verdict.warnings.map(told);
    for (const warning of this.#warnings) log.warn({ where: reader.where }, warning);
    return verdict.issuer;
  }

  #refuse(problems: readonly string[]): void {
    const { reader, log } = this.#deps;
    this.#problems = problems;
    const where = { where: reader.where };
    if (this.#issuer !== undefined)
      log.error(
        where,
        `replaced plug-in certificates cannot be used, the old ones stay in force: ${problems.join("; ")}`,
      );
  }
}

function told({ file, message }: PlugInProblem): string {
  return `${file} ${message}`;
}

/** Istio's names, or those of a `kubernetes.io/tls` Secret. */
function pick(data: Readonly<Record<string, string>>): PlugInMaterial {
  if (data["tls.crt"] !== undefined && data["ca-cert.pem"] === undefined) return fromTlsSecret(data);
  return Object.fromEntries(plugInFiles.flatMap((file) => (data[file] === undefined ? [] : [[file, data[file]]])));
}
