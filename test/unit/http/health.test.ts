import { describe, expect, it } from 'vitest';
import type { Published } from '../../../src/agent/published.ts';
import { lsn } from '../../../src/core/lsn.ts';
import { nodeName } from '../../../src/core/store.ts';
import { instant } from '../../../src/core/time.ts';
import { isLive, isReady, type NodeHealth, passes, readSize } from '../../../src/http/health.ts';
import { readTarget } from '../../../src/http/target.ts';
import {
  aCluster,
  aConfig,
  aControl,
  aLeader,
  anApi,
  aPublished,
  NOW,
  primary,
  standby,
  threeMembers,
} from './builders.ts';

const node = (published: Published, over: Partial<NodeHealth> = {}): NodeHealth => ({
  published,
  now: NOW,
  writable: false,
  tags: {},
  ...over,
});
const check = (path: string, state: NodeHealth): boolean => passes(readTarget(path), state);

const leader = node(aLeader(), { writable: true });
const replica = node(aPublished());
const unloved = node(aPublished(), { tags: { noloadbalance: true } });
const starting = node(
  aPublished({ local: { kind: 'starting', since: 0 as never, asPrimary: false }, state: 'starting' }),
);
const promoting = node(aLeader({ local: standby() }));
const old = node(aPublished({ at: instant(NOW - 10_001) }));
const blind = node(aPublished({ clusterAt: instant(NOW - 10_000) }));

const leadsStandbys = (over: Partial<Published> = {}): NodeHealth =>
  node(
    aLeader({
      local: standby(),
      role: 'standby_leader',
      proofs: { count: 3, last: instant(NOW - 900) },
      ...over,
    }),
  );
const afar = leadsStandbys();
const unproven = leadsStandbys({ proofs: { count: 3, last: instant(NOW - 10_000) } });

/** Patroni's table: path, and who answers 200. */
const TABLE: readonly (readonly [string, { [who: string]: boolean }])[] = [
  ['/', { leader: true, replica: false, unloved: false, starting: false, promoting: false, old: false }],
  ['/primary', { afar: false, leader: true, replica: false, promoting: false, old: false }],
  ['/leader', { afar: true, unproven: false, leader: true, replica: false, promoting: false, old: false }],
  ['/read-write', { leader: true, replica: false, promoting: false }],
  ['/master', { leader: true, replica: false, promoting: false }],
  ['/primary/x', { leader: true, replica: false }],
  ['/standby-leader', { leader: false, replica: false, afar: true, unproven: false }],
  ['/standby_leader', { leader: false, replica: false, afar: true }],
  ['/replica', { afar: false, leader: false, replica: true, unloved: false, starting: false, old: false, blind: true }],
  ['/replica/', { replica: true }],
  ['/foo/replica', { replica: true }],
  ['/async', { leader: false, replica: true, unloved: false, starting: false, blind: false }],
  ['/asynchronous', { replica: true, blind: false }],
  ['/async/', { replica: false }],
  ['/read-only', { afar: true, leader: true, replica: true, unloved: false, starting: false, old: false }],
  ['/sync', { leader: false, replica: false }],
  ['/synchronous', { leader: false, replica: false }],
  ['/quorum', { leader: false, replica: false }],
  ['/read-only-sync', { leader: true, replica: false, blind: false }],
  ['/read-only-synchronous', { leader: true, replica: false }],
  ['/read-only-quorum', { leader: true, replica: false }],
  ['/health', { leader: true, replica: true, unloved: true, starting: false, promoting: true, old: false }],
  ['/unknown', { leader: false, replica: false }],
  ['/patroni', { leader: false, replica: false }],
];
const WHO: { readonly [who: string]: NodeHealth } = {
  leader,
  replica,
  unloved,
  starting,
  promoting,
  old,
  blind,
  afar,
  unproven,
};

describe('health checks', () => {
  for (const [path, row] of TABLE) {
    for (const [who, expected] of Object.entries(row)) {
      it(`${path} is ${expected ? 200 : 503} on the node that is ${who}`, () => {
        expect(check(path, WHO[who] as NodeHealth)).toBe(expected);
      });
    }
  }

  it('says primary only by what the agent calls writable, whatever else it knows', () => {
    expect(check('/primary', node(aLeader(), { writable: false }))).toBe(false);
  });

  it('takes a lag that is exactly the limit, and refuses one byte more', () => {
    expect(check('/replica?lag=96', replica)).toBe(true);
    expect(check('/replica?lag=95', replica)).toBe(false);
  });

  it('counts from where the upstream says that its WAL ends, where that is further: with etcd away nobody publishes', () => {
    const receiver = { ...standby().receiver, latestEnd: lsn(0x5000100) } as never;
    const told = node(aPublished({ local: standby({ receiver }) }));
    expect(check('/replica?lag=256', told)).toBe(true);
    expect(check('/replica?lag=255', told)).toBe(false);
  });

  it('limits nothing by a lag it cannot read, an empty one, or with an unknown leader position', () => {
    expect(check('/replica?lag=much', replica)).toBe(true);
    expect(check('/replica?lag=', replica)).toBe(true);
    const unknown = aPublished({ cluster: aCluster(threeMembers({ status: { optime: 0 } })) });
    expect(check('/replica?lag=1', node(unknown))).toBe(true);
  });

  it('lets the first of a repeated parameter count', () => {
    expect(check('/replica?lag=96&lag=1', replica)).toBe(true);
  });

  it('compares the replication state', () => {
    expect(check('/replica?replication_state=streaming', replica)).toBe(true);
    expect(
      check('/replica?replication_state=streaming', node(aPublished({ local: standby({ receiver: null }) }))),
    ).toBe(false);
  });

  it('filters by tags: text exactly, numbers and booleans in lower case, a missing one never', () => {
    const tagged = node(aPublished(), { tags: { region: 'eu1', clonefrom: true, weight: 1.4 } });
    expect(check('/replica?tag_region=eu1&tag_clonefrom=true&tag_weight=1.4', tagged)).toBe(true);
    expect(check('/replica?tag_clonefrom=True', tagged)).toBe(true);
    expect(check('/replica?tag_region=EU1', tagged)).toBe(false);
    expect(check('/health?tag_zone=a', tagged)).toBe(false);
    expect(check('/primary?tag_zone=a', leader)).toBe(true);
  });

  it('does not send readers to a standby whose check fails', () => {
    const failing = standby({ failing: { check: 'query', said: 'no answer in 1 s' } });
    expect(check('/replica', node(aPublished({ local: failing })))).toBe(false);
  });

  it('reads sizes with Patroni units', () => {
    expect([
      readSize('10'),
      readSize('1kB'),
      readSize('1.5MB'),
      readSize('2GB'),
      readSize('1mb'),
      readSize(''),
    ]).toEqual([10n, 1024n, 1_572_864n, 2_147_483_648n, null, null]);
  });
});

describe('probes', () => {
  const ready = (path: string, state: NodeHealth): boolean => isReady(readTarget(path), state);

  it('is live for a TTL beyond its next cycle as primary, for two as standby, and always in maintenance', () => {
    expect(isLive(node(aLeader({ at: instant(NOW - 11_999) })))).toBe(true);
    expect(isLive(node(aLeader({ at: instant(NOW - 12_000) })))).toBe(false);
    expect(isLive(node(aPublished({ at: instant(NOW - 21_999) })))).toBe(true);
    expect(isLive(node(aPublished({ at: instant(NOW - 22_000) })))).toBe(false);
    expect(isLive(node(aPublished({ at: instant(0), pause: true })))).toBe(true);
  });

  it('is ready when writable, or streaming and close enough', () => {
    expect(ready('/readiness', leader)).toBe(true);
    expect(ready('/readiness', replica)).toBe(true);
    expect(ready('/readiness?lag=95', replica)).toBe(false);
    expect(ready('/readiness?lag=95&mode=write', replica)).toBe(true);
    expect(ready('/readiness', node(aPublished({ local: standby({ receiver: null }) })))).toBe(false);
    const unknown = aPublished({ cluster: aCluster(threeMembers({ status: { optime: 0 } })) });
    expect(ready('/readiness', node(unknown))).toBe(false);
    const confirmed = { to: nodeName('a'), until: instant(NOW + 1) };
    expect(ready('/readiness', node({ ...unknown, confirmed }))).toBe(true);
    expect(ready('/readiness', node(aPublished({ local: standby({ replayed: lsn(1), received: lsn(1) }) })))).toBe(
      false,
    );
    expect(ready('/readiness', node(aPublished({ local: primary(), role: 'primary' })))).toBe(false);
  });
});

describe('health checks over HTTP', () => {
  it('answers GET, HEAD and OPTIONS alike, and only GET with a body', async () => {
    const app = anApi(aControl({ state: aLeader(), canWrite: true }));
    for (const url of ['/', '/primary', '/replica', '/foo', '//primary']) {
      const [get, head, options] = await Promise.all(
        (['GET', 'HEAD', 'OPTIONS'] as const).map((method) => app.inject({ method, url })),
      );
      expect(head?.statusCode).toBe(get?.statusCode);
      expect(options?.statusCode).toBe(get?.statusCode);
      expect(options?.body).toBe('');
      expect(head?.body).toBe('');
      expect(get?.json()).toMatchObject({ state: 'running', role: 'primary' });
    }
  });

  it('treats HEAD and OPTIONS of every other path as a health check that fails', async () => {
    const app = anApi(aControl({ state: aLeader(), canWrite: true }));
    for (const url of ['/patroni', '/cluster', '/metrics', '/liveness', '/config', '/%zz']) {
      expect((await app.inject({ method: 'HEAD', url })).statusCode).toBe(503);
      expect((await app.inject({ method: 'OPTIONS', url })).statusCode).toBe(503);
    }
  });

  it('never asks the agent to look or to read for a health check', async () => {
    const control = aControl({
      state: aLeader(),
      canWrite: true,
      readCluster: () => Promise.reject(new Error('must not be called')),
    });
    const app = anApi(control);
    expect((await app.inject('/primary')).statusCode).toBe(200);
    expect((await app.inject('/replica')).statusCode).toBe(503);
    expect(control.asked.looks).toBe(0);
  });

  it('answers 503 with the status for a path that nobody knows, also an undecodable one', async () => {
    const app = anApi(aControl(), aConfig());
    for (const url of ['/nothing', '/%zz']) {
      const answer = await app.inject({ method: 'GET', url });
      expect(answer.statusCode).toBe(503);
      expect(answer.json()).toHaveProperty('patroni.scope', 'demo');
    }
  });
});
