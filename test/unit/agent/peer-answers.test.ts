/** What is kept of the answers of other members, also when they overtake each other. */
import { describe, expect, it } from 'vitest';
import { PeerAnswers } from '../../../src/agent/peer-answers.ts';
import { nodeName } from '../../../src/core/store.ts';
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

  it('begin anew with the next election', () => {
    const peers = new PeerAnswers();
    peers.note(c, starting(5_000));
    peers.electionEnded();
    peers.note(c, starting(2_000));
    expect(peers.returningSince.get(c)).toBe(ago(2_000));
  });
});
