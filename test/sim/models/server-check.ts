/** What a simulated server says when another node asks whether it is there; for nodes with a Postgres and witnesses. */
import type { CheckType } from '../../../src/core/policy.ts';
import type { Millis } from '../../../src/core/time.ts';
import type { ServerCheck } from '../../../src/ports/postgres.ts';
import type { Incarnation } from '../world/incarnation.ts';
import type { PostgresServer } from './postgres-server.ts';

/** @param of - null: its machine is off */
export async function checkSimulatedServer(
  process: Incarnation,
  from: string,
  of: PostgresServer | null,
  type: CheckType,
  limit: Millis,
): Promise<ServerCheck> {
  const wait = (ms: number): Promise<void> => process.answer(ms, () => undefined);
  const silent = async (): Promise<ServerCheck> => {
    await wait(Math.max(0, limit));
    return { kind: 'silent', said: 'no answer in time' };
  };
  if (of === null || !of.network.connects('replication', from, of.name)) return silent();
  await wait(of.random.between(0.3, 2.5));
  const { processes } = of;
  if (processes.kind === 'none' || processes.kind === 'orphans') return { kind: 'refused', said: 'nobody listens' };
  if (of.hung) return silent();
  if (processes.kind !== 'running') return { kind: 'not-ready', said: `it is ${processes.kind}` };
  return { kind: 'alive', inRecovery: type === 'ping' ? null : processes.recovery, said: null };
}
