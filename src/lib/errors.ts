/**
 * The one error class that crosses folders. `code` is stable and starts with `MESH_`; `message` ends with what to check next;
 * `cause` keeps the original. Areas subclass it where callers must tell their errors apart by type.
 */
export class MeshError extends Error {
  readonly code: `MESH_${string}`;

  constructor(code: `MESH_${string}`, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
