/** The status page as it is sent: what a browser may do with it, what it is told, and that looking at it costs little. */
import { createHash } from 'node:crypto';
import { Script } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { Control } from '../../../src/agent/published.ts';
import type { ClusterEvent } from '../../../src/core/cluster-events.ts';
import { type Instant, instant, seconds } from '../../../src/core/time.ts';
import { CONTENT_SECURITY_POLICY, PAGE } from '../../../src/http/ui/page.ts';
import { SCRIPT } from '../../../src/http/ui/script.ts';
import { aCluster, aConfig, aControl, aLeader, anApi, aPublished, NOW, threeMembers } from './builders.ts';

const EVIL = '</script><img src=x onerror=alert(1)>"\'&\u202e';

const event = (over: Partial<ClusterEvent> = {}): ClusterEvent => ({
  time: '2026-11-20T10:00:00.000Z',
  node: 'a',
  nodeId: 1,
  event: 'standby_promote',
  ok: true,
  details: 'a was promoted.',
  primary: null,
  ...over,
});

const dataOf = async (control: Control): Promise<Record<string, unknown>> => {
  const answer = await anApi(control).inject('/ui/data');
  expect([answer.statusCode, answer.headers['content-type']]).toEqual([200, 'application/json']);
  return answer.json();
};

describe('the page', () => {
  it('is one text for everybody, also under /ui/, and nothing of the cluster stands in it', async () => {
    const hostile = aPublished({ cluster: aCluster(threeMembers({ [`members/${EVIL}`]: { state: EVIL } })) });
    for (const url of ['/ui', '/ui/', '/ui?x=<script>']) {
      const answer = await anApi(aControl({ state: hostile }), aConfig({ scope: EVIL })).inject(url);
      expect([url, answer.statusCode, answer.body === PAGE]).toEqual([url, 200, true]);
      expect(answer.headers['content-type']).toBe('text/html;charset=utf-8');
    }
  });

  it('lets a browser run its own script and style alone, and ask its own host alone', async () => {
    const { headers } = await anApi().inject('/ui');
    expect(headers['content-security-policy']).toBe(CONTENT_SECURITY_POLICY);
    for (const [tag, directive] of [
      ['script', 'script-src'],
      ['style', 'style-src'],
    ] as const) {
      const found = [...PAGE.matchAll(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`, 'g'))].map(([, text]) => text);
      expect(found).toHaveLength(1);
      const hash = createHash('sha256')
        .update(found[0] ?? '')
        .digest('base64');
      expect(CONTENT_SECURITY_POLICY).toContain(`${directive} 'sha256-${hash}'`);
    }
    expect(CONTENT_SECURITY_POLICY).toMatch(/^default-src 'none';.*connect-src 'self'/);
    expect(CONTENT_SECURITY_POLICY).not.toMatch(/unsafe|\*|https?:/);
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    });
    // No address of anybody, no handler in the markup, no style in it.
    expect(PAGE).not.toMatch(/(?:src|href|action)="(?!data:,")|\son[a-z]+="|\sstyle="|url\(|@import/);
  });

  it('has a script that is understood, and makes no markup of what it is told', () => {
    expect(() => new Script(`(async () => {${SCRIPT}})`)).not.toThrow();
    expect(SCRIPT).not.toMatch(
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|<\/script/i,
    );
    // All but a few: each look fetches only the data.
    expect(Buffer.byteLength(PAGE)).toBeLessThan(32 * 1024);
  });

  it('names only parts that are in the page', () => {
    for (const [, id] of SCRIPT.matchAll(/(?:byId|put)\('([a-z]+)'/g)) expect(PAGE).toContain(`id="${id}"`);
  });
});

describe('what it is told', () => {
  it('on a standby: members with their lags, the decision, the gate, the timelines, newest first', async () => {
    const cluster = aCluster(
      threeMembers({
        history: [
          [1, 100, 'no recovery target specified', '2026-11-19T00:00:00+00:00', 'b'],
          [2, 200, 'no recovery target specified', '2026-11-20T00:00:00+00:00', 'a'],
        ],
        sync: { leader: 'a', sync_standby: 'b' },
      }),
    );
    const data = await dataOf(aControl({ state: aPublished({ cluster }), readEvents: async () => told(event()) }));
    expect(data).toMatchObject({
      node: 'b',
      scope: 'demo',
      leader: 'a',
      holding: false,
      window_left_ms: null,
      gate_ms: 4_000,
      cluster_age_ms: 500,
      decision: { rule: 'standby.follow', reason: 'a leads.' },
      cluster: { members: [{ name: 'a', role: 'leader' }, { name: 'b', replay_lag: 96 }, { name: 'c' }] },
      sync: { voters: ['b'] },
      history: [{ timeline: 2, lsn: '0/C8', newLeader: 'a' }, { timeline: 1 }],
      events: [{ node: 'a', event: 'standby_promote' }],
      events_of_all: true,
      login: false,
    });
  });

  it('on the leader: what is left of its window', async () => {
    expect(await dataOf(aControl({ state: aLeader(), canWrite: true }))).toMatchObject({
      holding: true,
      writable: true,
      window_left_ms: 8_000,
      ttl_ms: 10_000,
    });
  });

  it('on a witness, and before etcd was ever read', async () => {
    const { policy } = aPublished();
    const witness = aPublished({
      local: { kind: 'stopped', cleanly: true } as never,
      policy: { ...policy, node: { ...policy.node, role: 'witness' } },
    });
    expect(await dataOf(aControl({ state: witness }))).toMatchObject({ node_role: 'witness', leader: 'a' });
    const starting = aPublished({ cluster: null, clusterAt: null, clusterAtWall: null, gate: null });
    expect(await dataOf(aControl({ state: starting }))).toMatchObject({
      cluster: null,
      leader: null,
      history: [],
      cluster_age_ms: null,
      gate_ms: null,
    });
  });

  it('with garbage in the keys: hostile texts stay texts, what cannot be read is named', async () => {
    const cluster = aCluster(
      threeMembers({
        [`members/${EVIL.replaceAll('/', '')}`]: { state: EVIL, tags: { [EVIL]: EVIL } },
        'pgha/last_takeover': '{"no',
        history: 'x',
      }),
    );
    const data = await dataOf(
      aControl({ state: aPublished({ cluster }), readEvents: async () => told(event({ details: EVIL, event: EVIL })) }),
    );
    expect(data['takeover']).toBeNull();
    expect(JSON.stringify(data['cluster'])).toContain('onerror');
    expect(data['events']).toMatchObject([{ details: EVIL }]);
    expect(data['not_understood']).toMatchObject([{ key: 'history' }]);
  });
});

const told = (...events: ClusterEvent[]): { events: readonly ClusterEvent[]; ofAll: boolean } => ({
  events,
  ofAll: true,
});

describe('what it costs', () => {
  it('etcd is asked for events once a cycle, and for nothing else, however many look', async () => {
    let now: Instant = NOW;
    let reads = 0;
    const control = aControl({
      now: () => now,
      readEvents: async () => {
        reads++;
        return told(event({ details: `read ${reads}` }));
      },
      readCluster: () => Promise.reject(new Error('asked')),
      look: () => Promise.reject(new Error('asked')),
    });
    const api = anApi(control);
    for (let i = 0; i < 20; i++) expect((await api.inject('/ui/data')).statusCode).toBe(200);
    expect(reads).toBe(1);
    now = instant(NOW + seconds(2));
    expect((await api.inject('/ui/data')).json()).toMatchObject({ events: [{ details: 'read 2' }] });
  });

  it('an etcd that does not answer is not waited for: the events known before are shown, with their age', async () => {
    let now: Instant = NOW;
    let answer = (): ReturnType<Control['readEvents']> =>
      Promise.resolve(told(event({ node: 'c' }), event({ node: 'b' })));
    const api = anApi(aControl({ now: () => now, readEvents: () => answer() }));
    await api.inject('/ui/data');
    now = instant(NOW + seconds(30));
    answer = () => new Promise(() => {});
    expect((await api.inject('/ui/data')).json()).toMatchObject({ events: [{ node: 'c' }, {}], events_age_ms: 30_000 });
    // What it knows of itself is added to what others had told.
    const away = anApi(aControl({ now: () => now, readEvents: () => answer() }));
    answer = () => Promise.resolve(told(event({ node: 'c' }), event({ node: 'b' })));
    await away.inject('/ui/data');
    now = instant(NOW + seconds(60));
    answer = async () => ({ events: [event({ node: 'b', time: '2026-11-20T11:00:00.000Z' })], ofAll: false });
    expect((await away.inject('/ui/data')).json()).toMatchObject({
      events: [{ node: 'b', time: '2026-11-20T11:00:00.000Z' }, { node: 'c' }],
      events_of_all: false,
    });
  });
});

describe('who logs in', () => {
  const authentication = { username: 'admin', password: 'secret' };
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });

  it('is told whether he may, without the question of a browser for a name', async () => {
    const config = aConfig({ restapi: { ...aConfig().restapi, authentication } });
    const api = anApi(aControl(), config);
    const login = (headers: Record<string, string>) => api.inject({ method: 'POST', url: '/ui/login', headers });
    expect((await login(basic('admin:secret'))).statusCode).toBe(200);
    const wrong = await login(basic('admin:wrong'));
    expect([wrong.statusCode, wrong.body, wrong.headers['www-authenticate']]).toEqual([
      401,
      'not authenticated',
      undefined,
    ]);
    expect((await api.inject('/ui/data')).json()).toMatchObject({ login: true });
  });

  it('reading is for everybody, or for those who log in, as with the other endpoints', async () => {
    const shut = anApi(aControl(), aConfig({ restapi: { ...aConfig().restapi, authentication, protectReads: true } }));
    for (const url of ['/ui', '/ui/', '/ui/data']) {
      const stranger = await shut.inject(url);
      expect([url, stranger.statusCode, stranger.headers['www-authenticate']]).toEqual([
        url,
        401,
        'Basic realm="Patroni"',
      ]);
      expect((await shut.inject({ url, headers: basic('admin:secret') })).statusCode).toBe(200);
    }
  });
});
