import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DecisionRecord } from '../../../src/core/decision-record.ts';
import { explain } from '../../../src/core/explain.ts';
import { explainDocument } from '../../../src/http/explain.ts';
import { aView, leads } from '../core/builders.ts';
import { aPublished, threeMembers } from '../http/builders.ts';
import { ctl, type World } from './fakes.ts';

const RECORD: DecisionRecord = {
  version: 1,
  kind: 'failover',
  node: 'a',
  term: '70',
  timeline: 2,
  lsn: '0/5000060',
  at: '2026-11-20T10:44:00.000Z',
  previous: 'old',
  previous_location: null,
  rule: 'leaderless.acquire',
  reason: 'ranking: a, b',
  release: null,
  loss: null,
  steps: [
    { after_ms: 0, rule: 'leaderless.at-the-gate', reason: 'the last leader may still be writing for up to 9 ms' },
    { after_ms: 11, rule: 'leaderless.acquire', reason: 'ranking: a, b' },
  ],
  seen: [{ by: 'b', ms_before: 10_020 }],
  members: [{ name: 'b', said: 'standby, running', timeline: 1, position: '0/5000000' }],
  ranking: [{ name: 'a', timeline: 1, position: '0/5000060', priority: 100, node_id: 1, location: 'default' }],
  phases: [
    { phase: 'hold of the last leader', planned_ms: 10_000, actual_ms: 10_000 },
    { phase: 'promotion', planned_ms: null, actual_ms: 44 },
  ],
  key_gone_ms: 5,
  judgement_ms: 36,
  followers: [{ name: 'b', after_ms: 410 }],
};

/** `a` leads, `b` follows, and `c` does not answer. */
const api: World['api'] = ({ url }) => {
  const host = new URL(url).hostname;
  if (host === '10.0.0.3') throw new Error('connect ECONNREFUSED');
  const explanation = host === '10.0.0.1' ? { ...explain(leads()), node: 'a' } : explain(aView());
  const document = explainDocument(
    {
      explanation: explanation as ReturnType<typeof explain>,
      lastTakeover: RECORD,
      mine: host === '10.0.0.1' ? RECORD : null,
    },
    aPublished(),
    'demo',
  );
  return { status: 200, text: JSON.stringify(document) };
};
const members = () => {
  const keys = threeMembers();
  keys['members/c'] = { ...(keys['members/c'] as object), api_url: 'http://10.0.0.3:8008/patroni' };
  return keys;
};

describe('pgha-ctl explain', () => {
  it('asks every member and prints a table and a sentence for each, and of a silent one what etcd says', async () => {
    const { out, code, calls } = await ctl({ clusters: { demo: members() }, api }, 'explain');
    expect(code).toBe(0);
    expect(calls.map(({ method, path }) => `${method} ${path}`)).toEqual(Array(3).fill('GET /pgha/explain'));
    expect(out.split('\n').slice(0, 7)).toEqual([
      '+ Cluster: demo -----------+--------------------+----+-----------+-----+----------+---------+',
      '| Member | Could lead      | Rule               | TL | Position  | Lag | Priority |  Window |',
      '+--------+-----------------+--------------------+----+-----------+-----+----------+---------+',
      '| a      | leads           | leading.primary    |  2 | 0/5000060 |   0 |      100 | 5000 ms |',
      '| b      | yes, at once    | leaderless.acquire |  2 | 0/5000060 |   0 |      100 |         |',
      '| c      | does not answer |                    |    |           |     |          |         |',
      '+--------+-----------------+--------------------+----+-----------+-----+----------+---------+',
    ]);
    expect(out).toMatch(/^- a leads in term 40.*by leaderless\.acquire/m);
    expect(out).toMatch(/^- b would take the key at once if a vanished/m);
    expect(out).toMatch(/^- c does not answer: .*ECONNREFUSED.* In etcd it is replica, starting, timeline unknown/m);
  });

  it('prints the same for programs', async () => {
    const { out } = await ctl({ clusters: { demo: members() }, api }, 'explain', '--format', 'json');
    const { cluster, leader, members: said } = JSON.parse(out);
    expect([cluster, leader]).toEqual(['demo', 'a']);
    expect(said.map((one: { node: string; answered: boolean }) => [one.node, one.answered])).toEqual([
      ['a', true],
      ['b', true],
      ['c', false],
    ]);
    expect(said[1]).toMatchObject({ could_lead: true, rule: 'leaderless.acquire' });
    const yaml = await ctl({ clusters: { demo: members() }, api }, 'explain', '--format', 'yaml');
    expect(yaml.out).toContain('rule: leaderless.acquire');
  });

  it('takes the health document of a Patroni member for no explanation', async () => {
    const patroni: World['api'] = () => ({ status: 200, text: '{"state":"running","role":"replica"}' });
    const { out, code } = await ctl({ clusters: { demo: members() }, api: patroni }, 'explain');
    expect(code).toBe(0);
    expect(out).toContain('it runs no pgha that can explain itself (HTTP 200)');
  });

  it.each([
    ['HTML', '<html></html>'],
    ['a list', '[]'],
    ['numbers that are none', '{"node":"b","sentence":"s","verdict":"no","rule":"r","numbers":null}'],
    ['a list for numbers, an object for a verdict', '{"node":"b","sentence":"s","verdict":{},"rule":1,"numbers":[]}'],
  ])('takes garbage of one member for no explanation, and shows the others: %s', async (_what, text) => {
    const garbage: World['api'] = (call) =>
      new URL(call.url).hostname === '10.0.0.2' ? { status: 200, text } : api(call);
    const { out, code } = await ctl({ clusters: { demo: members() }, api: garbage }, 'explain');
    expect(code).toBe(0);
    expect(out).toMatch(/^- a leads in term 40/m);
    expect(out).toContain('- b does not answer: it runs no pgha that can explain itself (HTTP 200)');
  });

  it('shows what another version says as far as it is understood, and lets nothing of it steer the terminal', async () => {
    const document = {
      node: 'b',
      sentence: 'b\u001b[2J says\u009b so',
      verdict: 'toString',
      rule: 'new.rule\u001b[31m',
      numbers: { timeline: {} },
    };
    const newer: World['api'] = (call) =>
      new URL(call.url).hostname === '10.0.0.2' ? { status: 200, text: JSON.stringify(document) } : api(call);
    const { out, code } = await ctl({ clusters: { demo: members() }, api: newer }, 'explain');
    expect(code).toBe(0);
    expect(out).toContain('- b?[2J says? so');
    expect(out).toMatch(/\| b +\| toString +\| new\.rule\?\[31m/);
  });

  it('does not take the answer of another member for his at whose address it came', async () => {
    const moved: World['api'] = (call) => api({ ...call, url: call.url.replace('10.0.0.2', '10.0.0.1') });
    const { out } = await ctl({ clusters: { demo: members() }, api: moved }, 'explain');
    expect(out).toContain('- b does not answer: a answers at its address.');
  });

  it('names a leader that has the key and no member key', async () => {
    const keys = members();
    keys['leader'] = 'gone';
    const { out } = await ctl({ clusters: { demo: keys }, api }, 'explain');
    expect(out).toContain('- gone does not answer: it has the leader key and no member key.');
  });

  it('fails for a cluster that does not exist', async () => {
    expect(await ctl({ clusters: {} }, 'explain')).toMatchObject({
      code: 1,
      err: 'Error: There is no cluster demo in etcd.',
    });
  });
});

describe('pgha-ctl explain --last', () => {
  it('prints the story of the last takeover from etcd, without asking anybody', async () => {
    const keys = { ...members(), 'pgha/last_takeover': RECORD };
    const { out, code, calls } = await ctl({ clusters: { demo: keys } }, 'explain', '--last');
    expect([code, calls]).toEqual([0, []]);
    expect(out).toContain(
      'a took over from old, done at 2026-11-20T10:44:00.000Z: the hold of the last leader had run out (term 70, timeline 2 from 0/5000060).',
    );
    expect(out).toContain('Last seen alive: by b 10020 ms before the key was taken.');
    expect(out).toMatch(/^ +11 ms {2}leaderless\.acquire: ranking: a, b$/m);
    expect(out).toMatch(/\| hold of the last leader \|\s+10000 ms \| 10000 ms \|/);
    expect(out).toMatch(/\| promotion\s+\| as Postgres takes \|\s+44 ms \|/);
    expect(out).toContain('From the open gate to the promotion being sent: 36 ms.');
    expect(out).toContain('Followers: b streamed after 410 ms.');
  });

  it('prints the record itself for programs', async () => {
    const keys = { ...members(), 'pgha/last_takeover': RECORD };
    const { out } = await ctl({ clusters: { demo: keys } }, 'explain', '--last', '--format', 'json');
    expect(JSON.parse(out)).toEqual(RECORD);
  });

  it('asks the leader when etcd does not have it, or has garbage', async () => {
    const keys = { ...members(), 'pgha/last_takeover': '{' };
    const { out } = await ctl({ clusters: { demo: keys }, api }, 'explain', '--last');
    expect(out).toContain('a took over from old');
  });

  it.each([
    ['HTML', '<html></html>'],
    ['null', 'null'],
    ['lists of nothing', { ...RECORD, seen: [null], ranking: ['x'] }],
    ['numbers for texts', { ...RECORD, reason: 7 }],
  ])('says that none is on record where etcd has garbage and no leader helps: %s', async (_what, garbage) => {
    const keys = { ...members(), 'pgha/last_takeover': garbage } as ReturnType<typeof members>;
    const { code, err } = await ctl({ clusters: { demo: keys } }, 'explain', '--last');
    expect([code, err]).toEqual([1, expect.stringContaining('No takeover of cluster demo is on record')]);
  });

  it('prints what it understands of a record that says less', async () => {
    const { release: _r, judgement_ms: _j, timeline: _t, previous: _p, ...less } = RECORD;
    const keys = { ...members(), 'pgha/last_takeover': { ...less, kind: 'constructor' } };
    const { code, out } = await ctl({ clusters: { demo: keys } }, 'explain', '--last');
    expect(code).toBe(0);
    expect(out).toContain('a took over, done at 2026-11-20T10:44:00.000Z: constructor (term 70)');
    expect(out).not.toContain('undefined');
  });

  it('says so when there was none', async () => {
    const { code, err } = await ctl({ clusters: { demo: members() } }, 'explain', '--last');
    expect([code, err]).toEqual([1, expect.stringContaining('No takeover of cluster demo is on record')]);
  });
});

describe('pgha-ctl explain --budget', () => {
  it('prints what each failure costs by the settings in etcd', async () => {
    const keys = threeMembers({ config: { ttl: 30, loop_wait: 10, retry_timeout: 10 } });
    const { out, code } = await ctl({ clusters: { demo: keys } }, 'explain', '--budget');
    expect(code).toBe(0);
    expect(out).toContain("The primary's node is lost: no writes for 30 s, at worst ");
    expect(out).toContain('the hold of the last beat runs out: ttl 30 s');
    expect(out).toContain('The daemon dies, Postgres and the guard live: writes go on');
  });

  it('prints the phases for programs', async () => {
    const { out } = await ctl({ clusters: { demo: members() } }, 'explain', '--budget', '--format', 'json');
    const { failures } = JSON.parse(out);
    expect(failures.map((one: { failure: string }) => one.failure)).toContain('switchover');
  });

  it('says which setting was adjusted, because it could not hold', async () => {
    const keys = threeMembers({ config: { ttl: 10, connection_check_timeout: 20 } });
    const { out } = await ctl({ clusters: { demo: keys } }, 'explain', '--budget');
    expect(out).toMatch(/Adjusted: connection_check_timeout 20 s .* Running with 6\.8 s/);
  });

  it('reads a file instead, without etcd, and refuses what cannot hold', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-explain-'));
    try {
      const file = join(directory, 'pgha.yml');
      const write = (dcs: string): void =>
        writeFileSync(
          file,
          [
            'scope: demo',
            'name: a',
            'etcd3: { host: "127.0.0.1:2379" }',
            'restapi: { listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008" }',
            'postgresql:',
            '  listen: "127.0.0.1:5432"',
            '  connect_address: "127.0.0.1:5432"',
            `  data_dir: ${directory}/data`,
            '  authentication: { superuser: { username: postgres }, replication: { username: replicator } }',
            `bootstrap: { dcs: ${dcs} }`,
          ].join('\n'),
        );
      write('{ ttl: 20 }');
      const good = await ctl({ clusters: {} }, 'explain', '--budget', '--config', file);
      expect({ code: good.code, err: good.err }).toEqual({ code: 0, err: '' });
      expect(good.out).toContain('ttl 20 s');
      write('{ ttl: 10, connection_check_timeout: 9 }');
      const bad = await ctl({ clusters: {} }, 'explain', '--budget', '--config', file);
      expect(bad.code).toBe(1);
      expect(bad.err).toContain('would use up the whole window');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('is what --config is for', async () => {
    expect((await ctl({ clusters: { demo: members() }, api }, 'explain', '--config', '/dev/null')).code).toBe(2);
  });

  it('is not asked together with --last', async () => {
    expect((await ctl({ clusters: {} }, 'explain', '--budget', '--last')).code).toBe(2);
  });
});
