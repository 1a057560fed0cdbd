/**
 * Two agents on one node, while an update brings the next one up before it takes the old one down. Only one of them may capture pods and
 * look after what is captured: the newest. The older one steps back as soon as it sees that there is a newer, goes on carrying the
 * connections that it has, and takes up its work again should the newer one vanish. They meet in a folder of the node that both see.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeAtomically } from "../lib/atomic-file.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";

export interface SuccessionDeps {
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface SuccessionOptions {
  /** On a file system of the node that does not outlive it. */
  readonly folder: string;
  readonly pid: number;
}

/** What this agent does when its place changes. */
export interface Roles {
  readonly stepBack: () => Promise<void>;
  readonly stepForward: () => Promise<void>;
}

const lookEveryMs = 250;
/** An older agent that has not stepped back by then is taken for hung: its successor acts beside it. */
const longestWaitMs = 5000;

const noteSchema = z.strictObject({
  pid: z.int(),
  /** Of the process, in clock ticks since the node's start: process ids come again. */
  startedAt: z.string(),
  since: z.number(),
  acting: z.boolean(),
});
type Note = z.output<typeof noteSchema>;

export class Succession {
  readonly #deps: SuccessionDeps;
  readonly #options: SuccessionOptions;
  #own: Note | undefined;
  #roles: Roles | undefined;
  #cancel: () => void = () => {};
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: SuccessionDeps, options: SuccessionOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** False while a newer agent does the work. */
  get acting(): boolean {
    return this.#own?.acting !== false;
  }

  /** Resolves when this agent may act: the ones before it have stepped back. */
  async begin(roles: Roles): Promise<void> {
    const { clock, log } = this.#deps;
    const { folder, pid } = this.#options;
    this.#roles = roles;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await this.#write({ pid, startedAt: (await startOf(pid)) ?? "", since: clock.now(), acting: true });
      const until = clock.now() + longestWaitMs;
      for (let others = await this.#acting(); others.length > 0; others = await this.#acting()) {
        if (clock.now() > until) {
          log.warn({ pids: others.join(",") }, "another agent on this node does not step back; acting beside it");
          break;
        }
        await new Promise<void>((resolve) => void clock.after(lookEveryMs / 5, resolve));
      }
    } catch (error) {
      // Without a common place there is nobody to step back for; a single agent works as well as ever.
      log.warn({ folder }, `agents of this node cannot find each other: ${messageOf(error)}`);
      return;
    }
    this.#lookLater();
  }

  /** May be called twice. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#looking;
    if (this.#own !== undefined) await rm(this.#file(this.#own.pid), { force: true });
  }

  #lookLater(): void {
    if (this.#stopped) return;
    this.#cancel = this.#deps.clock.after(lookEveryMs, () => {
      this.#looking = this.#look()
        .catch((error: unknown) => this.#deps.log.warn({}, `agents of this node: ${messageOf(error)}`))
        .then(() => this.#lookLater());
    });
  }

  async #look(): Promise<void> {
    const own = this.#own;
    if (own === undefined || this.#roles === undefined) return;
    const newer = (await this.#others()).find((note) => isNewer(note, own));
    if (this.#stopped || own.acting === (newer === undefined)) return;
    if (newer !== undefined) {
      this.#deps.log.info(
        { pid: newer.pid },
        "a newer agent takes over: capturing nothing more, carrying what is open",
      );
      await this.#roles.stepBack();
    } else {
      this.#deps.log.warn({}, "the newer agent is gone: taking its place again");
      await this.#roles.stepForward();
    }
    await this.#write({ ...own, acting: newer === undefined });
  }

  /** Process ids of older agents that still act. */
  async #acting(): Promise<number[]> {
    const own = this.#own;
    const others = await this.#others();
    return others.flatMap((note) => (note.acting && own !== undefined && !isNewer(note, own) ? [note.pid] : []));
  }

  async #others(): Promise<Note[]> {
    const notes: Note[] = [];
    for (const name of await readdir(this.#options.folder)) {
      // Mostly its own is the only note there: then a look is one system call or two, which every node pays four times a second.
      if (name === String(this.#options.pid)) continue;
      const path = join(this.#options.folder, name);
      const note = noteOf(await readFile(path, "utf8").catch(() => ""));
      if (note === undefined || note.pid === this.#options.pid) continue;
      if ((await startOf(note.pid)) === note.startedAt) notes.push(note);
      else await rm(path, { force: true });
    }
    return notes;
  }

  async #write(note: Note): Promise<void> {
    await writeAtomically(this.#file(note.pid), JSON.stringify(note), 0o600);
    this.#own = note;
  }

  #file(pid: number): string {
    return join(this.#options.folder, String(pid));
  }
}

function isNewer(one: Note, other: Note): boolean {
  return one.since === other.since ? one.pid > other.pid : one.since > other.since;
}

function noteOf(text: string): Note | undefined {
  try {
    return noteSchema.parse(JSON.parse(text));
  } catch {
    // A draft, or no note at all.
    return undefined;
  }
}

/** When a process began; undefined when there is none. Agents see the node's processes: they look for pods among them. */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything (proc(5)); the start is the 20th field behind it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
