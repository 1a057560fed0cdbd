/** The certificate of the control plane's own listener: issued by the authority, renewed at half life, swapped under open connections. */
import { ServerCredentials } from "@grpc/grpc-js";
import { serialText } from "../identity/certificate.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import type { Authority } from "./authority/authority.ts";

export interface ServingCertificateDeps {
  readonly authority: Pick<Authority, "issueServing" | "issuingRoot" | "onChange">;
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

const retryMs = 10_000;
const shortestRenewalMs = 500;

export class ServingCertificate {
  readonly credentials = new RenewedCredentials();
  readonly #deps: ServingCertificateDeps;
  readonly #hosts: readonly string[];
  #notAfter = 0;
  #chain = "";
  #root = "";
  #cancel: () => void = () => {};
  #forget: () => void = () => {};
  #stopped = false;

  /** `hosts`: the names and addresses that agents dial. */
  constructor(deps: ServingCertificateDeps, hosts: readonly string[]) {
    this.#deps = deps;
    this.#hosts = hosts;
  }

  /** Unix time in milliseconds; 0 before the first. */
  get notAfter(): number {
    return this.#notAfter;
  }

  /** PEM as it is shown; empty before the first. */
  get chain(): string {
    return this.#chain;
  }

  async start(): Promise<void> {
    const { authority } = this.#deps;
    await this.#issue();
    // Who dials us trusts the new root already: that is what the rotation waited for.
    this.#forget = authority.onChange(() => {
      if (authority.issuingRoot !== this.#root) this.#renew();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#forget();
    this.#cancel();
  }

  async #issue(): Promise<void> {
    const { authority, clock, log } = this.#deps;
    this.#root = authority.issuingRoot;
    const { chain, key, serial, notAfter } = await authority.issueServing(this.#hosts);
    if (this.#stopped) return;
    this.#chain = chain.slice(0, -1).join("");
    this.credentials.replace(this.#chain, key);
    this.#notAfter = notAfter;
    log.info(
      { hosts: this.#hosts, serial: serialText(serial), notAfter: new Date(notAfter).toISOString() },
      "serving certificate in force",
    );
    this.#schedule(Math.max((notAfter - clock.now()) / 2, shortestRenewalMs));
  }

  #schedule(delayMs: number): void {
    this.#cancel();
    if (this.#stopped) return;
    this.#cancel = this.#deps.clock.after(delayMs, () => this.#renew());
  }

  #renew(): void {
    this.#issue().catch((error: unknown) => {
      this.#deps.log.error({ error }, `the serving certificate could not be renewed: ${messageOf(error)}`);
      this.#schedule(retryMs);
    });
  }
}

/** gRPC's own server credentials are fixed for ever and allow TLS 1.2; these can be replaced and don't. */
class RenewedCredentials extends ServerCredentials {
  constructor() {
    super({ requestCert: false });
  }

  replace(certificate: string, key: string): void {
    this.updateSecureContextOptions({ cert: certificate, key, minVersion: "TLSv1.3" });
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
