/** Whether the configured poolers would take part in a switchover, and what in their settings makes it longer. Pure. */
import type { PoolerFacts } from '../../../ports/examination.ts';
import type { Finding } from './finding.ts';

/** After a connection that was refused PgBouncer tries no other for so long, seconds. */
const RETRY = 2;

/** @param maxPause - seconds */
export function judgePooler(address: string, facts: PoolerFacts, maxPause: number): readonly Finding[] {
  const about = `pooler ${address}`;
  if (facts.kind === 'silent')
    return [
      {
        level: 'warning',
        about,
        said: `${facts.said}: it would be passed over, and its clients would see errors`,
        todo: 'see docs/pgbouncer.md: its address, admin_users and the password',
      },
    ];
  const said = (text: string, todo: string): Finding => ({ level: 'warning', about, said: text, todo });
  const { poolMode, serverLoginRetry, queryWaitTimeout } = facts;
  const findings: Finding[] = [];
  if (poolMode === 'session')
    findings.push(
      said(
        'pool_mode is session: a pause waits for sessions, and they are cut',
        'pool_mode = transaction, where clients allow it',
      ),
    );
  if (serverLoginRetry !== null && serverLoginRetry > RETRY)
    findings.push(
      said(
        `server_login_retry is ${serverLoginRetry} s: so long clients wait after one connection that was refused`,
        'server_login_retry = 1',
      ),
    );
  if (queryWaitTimeout !== null && queryWaitTimeout > 0 && queryWaitTimeout <= maxPause)
    findings.push(
      said(
        `query_wait_timeout is ${queryWaitTimeout} s: clients that are held back get an error after that, before max_pause (${maxPause} s)`,
        `query_wait_timeout = ${Math.max(120, 2 * maxPause)}`,
      ),
    );
  return findings.length > 0 ? findings : [{ level: 'ok', about, said: `PgBouncer ${facts.version} takes our login` }];
}
