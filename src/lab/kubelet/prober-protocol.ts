/** What the lab and a node's kubelet stand-in say to each other: one JSON value per line. */

export interface ProbeQuestion {
  readonly id: number;
  readonly kind: "tcp" | "http";
  readonly host: string;
  readonly port: number;
  readonly scheme?: "HTTP" | "HTTPS";
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Send back what an HTTP server answered. */
  readonly wantBody?: boolean;
}

export interface ProbeAnswer {
  readonly id: number;
  readonly ok: boolean;
  /** Why not. */
  readonly detail: string;
  readonly status?: number;
  readonly body?: string;
}
