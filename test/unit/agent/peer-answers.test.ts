/** What is kept of the answers of other members, also when they overtake each other. */
import { describe, expect, it } from 'vitest';
import { PeerAnswers } from '../../../src/agent/peer-answers.ts';
import { nodeName } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import { before as ago, aPeer, aSilentPeer } from '../core/builders.ts';

const c = nodeName('c');
const starting = (ms: number) => aPeer('c', { at: ago(ms), state: 'starting', inRecovery: false });

describe('answers of peers', () => {
  it('are not replaced by the silence that an older question met with', () => {
    const peers = new PeerAnswers();
    peers.note(c, aPeer('c', { at: ago(100) }));
    peers.note(c, aSilentPeer(ago(250)));
    expect(peers.answers.get(c)?.kind).toBe('answered');
    peers.note(c, aSilentPeer(ago(50)));
    expect(peers.answers.get(c)?.kind).toBe('silent');
  });

  it('tell when one first was coming up in this election, however often it crashed or fell silent since', () => {
    const peers = new PeerAnswers();
    peers.note(c, starting(5_000));
    peers.note(c, aSilentPeer(ago(4_000)));
    peers.note(c, aPeer('c', { at: ago(3_000), state: 'unknown', inRecovery: false }));
    peers.note(c, starting(2_000));
    expect(peers.returningSince.get(c)).toBe(ago(5_000));
  });

  it('tell when a veto was first seen, and another one after it', () => {
    const peers = new PeerAnswers();
    const vetoed = (name: string, ms: number) =>
      peers.note(nodeName(name), aPeer(name, { at: ago(ms), vetoedFor: millis(10_000 + ms) }));
    peers.note(c, aPeer('c', { at: ago(5_000) }));
    expect(peers.vetoSeenAt).toBeNull();
    vetoed('c', 4_000);
    vetoed('c', 3_000);
    expect(peers.vetoSeenAt).toBe(ago(4_000));
    vetoed('d', 2_000);
    expect(peers.vetoSeenAt).toBe(ago(2_000));
    peers.note(c, aPeer('c', { at: ago(1_500) }));
    vetoed('c', 1_000);
    expect(peers.vetoSeenAt).toBe(ago(1_000));
    peers.electionEnded();
    expect(peers.vetoSeenAt).toBeNull();
  });

  it('begin anew with the next election', () => {
    const peers = new PeerAnswers();
    peers.note(c, starting(5_000));
    peers.electionEnded();
    peers.note(c, starting(2_000));
    expect(peers.returningSince.get(c)).toBe(ago(2_000));
  });
});
