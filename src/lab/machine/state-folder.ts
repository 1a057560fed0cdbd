/**
 * What a lab keeps on disk, `/run/warren-lab/<id>/`, and who owns it. The folder is the claim on the name: it appears complete, with
 * its owner in it, by one rename, so that two labs cannot take one name and a sweep never meets a half-made claim. It goes last, after
 * everything that the id finds (the cgroup `warren-lab-<id>`), so that a crash at any point leaves something to sweep by. Cgroups are one
 * space for the whole machine, whatever folder labs are kept in: the cgroup is claimed too, or one lab would be taken down with another.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../lib/errors.ts";
import { Cgroup, findCgroup2 } from "./cgroup.ts";
import { identifyProcess, isRunning, type ProcessIdentity } from "./process-identity.ts";

export const defaultStateRoot = "/run/warren-lab";

const ownerFile = "owner.json";

export interface LabOwner {
  readonly process: ProcessIdentity;
  /** `supervisor`: left running by `warren lab up`. `program`: a test, a demo or a bench that takes it down itself. */
  readonly kind: "supervisor" | "program";
  /** The lab's cgroup, which holds every process of it. */
  readonly cgroup: string;
  readonly createdAt: string;
}

export interface FoundLab {
  readonly id: string;
  readonly folder: string;
  readonly owner: LabOwner;
  readonly alive: boolean;
}

/** Names go into cgroup and file names. */
const idPattern = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;

/** Claims an id for this process. */
export function claimLab(root: string, id: string, kind: LabOwner["kind"]): FoundLab {
  if (!idPattern.test(id))
    throw new MeshError(
      "MESH_LAB_NAME",
      `${JSON.stringify(id)} is not a name for a lab; use up to 32 lower-case letters, digits and dashes`,
    );
  const self = identifyProcess(process.pid);
  if (self === undefined) throw new MeshError("MESH_LAB_STATE", "/proc does not show this process; is /proc mounted?");
  const owner: LabOwner = {
    process: self,
    kind,
    cgroup: join(findCgroup2(), `warren-lab-${id}`),
    createdAt: new Date().toISOString(),
  };
  const folder = join(root, id);
  const cgroup = new Cgroup(owner.cgroup);
  // Before there is anything to sweep, should this process end right now: the group is not its own.
  if (cgroup.exists && !existsSync(folder)) throw elsewhere(id, root, cgroup);
  const draft = join(root, `.${id}.${self.pid}.${self.startTime}`);
  try {
    mkdirSync(draft, { recursive: true, mode: 0o700 });
    writeFileSync(join(draft, ownerFile), JSON.stringify(owner));
    renameSync(draft, folder);
  } catch (cause) {
    rmSync(draft, { recursive: true, force: true });
    if (["ENOTEMPTY", "EEXIST"].includes((cause as NodeJS.ErrnoException).code ?? ""))
      throw new MeshError(
        "MESH_LAB_EXISTS",
        `a lab named ${id} is there already; choose another name, or remove it: warren lab down --name ${id}`,
        { cause },
      );
    throw new MeshError("MESH_LAB_STATE", `cannot write below ${root}; are you root?`, { cause });
  }
  let first: boolean;
  try {
    first = cgroup.createFirst();
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  if (!first) {
    rmSync(folder, { recursive: true, force: true });
    throw elsewhere(id, root, cgroup);
  }
  return { id, folder, owner, alive: true };
}

function elsewhere(id: string, root: string, { path }: Cgroup): MeshError {
  return new MeshError(
    "MESH_LAB_EXISTS",
    `a lab named ${id} is there already, kept in another folder than ${root}: its cgroup is ${path}. Choose another name, or take that lab ` +
      `down where it is kept; should nothing but its cgroup be left: echo 1 > ${path}/cgroup.kill; find ${path} -depth -type d -exec rmdir {} +`,
  );
}

/** All labs on this machine, oldest first. */
export function findLabs(root: string): FoundLab[] {
  let names: string[];
  try {
    names = readdirSync(root);
  } catch {
    return [];
  }
  const labs: FoundLab[] = [];
  for (const id of names) {
    if (id.startsWith(".")) continue;
    const folder = join(root, id);
    const owner = readOwner(folder);
    if (owner !== undefined) labs.push({ id, folder, owner, alive: isRunning(owner.process) });
  }
  return labs.sort((a, b) => (a.owner.createdAt < b.owner.createdAt ? -1 : 1));
}

/** Removes every trace of a lab. Its owner must be this process, or dead. */
export async function removeLab(lab: FoundLab): Promise<void> {
  // Every network namespace, mount and BPF pin of a lab lives in the namespaces of these processes, so they go with them.
  await new Cgroup(lab.owner.cgroup).remove();
  // The owner's name goes last: a removal that is cut short is found, and finished, by the next sweep.
  for (const name of readdirIfThere(lab.folder))
    if (name !== ownerFile) rmSync(join(lab.folder, name), { recursive: true, force: true });
  rmSync(lab.folder, { recursive: true, force: true });
}

/** Removes what labs with a dead owner left behind, and says which. */
export async function sweepLabs(root: string): Promise<string[]> {
  const swept: string[] = [];
  for (const lab of findLabs(root)) {
    if (lab.alive) continue;
    await removeLab(lab);
    swept.push(lab.id);
  }
  for (const name of draftsOf(root)) {
    const [pid, startTime] = name.split(".").slice(-2);
    if (identifyProcess(Number(pid))?.startTime !== startTime)
      rmSync(join(root, name), { recursive: true, force: true });
  }
  return swept;
}

function draftsOf(root: string): string[] {
  return readdirIfThere(root).filter((name) => name.startsWith("."));
}

function readdirIfThere(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readOwner(folder: string): LabOwner | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, ownerFile), "utf8")) as LabOwner;
  } catch {
    // Being removed by its owner right now, or not a lab.
    return undefined;
  }
}
