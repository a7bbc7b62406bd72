/**
 * Who accepts writes while etcd, members or clients cannot be reached, with and without failsafe_mode: a world for each
 * cell of the table in docs/failsafe.md. test/scenarios/etcd-outages.txt holds what comes of it.
 */
import { planned } from '../scenarios/scenarios.ts';
import type { Fault } from './plan.ts';
import { runPlan } from './run.ts';

const LENGTH = 50_000;
/** Three TTLs after the fault: all windows and gates have passed, and elections are over. */
const LOOK_AT = 40_000;

const cut = (node: string, plane: 'daemon-etcd' | 'daemon-daemon' | 'client' | null): Fault => ({
  kind: 'cut',
  node,
  plane,
  oneWay: false,
  for: LENGTH,
});
const away: Fault = { kind: 'etcd-kill', member: 'all', for: LENGTH };
const hung = (member: 'leader' | 'follower'): Fault => ({ kind: 'etcd-freeze', member, for: LENGTH });

export const CELLS: readonly { readonly what: string; readonly faults: readonly Fault[] }[] = [
  { what: 'everything answers', faults: [] },
  { what: 'no clients reach the leader', faults: [cut('a', 'client')] },
  { what: 'the leader reaches etcd, and no member', faults: [cut('a', 'daemon-daemon')] },
  { what: 'one member does not reach etcd', faults: [cut('c', 'daemon-etcd')] },
  { what: 'the leader alone does not reach etcd', faults: [cut('a', 'daemon-etcd')] },
  { what: 'the same, and no clients reach it', faults: [cut('a', 'daemon-etcd'), cut('a', 'client')] },
  {
    what: 'the leader reaches neither etcd nor one member',
    faults: [cut('a', 'daemon-etcd'), cut('c', 'daemon-daemon')],
  },
  {
    what: 'the leader reaches neither etcd nor any member',
    faults: [cut('a', 'daemon-etcd'), cut('a', 'daemon-daemon')],
  },
  { what: 'the leader reaches nobody, and nobody reaches it', faults: [cut('a', null)] },
  { what: 'nobody reaches etcd', faults: [away] },
  { what: 'the same, and no clients reach the leader', faults: [away, cut('a', 'client')] },
  { what: 'nobody reaches etcd, and one member is not to be reached', faults: [away, cut('c', 'daemon-daemon')] },
  {
    what: 'nobody reaches etcd, and one member is off',
    faults: [away, { kind: 'power-loss', node: 'c', bootAfter: LENGTH }],
  },
  { what: 'nobody reaches etcd, and no member the leader', faults: [away, cut('a', 'daemon-daemon')] },
  { what: 'one member of etcd hangs', faults: [hung('follower')] },
  { what: "etcd's leader hangs", faults: [hung('leader')] },
  { what: 'etcd has lost its majority', faults: [hung('leader'), hung('follower')] },
  { what: 'etcd is out of space', faults: [{ kind: 'etcd-no-space', for: LENGTH }] },
  { what: 'etcd was wiped', faults: [{ kind: 'etcd-wipe' }] },
  { what: 'etcd was restored from a backup', faults: [{ kind: 'etcd-restore', ageMs: 5_000, newCluster: true }] },
];

async function outcome(faults: readonly Fault[], failsafe: boolean): Promise<string> {
  const plan = planned({
    faults: faults.map((fault) => ({ when: { at: 10_000 }, fault })),
    safetyMs: 75_000,
    livenessMs: 40_000,
    workload: { clients: 1, everyMs: 250 },
    etcdMembers: faults.some(({ kind }) => kind === 'etcd-freeze') ? 3 : 1,
    config: { failsafe_mode: failsafe },
  });
  const verdict = await runPlan(plan, { echo: null, until: null, lookAt: 10_000 + LOOK_AT });
  if (!verdict.ok) return `${verdict.invariant}: ${verdict.sentence}`;
  const names = verdict.writableThen.map((name) => (name === 'a' ? 'the leader' : 'another one'));
  const pause = verdict.longestPauseMs < 1_000 ? ', without a pause' : '';
  return `${names.length === 0 ? 'nobody' : names.join(' and ')}${pause}`;
}

export async function tellOutages(): Promise<string> {
  const lines: string[] = [];
  for (const { what, faults } of CELLS) {
    const cells = [what, await outcome(faults, false), await outcome(faults, true)];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return [
    'Who accepts writes 40 s after the fault (ttl 10). Without a pause: no client waits a second for a write, until all is well again.',
    '',
    '| | without failsafe_mode | with it |',
    '|---|---|---|',
    ...lines,
    '',
    'All invariants held.',
    '',
  ].join('\n');
}
