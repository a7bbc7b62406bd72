/** What others read of this node: Patroni's words, byte for byte where its members and tools look. */
import { describe, expect, it } from 'vitest';
import { type MemberFacts, patroniRole, patroniState, writeMember } from '../../../src/agent/member-key.ts';
import type { AgentSettings } from '../../../src/agent/parts.ts';
import { readCluster } from '../../../src/core/cluster.ts';
import type { LocalPostgres } from '../../../src/core/local.ts';
import { timeline } from '../../../src/core/lsn.ts';
import { nodeName, revision } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import type { Leadership } from '../../../src/core/view.ts';
import {
  aNode,
  aPrimary,
  aSilent,
  aStandby,
  aStopped,
  at,
  before,
  FAILING,
  holding,
  isStarting,
  NOW,
} from '../core/builders.ts';

const settings = {
  apiUrl: 'http://127.0.0.1:18001/patroni',
  connUrl: 'postgres://127.0.0.1:15431/postgres',
  tags: { region: 'eu1' },
  guardMode: 'on',
} as unknown as AgentSettings;

const facts = (over: Partial<MemberFacts> = {}): MemberFacts => ({
  settings,
  local: aStandby({ timeline: timeline(1) }),
  leadership: { kind: 'none' },
  ailments: [],
  operation: null,
  node: aNode('b', { nodeId: 2 }),
  pause: false,
  leavesSyncSet: false,
  scheduledRestart: null,
  receivesFrom: null,
  dataDirectory: null,
  sawPrimaryAt: null,
  now: NOW,
  ...over,
});
const written = (over: Partial<MemberFacts> = {}): Record<string, unknown> =>
  JSON.parse(writeMember(facts(over))) as Record<string, unknown>;

describe("a member's key", () => {
  it('of a witness says so in state and role, and tells nothing of a Postgres', () => {
    const witness = { ...settings, connUrl: null, guardMode: 'off' } as AgentSettings;
    const node = aNode('w', { role: 'witness', noFailover: true, priority: 0 });
    const key = written({ settings: witness, node, local: { kind: 'absent' } });
    expect(key).toMatchObject({ state: 'witness', role: 'witness', pgha: { role: 'witness', guard: 'off' } });
    for (const name of ['conn_url', 'xlog_location', 'timeline', 'replication_state'])
      expect(key).not.toHaveProperty(name);
  });

  it('tells of a restart that is scheduled, with the postmaster that is meant', () => {
    const postmasterStart = '2026-11-20 10:44:00.123456+00:00';
    const at = '2030-01-01T10:00:00+00:00';
    const plan = { at, role: null, below: '15.19', timeout: null, onlyIfPending: false, postmasterStart };
    expect(written({ scheduledRestart: plan })).toMatchObject({
      scheduled_restart: { schedule: at, postgres_version: '15.19', postmaster_start_time: postmasterStart },
    });
    expect(written()).not.toHaveProperty('scheduled_restart');
  });

  it('says how a standby gets its WAL: by streaming, from an archive, or not at all', () => {
    const state = (over: Parameters<typeof aStandby>[0]): unknown =>
      written({ local: aStandby(over) })['replication_state'];
    expect(state({})).toBe('streaming');
    expect(state({ receiver: null, restores: true })).toBe('in archive recovery');
    expect(state({ receiver: null })).toBeUndefined();
    expect(state({ failing: FAILING })).toBeUndefined();
  });

  it('names the member that a standby was told to follow, and the one that it receives from', () => {
    const node = aNode('b', { upstream: nodeName('c') });
    const extras = written({ node, receivesFrom: nodeName('a') })['pgha'];
    expect(extras).toMatchObject({ upstream: 'c', receives_from: 'a' });
  });

  it('does not say that a standby streams which does not answer', () => {
    expect(written({ local: aStandby({ failing: FAILING }) })).not.toHaveProperty('replication_state');
  });

  it('is what Patroni would write, with our own object at its end', () => {
    const value = writeMember(facts());
    expect(value).toBe(
      '{"conn_url":"postgres://127.0.0.1:15431/postgres","api_url":"http://127.0.0.1:18001/patroni","state":"running","role":"replica","version":"4.1.4","tags":{"region":"eu1"},"xlog_location":83886176,"receive_lsn":83886176,"replay_lsn":83886176,"replication_state":"streaming","timeline":1,"pgha":{"version":"0.1.0","node_id":2,"priority":100,"location":"default","saw_primary_ms":null,"guard":"on"}}',
    );
  });

  it('reads back as it was written', () => {
    const value = writeMember(facts({ sawPrimaryAt: before(120) }));
    const entry = { key: 'members/b', value, createRevision: revision(1), modRevision: revision(1), lease: null };
    const [member] = readCluster([entry], { clusterId: 'one', raftTerm: 2n, revision: revision(1) }).members;
    expect(member).toMatchObject({
      name: 'b',
      host: '127.0.0.1',
      port: 15431,
      timeline: 1,
      xlogLocation: 0x5000060n,
      checkpointed: true,
      pgha: { nodeId: 2, sawPrimary: 120, guard: 'on' },
    });
  });

  it('gives the larger of received and replayed for a position', () => {
    const local = aStandby({ received: at('0/0'), replayed: at('0/5000060') });
    expect(written({ local })).toMatchObject({ xlog_location: 83886176, receive_lsn: 0 });
  });

  it('gives only the flush position of a primary', () => {
    const value = written({ local: aPrimary(), leadership: holding() });
    expect(value).toMatchObject({ role: 'primary', xlog_location: 83886176 });
    expect(value).not.toHaveProperty('receive_lsn');
    expect(value).not.toHaveProperty('checkpoint_after_promote');
  });

  it('says that a primary has not done its first checkpoint, so that nobody rewinds from it', () => {
    expect(written({ local: aPrimary({ checkpointed: false }) })['checkpoint_after_promote']).toBe(false);
  });

  it('gives no position of a Postgres that does not run', () => {
    const value = written({ local: aStopped() });
    for (const field of ['xlog_location', 'timeline', 'receive_lsn', 'replication_state'])
      expect(value).not.toHaveProperty(field);
  });

  it('says pause, and settings that wait for a restart, only when there are some', () => {
    expect(written()).not.toHaveProperty('pause');
    expect(written()).not.toHaveProperty('pending_restart');
    const local = aPrimary({ pendingRestart: [{ name: 'max_connections', from: '100', to: '200' }] });
    expect(written({ pause: true, local })).toMatchObject({
      pause: true,
      pending_restart: true,
      pending_restart_reason: { max_connections: { old_value: '100', new_value: '200' } },
    });
  });

  it('leaves empty tags out', () => {
    expect(written({ settings: { ...settings, tags: {} } })).not.toHaveProperty('tags');
  });
});

const none: Leadership = { kind: 'none' };
const running = (kind: string) => ({ kind, since: NOW, sentence: '', fraction: null });

describe('state and role', () => {
  const rows: readonly [string, LocalPostgres, string, string][] = [
    ['a primary', aPrimary(), 'running', 'primary'],
    ['a standby', aStandby(), 'running', 'replica'],
    ['one that starts as a primary', isStarting(true), 'starting', 'primary'],
    ['one that starts as a standby', isStarting(false), 'starting', 'replica'],
    ['one that stops', { kind: 'stopping', since: millis(1) }, 'stopping', 'replica'],
    ['an ex-primary that crashed', aStopped(), 'crashed', 'demoted'],
    ['a standby that was shut down', aStopped({ cleanly: true, wasPrimary: false }), 'stopped', 'replica'],
    ['a node without data', { kind: 'absent' }, 'stopped', 'uninitialized'],
    ['a copy that did not end', { kind: 'half-made', by: 'copy' }, 'stopped', 'uninitialized'],
    ['one that does not answer', aSilent(), 'unknown', 'replica'],
    ['orphans', { kind: 'orphans', processes: 1 }, 'crashed', 'replica'],
  ];

  it.each(rows)('of %s', (_who, local, state, role) => {
    expect(patroniState(local, null)).toBe(state);
    expect(patroniRole(local, none)).toBe(role);
  });

  it('of a leader whose Postgres is down is still primary', () => {
    expect(patroniRole(aStopped(), holding())).toBe('primary');
  });

  it('names what takes long', () => {
    expect(patroniState({ kind: 'absent' }, running('bootstrap'))).toBe('initializing new cluster');
    expect(patroniState({ kind: 'half-made', by: 'copy' }, running('copy'))).toBe('creating replica');
    expect(patroniState(aPrimary(), running('restart'))).toBe('restarting');
    expect(patroniState(aPrimary(), running('rescue'))).toBe('running');
  });
});
