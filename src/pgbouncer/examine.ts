/** One look at a PgBouncer for `pgha-ctl check`: whether its console lets us in, and the settings that a pause rests on. */
import { hostOf } from '../core/poolers.ts';
import type { Millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { PoolerFacts } from '../ports/examination.ts';
import { AdminConsole, type ConsoleLogin } from './console.ts';

/** Never throws. */
export async function examinePooler(
  clock: Clock,
  login: ConsoleLogin,
  address: string,
  limit: Millis,
): Promise<PoolerFacts> {
  const at = { host: hostOf(address), port: Number(address.slice(address.lastIndexOf(':') + 1)) };
  try {
    const console = await AdminConsole.open(clock, at, login, limit);
    try {
      const rows = await console.show('CONFIG', limit);
      const value = (key: string): string | null => {
        const found = rows.find((row) => row['key'] === key)?.['value'];
        return found === undefined ? null : String(found);
      };
      const number = (key: string): number | null => {
        const text = value(key);
        return text === null || Number.isNaN(Number(text)) ? null : Number(text);
      };
      const [first] = await console.show('VERSION', limit);
      return {
        kind: 'answered',
        version: /[\d.]+/.exec(String(first?.['version'] ?? ''))?.[0] ?? '?',
        poolMode: value('pool_mode'),
        serverLoginRetry: number('server_login_retry'),
        queryWaitTimeout: number('query_wait_timeout'),
      };
    } finally {
      console.close();
    }
  } catch (error) {
    return { kind: 'silent', said: error instanceof Error ? error.message : String(error) };
  }
}
