/**
 * Puts `synchronous_standby_names` in force. It stands in a file of its own, `pgha-sync.conf`, because it changes alone
 * and often. Whom to wait for is decided elsewhere (core/quorum.ts).
 */
import { join } from 'node:path';
import type { Acknowledging, SyncMode } from '../core/quorum.ts';
import { type Millis, millis } from '../core/time.ts';
import { writeIfDifferent } from './durable-file.ts';
import type { Place } from './place.ts';
import { type RunningServer, reload } from './recovery.ts';
import { configDirectory, HEADER, quoteSetting, removeOursFromAutoConf, SYNC_FILE } from './server-config.ts';
import { BLOCKED_NAME, printNames } from './sync-names.ts';

const ASK_LIMIT: Millis = millis(1_000);
const POLL_EVERY: Millis = millis(5);
/** A process that has been idle for so long since a reload has read its settings. */
const IDLE_FOR: Millis = millis(50);

/** @param acknowledging - null: what the operator's own configuration says */
export async function writeAcknowledging(
  place: Place,
  acknowledging: Acknowledging | null,
  mode: SyncMode = 'on',
): Promise<{ readonly changed: boolean }> {
  const line =
    acknowledging === null ? '' : `synchronous_standby_names = ${quoteSetting(printNames(acknowledging, mode))}\n`;
  // ALTER SYSTEM would win over it.
  const auto = acknowledging === null ? false : await removeOursFromAutoConf(place, true);
  const changed = await writeIfDifferent(place, join(configDirectory(place), SYNC_FILE), `${HEADER}${line}`);
  return { changed: changed || auto };
}

/** Of a standby, or of a server that is about to start: until it leads and is told for whom, no commit is acknowledged. */
export const writeBlocked = (place: Place, synchronous: boolean): Promise<{ readonly changed: boolean }> =>
  writeAcknowledging(place, synchronous ? { kind: 'blocked' } : null);

/**
 * Before a promotion: no commit will be acknowledged. Whether sessions wait at all is a flag in shared memory that the
 * checkpointer sets when it reads the settings, and it may be busy: it is waited for, or sessions of the new primary
 * would not wait although the setting says so.
 *
 * @param startedBlocked - the server was started so: the flag was set before anybody could connect
 * @throws when it cannot be made certain before `signal`
 */
export async function blockCommits(server: RunningServer, startedBlocked: boolean, signal: AbortSignal): Promise<void> {
  const { place } = server;
  const { clock } = place;
  const look = async (): Promise<{ readonly names: string; readonly idle: boolean }> => {
    const [row] = await server.ask(
      `SELECT pg_catalog.current_setting('synchronous_standby_names') AS names,
              coalesce((SELECT wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay')
                          FROM pg_catalog.pg_stat_activity WHERE backend_type = 'checkpointer' LIMIT 1), false) AS idle`,
      ASK_LIMIT,
    );
    return { names: String(row?.['names'] ?? ''), idle: row?.['idle'] === true };
  };
  const before = await look();
  const { changed } = await writeBlocked(place, true);
  if (!changed && before.names === BLOCKED_NAME && (startedBlocked || before.idle)) return;
  reload(place);
  const since = clock.now();
  for (;;) {
    signal.throwIfAborted();
    const now = await look();
    if (now.names === BLOCKED_NAME && now.idle && clock.now() - since >= IDLE_FOR) return;
    await clock.sleep(POLL_EVERY);
  }
}
