/** Protocol 28 to 33: who stands in the list, and why a member does not confirm. */
import { describe, expect, it } from 'vitest';
import { readCluster } from '../../../src/core/cluster.ts';
import {
  type FailsafeRequest,
  gateBehind,
  isListed,
  ledSince,
  type MemberFacts,
  wantedList,
  whyNotConfirmed,
} from '../../../src/core/failsafe.ts';
import { timeline } from '../../../src/core/lsn.ts';
import { leaseId, nodeName, revision } from '../../../src/core/store.ts';
import { laterBy, millis, seconds } from '../../../src/core/time.ts';
import { aBeat, aGate, aLoneStandby, aStandby, aStopped, NOW, TERM } from './builders.ts';

const TTL = seconds(10);
const A = nodeName('a');
const B = nodeName('b');
const asked: FailsafeRequest = { name: A, to: B, term: TERM, hold: TTL, slots: new Map() };
const leader = { name: A, term: TERM, lease: leaseId('1') };

const facts = (over: Partial<MemberFacts> = {}): MemberFacts => ({
  self: B,
  gate: aGate({ beat: aBeat({ term: TERM, holdMs: TTL }) }),
  leader,
  holdsKey: false,
  termOnDisk: false,
  acquiredOn: null,
  postgresIsHarmless: true,
  ttl: TTL,
  ...over,
});

const why = (over: Partial<MemberFacts> = {}, request: Partial<FailsafeRequest> = {}): string | null =>
  whyNotConfirmed({ ...asked, ...request }, facts(over));

describe('a member on a newer timeline than the leader who asks', () => {
  const one = timeline(1);

  it('does not confirm: somebody has led since', () => {
    expect(ledSince(B, aLoneStandby(), A, one)).toBe('b is on timeline 2, and a on 1: somebody has led since');
  });

  it('does while it receives: the leader may have been promoted a moment ago, and not have said so', () => {
    expect(ledSince(B, aStandby(), A, one)).toBeNull();
  });

  it('says nothing on the same timeline, of one whose timeline is not known, or without a standby', () => {
    expect(ledSince(B, aLoneStandby(), A, timeline(2))).toBeNull();
    expect(ledSince(B, aLoneStandby(), A, null)).toBeNull();
    expect(ledSince(B, aStopped(), A, one)).toBeNull();
  });
});

describe('a member', () => {
  it('confirms the leader whose beat it has seen last, also when the key is gone', () => {
    expect(why()).toBeNull();
    expect(why({ leader: null })).toBeNull();
  });

  it("confirms nobody in the name of another: its address may have been that one's", () => {
    expect(why({}, { to: nodeName('c') })).toContain('c was asked');
  });

  it('confirms nobody before it has read etcd (story 20)', () => {
    expect(why({ gate: null })).toContain('not read');
  });

  it('confirms nobody while it owns the key, or has owned it (story 19)', () => {
    expect(why({ holdsKey: true })).toContain('owns');
    expect(why({ termOnDisk: true })).toContain('has led');
  });

  it('confirms nobody but the leader of the last status it saw (story 21)', () => {
    expect(why({}, { term: revision(7) })).toContain('of term');
    expect(why({ gate: aGate({ beat: null }) })).toContain('of term');
    expect(why({ leader: { ...leader, name: nodeName('c') } })).toContain('with c');
  });

  it('confirms no leader that has given the key up', () => {
    const gone = aBeat({ term: TERM, holdMs: 0, release: { lsn: 1n as never, candidate: null } });
    expect(why({ gate: aGate({ beat: gone }) })).toContain('given the key up');
  });

  it('confirms nobody after it has asked for the key itself, until it has seen a newer status', () => {
    const gate = facts().gate;
    expect(why({ acquiredOn: gate?.revision ?? null })).toContain('asked for the key');
    expect(why({ acquiredOn: revision(1) })).toBeNull();
  });

  it('confirms nobody while its Postgres may write', () => {
    expect(why({ postgresIsHarmless: false })).toContain('standby');
  });

  it('promises no more than what stands in status, or a TTL: a restart must not shorten it (rule 32)', () => {
    const short = aGate({ beat: aBeat({ term: TERM, holdMs: millis(200) }) });
    expect(why({ gate: short })).toBeNull();
    expect(why({ gate: short }, { hold: seconds(11) })).toContain('beyond');
    expect(
      why({ gate: aGate({ beat: aBeat({ term: TERM, holdMs: seconds(30) }) }) }, { hold: seconds(30) }),
    ).toBeNull();
    expect(why({}, { hold: null })).toContain('beyond');
  });

  it('confirms a leader that runs Patroni by the key alone', () => {
    const patroni = { to: null, term: null, hold: null };
    expect(why({ gate: aGate({ beat: null }) }, patroni)).toBeNull();
    expect(why({ gate: aGate({ beat: null }), leader: null }, patroni)).toContain('no leader key');
    expect(why({}, patroni)).toContain('keeps terms');
  });

  it('stays behind what it has confirmed, whatever status says, and behind a gate that never opens', () => {
    const until = laterBy(NOW, millis(4_000));
    expect(gateBehind(aGate({ opensAt: NOW }), until)?.opensAt).toBe(until);
    expect(gateBehind(aGate({ opensAt: laterBy(NOW, TTL) }), until)?.opensAt).toBe(laterBy(NOW, TTL));
    expect(gateBehind(aGate({ opensAt: 'never' }), until)?.opensAt).toBe('never');
  });
});

describe('the list', () => {
  const cluster = (keys: Record<string, unknown>) =>
    readCluster(
      Object.entries(keys).map(([key, value], i) => ({
        key,
        value: typeof value === 'string' ? value : JSON.stringify(value),
        createRevision: revision(i + 1),
        modRevision: revision(i + 1),
        lease: null,
      })),
      { clusterId: 'one', raftTerm: 2n, revision: revision(100) },
    );

  it('names everybody who may lead, with this node, and no witness', () => {
    const list = wantedList(
      cluster({
        'members/a': { api_url: 'http://a' },
        'members/c': { api_url: 'http://c' },
        'members/w': { api_url: 'http://w', pgha: { role: 'witness' } },
        'members/x': {},
      }),
      { name: nodeName('b'), apiUrl: 'http://b' },
    );
    expect([...list]).toEqual([
      ['a', 'http://a'],
      ['b', 'http://b'],
      ['c', 'http://c'],
    ]);
  });

  it('keeps away from the key whom it does not name (story 17), and nobody while it is empty or not there', () => {
    const { failsafe } = cluster({ failsafe: { a: 'http://a' } });
    expect(isListed(failsafe, A)).toBe(true);
    expect(isListed(failsafe, nodeName('n'))).toBe(false);
    expect(isListed(cluster({ failsafe: {} }).failsafe, nodeName('n'))).toBe(true);
    expect(isListed(null, nodeName('n'))).toBe(true);
  });
});
