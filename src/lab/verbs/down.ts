/** `warren lab down`: asks a lab's owner to remove it, or removes what a dead owner left. */
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../lib/errors.ts";
import { LabClient } from "../client.ts";
import { isRunning } from "../machine/process-identity.ts";
import { type FoundLab, findLabs, removeLab, sweepLabs } from "../machine/state-folder.ts";
import { chooseLab, stateRoot } from "./choose.ts";

/** An owner that was asked has this long; then it is killed and the lab removed from here. */
const patienceMs = 15_000;

export async function downNamed(name: string | undefined, say: (line: string) => void): Promise<void> {
  await downOne(chooseLab(findLabs(stateRoot()), name), say);
}

/** Every lab that was left running, and the remains of dead ones. Tests and demos under way are left alone. */
export async function downAll(say: (line: string) => void): Promise<void> {
  const root = stateRoot();
  for (const id of await sweepLabs(root)) say(`lab ${id}: its owner was dead; removed`);
  for (const lab of findLabs(root)) await downOne(lab, say);
}

async function downOne(lab: FoundLab, say: (line: string) => void): Promise<void> {
  if (lab.alive && !(await asked(lab, say))) return;
  const deadline = Date.now() + patienceMs;
  while (isRunning(lab.owner.process) && isThere(lab) && Date.now() < deadline) await delay(20);
  if (isThere(lab)) {
    if (isRunning(lab.owner.process)) process.kill(lab.owner.process.pid, "SIGKILL");
    await removeLab(lab);
  }
  say(`lab ${lab.id}: removed`);
}

/** True when the lab goes, now or by force. */
async function asked(lab: FoundLab, say: (line: string) => void): Promise<boolean> {
  try {
    if (await new LabClient(lab).down()) return true;
    say(`lab ${lab.id}: left alone, process ${lab.owner.process.pid} uses it and removes it itself`);
    return false;
  } catch (error) {
    if (!isThere(lab)) return true;
    say(`lab ${lab.id}: ${messageOf(error)}`);
    return lab.owner.kind === "supervisor";
  }
}

/** Until the folder itself is gone; another lab that took the name meanwhile does not count. */
function isThere({ id, folder, owner }: FoundLab): boolean {
  const now = findLabs(stateRoot()).find((lab) => lab.id === id);
  return now === undefined ? existsSync(folder) : now.owner.createdAt === owner.createdAt;
}
