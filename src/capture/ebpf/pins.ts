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

async function ignoring(codes: readonly string[], work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!codes.some((code) => isErrno(error, code))) {
      throw error;
    }
  }
}

/** Nothing, if the folder went meanwhile: pods come and go while others are looked at. */
async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isErrno(error, "ENOENT")) {
      return [];
    }
    throw error;
  }
}

async function removeIfEmpty(folder: string): Promise<void> {
  await ignoring(["ENOTEMPTY", "ENOENT"], rmdir(folder));
}

/** The folder `pods/` of the pin directory. */
export class PodPins {
  readonly #folder: string;
  /** Pods whose folder this process made and did not remove: their pin may be about to appear in it. */
  readonly #own = new Set<string>();

  constructor(directory: string) {
    this.#folder = join(directory, "pods");
  }

  /** Makes the pod's folder and names the pin. */
  async prepare(uid: string, cookie: bigint): Promise<PodPin> {
    this.#own.add(uid);
    await ignoring(["EEXIST"], mkdir(this.#folderOf(uid), { mode: 0o700 }));
    return { uid, cookie, path: join(this.#folderOf(uid), cookie.toString()) };
  }

  async list(): Promise<readonly PodPin[]> {
    const pins: PodPin[] = [];
    for (const name of await readdir(this.#folder)) {
      pins.push(...(await this.of(uidOfPin(name))));
    }
    return pins;
  }

  async of(uid: string): Promise<readonly PodPin[]> {
    const folder = this.#folderOf(uid);
    return (await namesIn(folder)).map((name) => ({ uid, cookie: BigInt(name), path: join(folder, name) }));
  }

  /** Removing the last reference to the link detaches its program, a moment later. */
  async remove(pin: PodPin): Promise<void> {
    await ignoring(["ENOENT"], unlink(pin.path));
    await removeIfEmpty(this.#folderOf(pin.uid));
  }

  /** The pod leaves: what an attempt that failed before pinning left of it goes too. */
  async removeAll(uid: string): Promise<void> {
    for (const pin of await this.of(uid)) {
      await this.remove(pin);
    }
    await removeIfEmpty(this.#folderOf(uid));
    this.#own.delete(uid);
  }

  /** Folders without a pin, left by a process that crashed between making the folder and pinning. */
  async removeEmptyFolders(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!this.#own.has(uidOfPin(name))) {
        await removeIfEmpty(join(this.#folder, name));
      }
    }
  }

  #folderOf(uid: string): string {
    return join(this.#folder, pinName(uid));
  }
}
