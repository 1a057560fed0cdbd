import { mkdir, readdir, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { MeshError } from "../../lib/errors.ts";

/** A pinned sk_lookup link of a pod: `pods/<uid>/<cookie>`, so that the next agent knows both without asking anyone. */
export interface PodPin {
  readonly uid: string;
  readonly cookie: bigint;
  readonly path: string;
}

/** bpffs refuses names with a dot, and a uid comes from outside: everything unusual is written as `%` and two hex digits. */
export function pinName(uid: string): string {
  return uid.replaceAll(/[^A-Za-z0-9_-]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}

export function uidOfPin(name: string): string {
  return decodeURIComponent(name);
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && !(error instanceof MeshError) && "code" in error && error.code === code;
}

async function ignoring(code: string, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isErrno(error, code)) {
      throw error;
    }
  }
}

/** The folder `pods/` of the pin directory. */
export class PodPins {
  readonly #folder: string;

  constructor(directory: string) {
    this.#folder = join(directory, "pods");
  }

  /** Makes the pod's folder and names the pin. */
  async prepare(uid: string, cookie: bigint): Promise<PodPin> {
    const folder = join(this.#folder, pinName(uid));
    await ignoring("EEXIST", mkdir(folder, { mode: 0o700 }));
    return { uid, cookie, path: join(folder, cookie.toString()) };
  }

  async list(): Promise<readonly PodPin[]> {
    const pins: PodPin[] = [];
    for (const folder of await readdir(this.#folder)) {
      for (const name of await readdir(join(this.#folder, folder))) {
        pins.push({ uid: uidOfPin(folder), cookie: BigInt(name), path: join(this.#folder, folder, name) });
      }
    }
    return pins;
  }

  async of(uid: string): Promise<readonly PodPin[]> {
    return (await this.list()).filter((pin) => pin.uid === uid);
  }

  /** Removing the last reference to the link detaches its program. */
  async remove(pin: PodPin): Promise<void> {
    await ignoring("ENOENT", unlink(pin.path));
    const folder = join(this.#folder, pinName(pin.uid));
    try {
      await rmdir(folder);
    } catch (error) {
      if (!isErrno(error, "ENOTEMPTY") && !isErrno(error, "ENOENT")) {
        throw error;
      }
    }
  }

  /** Folders without a pin, left by a crash between making the folder and pinning. */
  async removeEmptyFolders(): Promise<void> {
    for (const folder of await readdir(this.#folder)) {
      try {
        await rmdir(join(this.#folder, folder));
      } catch (error) {
        if (!isErrno(error, "ENOTEMPTY") && !isErrno(error, "ENOENT")) {
          throw error;
        }
      }
    }
  }
}
