/** Whether a copy of the leader could be made onto this node: senders, slots, rights, room. Pure. */
import { printBytes } from '../../../config/units.ts';
import type { Finding, Judgement } from './finding.ts';

export interface CloneFacts {
  readonly replicationUser: string;
  /** null: there is no such role. */
  readonly mayReplicate: boolean | null;
  readonly walLevel: string;
  readonly maxWalSenders: number;
  readonly walSenders: number;
  readonly maxSlots: number;
  readonly slots: number;
  /** Bytes of all databases. */
  readonly size: number;
  /** Bytes that may still be written where the copy would go; null: nobody can say. */
  readonly free: number | null;
  /** null: the copy would go to another machine than this one. */
  readonly dataDirectory: string | null;
  /** 150004 */
  readonly version: number;
}

/** One connection for the files, and one for the WAL that is written meanwhile. */
const SENDERS_OF_A_COPY = 2;
/** With WAL of the time of the copy, and a little air. */
const GOOD_SHARE = 1.2;
const OLDEST = 120_000;

export function judgeClone(facts: CloneFacts): Judgement {
  const { size, free } = facts;
  return {
    findings: [...judgeServer(facts), judgeRights(facts), judgeRoom(facts)],
    figures: [
      { name: 'size', value: size, unit: 'B' },
      ...(free === null ? [] : [{ name: 'free', value: free, unit: 'B' as const }]),
    ],
  };
}

function judgeServer({ walLevel, maxWalSenders, walSenders, maxSlots, slots, version }: CloneFacts): Finding[] {
  const findings: Finding[] = [];
  const restart = 'pgha-ctl restart CLUSTER --pending';
  const senders = `${walSenders} of max_wal_senders ${maxWalSenders} are in use; a copy takes ${SENDERS_OF_A_COPY}`;
  if (maxWalSenders - walSenders < SENDERS_OF_A_COPY) {
    const todo = `pgha-ctl edit-config -p max_wal_senders=${walSenders + 2 * SENDERS_OF_A_COPY}; ${restart}`;
    findings.push({ level: 'critical', about: 'senders', said: senders, todo });
  } else findings.push({ level: 'ok', about: 'senders', said: senders });
  const said = `${slots} of max_replication_slots ${maxSlots} are in use`;
  if (slots >= maxSlots) {
    const todo = `pgha-ctl edit-config -p max_replication_slots=${slots + 5}; ${restart}`;
    findings.push({ level: 'warning', about: 'slots', said, todo });
  } else findings.push({ level: 'ok', about: 'slots', said });
  if (walLevel === 'minimal')
    findings.push({
      level: 'critical',
      about: 'wal_level',
      said: 'is minimal: a running server cannot be copied',
      todo: `pgha-ctl edit-config -p wal_level=replica; ${restart}`,
    });
  if (version < OLDEST)
    findings.push({
      level: 'critical',
      about: 'version',
      said: 'is older than PostgreSQL 12',
      todo: 'upgrade it first',
    });
  return findings;
}

function judgeRights({ replicationUser: user, mayReplicate }: CloneFacts): Finding {
  const about = 'rights';
  if (mayReplicate === true) return { level: 'ok', about, said: `${user} may replicate` };
  const name = `"${user.replaceAll('"', '""')}"`;
  if (mayReplicate === false)
    return {
      level: 'critical',
      about,
      said: `${user} may not replicate`,
      todo: `ALTER ROLE ${name} LOGIN REPLICATION;`,
    };
  return { level: 'critical', about, said: `there is no role ${user}`, todo: `CREATE ROLE ${name} LOGIN REPLICATION;` };
}

function judgeRoom({ size, free, dataDirectory }: CloneFacts): Finding {
  const about = 'room';
  if (dataDirectory === null)
    return {
      level: 'ok',
      about,
      said: `${amount(size)} would be copied; room is seen only on the machine itself: pgha-ctl check clone`,
    };
  if (free === null) return { level: 'unknown', about, said: `${dataDirectory} cannot be looked at by this user` };
  const said = `${amount(size)} would be copied; ${amount(free)} are free at ${dataDirectory}`;
  if (free < size)
    return { level: 'critical', about, said, todo: 'make room; what stands in the directory now is not counted' };
  if (free < size * GOOD_SHARE) return { level: 'warning', about, said: `${said}: little for the WAL of the meantime` };
  return { level: 'ok', about, said };
}

const amount = (bytes: number): string =>
  bytes < 2 ** 20
    ? printBytes(bytes)
    : bytes < 2 ** 30
      ? `${Math.round(bytes / 2 ** 20)} MB`
      : `${(bytes / 2 ** 30).toFixed(1)} GB`;
