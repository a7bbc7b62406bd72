import { describe, expect, it } from 'vitest';
import type { NodeExplanation } from '../../../src/agent/published.ts';
import type { DecisionRecord } from '../../../src/core/decision-record.ts';
import { explain } from '../../../src/core/explain.ts';
import { aPeer, aView, leads, peers, seeks } from '../core/builders.ts';
import { aControl, aLeader, anApi } from './builders.ts';

const record = {
  version: 1,
  kind: 'failover',
  node: 'b',
  rule: 'leaderless.acquire',
  reason: 'ranking: b',
  at: '2026-11-20T10:44:00.000Z',
} as DecisionRecord;

const says = (said: NodeExplanation) => aControl({ explain: async () => said });

describe('GET /pgha/explain', () => {
  it('says of a standby whether it could lead, by which rule, and with which numbers', async () => {
    const explanation = explain(aView({ peers: peers({ a: aPeer('a'), c: aPeer('c', { priority: 200 }) }) }));
    const answer = await anApi(says({ explanation, lastTakeover: record, mine: null })).inject('/pgha/explain');
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.json()).toMatchObject({
      node: 'b',
      scope: 'demo',
      could_lead: true,
      verdict: 'after-others',
      rule: 'leaderless.stand-back',
      without: 'a',
      current: { situation: 'following', rule: 'following.streaming' },
      leadership: null,
      upstream: '10.0.0.1:5432',
      numbers: { timeline: 2, position: '0/5000060', lag_bytes: 0, maximum_lag_bytes: 1_048_576, priority: 100 },
      last_takeover: { node: 'b', rule: 'leaderless.acquire' },
    });
    expect(answer.json().sentence).toContain('could lead if a vanished and its hold had run out');
  });

  it('says of a leader its term, its window, and how it came to lead', async () => {
    const control = aControl({
      state: aLeader(),
      explain: async () => ({ explanation: explain(leads()), lastTakeover: record, mine: record }),
    });
    const body = (await anApi(control).inject('/pgha/explain')).json();
    expect(body).toMatchObject({
      verdict: 'leads',
      could_lead: true,
      upstream: null,
      leadership: {
        term: '40',
        window_open: true,
        window_left_ms: 6_000,
        guard_strikes_in_ms: 5_000,
        taken_by: { kind: 'failover', rule: 'leaderless.acquire', at: '2026-11-20T10:44:00.000Z' },
      },
    });
  });

  it('says what was considered and not done', async () => {
    const explanation = explain(seeks({ set: { failover: 'manual' } }));
    const body = (await anApi(says({ explanation, lastTakeover: null, mine: null })).inject('/pgha/explain')).json();
    expect(body).toMatchObject({ could_lead: false, rule: 'leaderless.manual', last_takeover: null });
  });

  it('asks the other members once, however many people ask at the same time', async () => {
    let asked = 0;
    const control = aControl({
      explain: async () => {
        asked += 1;
        await new Promise((resolve) => setImmediate(resolve));
        return { explanation: explain(aView()), lastTakeover: null, mine: null };
      },
    });
    const api = anApi(control);
    await Promise.all([api.inject('/pgha/explain'), api.inject('/pgha/explain'), api.inject('/pgha/explain')]);
    expect(asked).toBe(1);
  });

  it('answers 500 when it cannot be told, and the health check is not touched', async () => {
    const control = aControl({ explain: async () => Promise.reject(new Error('no')) });
    const api = anApi(control);
    expect((await api.inject('/pgha/explain')).statusCode).toBe(500);
    expect((await api.inject('/replica')).statusCode).toBe(200);
  });
});
