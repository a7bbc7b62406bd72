/**
 * Whether a running Postgres is out of recovery, told from its files because nobody is there to ask it (rule 22). This
 * is the one place where the guard looks at the data disk: asynchronously, with a limit, and only while it is not armed.
 */
import { access, open } from 'node:fs/promises';
import { endianness } from 'node:os';

/** pg_control (src/include/catalog/pg_control.h): system identifier (8), two versions (4 + 4), then the state. */
const STATE_OFFSET = 16;
const STANDBY_STATES = new Set([0, 1, 2, 5]);

export type RecoveryState = 'in-recovery' | 'out-of-recovery' | 'unknown';

/**
 * `out-of-recovery` only when both signs agree: no signal file, and a control file that says production, crash
 * recovery or shutting down. Crash recovery without a signal file ends in production.
 */
export async function recoveryStateOf(dataDirectory: string, limitMs: number): Promise<RecoveryState> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<RecoveryState>((resolve) => {
    timer = setTimeout(() => resolve('unknown'), limitMs);
  });
  const state = await Promise.race([fromFiles(dataDirectory).catch((): RecoveryState => 'unknown'), limit]);
  clearTimeout(timer);
  return state;
}

async function fromFiles(dataDirectory: string): Promise<RecoveryState> {
  for (const signal of ['standby.signal', 'recovery.signal']) {
    if (await exists(`${dataDirectory}/${signal}`)) return 'in-recovery';
  }
  const file = await open(`${dataDirectory}/global/pg_control`, 'r');
  try {
    const head = Buffer.alloc(STATE_OFFSET + 4);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    if (bytesRead < head.length) return 'unknown';
    const state = endianness() === 'LE' ? head.readUInt32LE(STATE_OFFSET) : head.readUInt32BE(STATE_OFFSET);
    return STANDBY_STATES.has(state) ? 'in-recovery' : 'out-of-recovery';
  } finally {
    await file.close();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
