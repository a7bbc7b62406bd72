/** What a failover may have cost, said of every end that the last leader's WAL can have had. */
import { describe, expect, it } from 'vitest';
import { type LossFacts, readLoss, stateLoss } from '../../../src/core/loss.ts';
import { parseLsn } from '../../../src/core/lsn.ts';
import { nodeName } from '../../../src/core/store.ts';
import { wallTime } from '../../../src/core/time.ts';

const WALL = Date.parse('2026-11-20T10:44:00.000Z');
const facts = (over: Partial<LossFacts> = {}): LossFacts => ({
  previous: nodeName('a'),
  node: nodeName('b'),
  has: parseLsn('0/5000060'),
  published: { lsn: parseLsn('0/5000060'), heardAt: wallTime(WALL - 12_000) },
  end: null,
  lastCommit: '2026-11-20 10:43:47.500123+00:00',
  stoppedBy: wallTime(WALL - 2_000),
  ...over,
});

describe('the loss statement', () => {
  it('excludes a loss when the last leader said where its WAL ended, and it is here', () => {
    const said = stateLoss(facts({ end: parseLsn('0/5000060') }));
    expect(said).toMatchObject({ lost: 'nothing', bytes: 0, open_ended: false, end: '0/5000060' });
    expect(said.sentence).toBe('nothing is lost: the WAL of a ended at 0/5000060, and b has it up to 0/5000060');
  });

  it('names the exact range when that end is not here', () => {
    const said = stateLoss(facts({ end: parseLsn('0/5001060') }));
    expect(said).toMatchObject({ lost: 'range', from: '0/5000060', to: '0/5001060', bytes: 4096, open_ended: false });
    expect(said.sentence).toContain('4096 bytes of WAL are missing on b, from 0/5000060 to 0/5001060');
  });

  it('names what was published and is missing, and that there may be more', () => {
    const said = stateLoss(facts({ published: { lsn: parseLsn('0/5000160'), heardAt: wallTime(WALL - 12_000) } }));
    expect(said).toMatchObject({
      lost: 'range',
      bytes: 256,
      open_ended: true,
      published_at: '2026-11-20T10:43:48.000Z',
      committed_after: '2026-11-20T10:43:47.500Z',
      committed_before: '2026-11-20T10:43:58.000Z',
    });
    expect(said.sentence).toContain('at least 256 bytes');
  });

  it('does not call it nothing when only what was published is known to be here', () => {
    const said = stateLoss(facts());
    expect(said).toMatchObject({ lost: 'unknown', bytes: null, from: null, open_ended: true });
    expect(said.sentence).toContain('commits after 2026-11-20T10:43:47.500Z and before 2026-11-20T10:43:58.000Z');
    expect(stateLoss(facts({ published: null, lastCommit: null, stoppedBy: null })).sentence).toBe(
      'a had published no position; what a committed after 0/5000060 and sent to nobody may be lost',
    );
  });

  it('does not believe that of one who only had the key, or was started again since', () => {
    const own = { previous: nodeName('b'), wroteBefore: false };
    expect(stateLoss(facts(own))).toMatchObject({ lost: 'unknown', open_ended: true });
  });

  it('knows that who led before has its own WAL', () => {
    const later = { lsn: parseLsn('0/6000000'), heardAt: wallTime(WALL) };
    expect(stateLoss(facts({ previous: nodeName('b'), published: later }))).toMatchObject({ lost: 'nothing' });
  });

  it('knows that commits which waited for synchronous standbys are here, and speaks of the others', () => {
    const said = stateLoss(facts({ end: parseLsn('0/5001060'), synchronous: true }));
    expect(said).toMatchObject({ lost: 'range', bytes: 4096, synchronous: true });
    expect(said.sentence).toMatch(/^no commit that waited for synchronous standbys is lost; .*: 4096 bytes of WAL/);
    expect(stateLoss(facts({ end: parseLsn('0/5000060'), synchronous: true })).sentence).toMatch(/^nothing is lost/);
  });

  it('never excludes a loss where the last leader wrote on a timeline of which nothing came here', () => {
    const unheard = { timeline: 2, from: parseLsn('0/4000060') };
    const said = stateLoss(facts({ end: parseLsn('0/4000060'), unheard }));
    expect(said).toMatchObject({ lost: 'unknown', open_ended: true });
    expect(said.sentence).toMatch(/^timeline 2, on which a wrote from 0\/4000060 on, never came to b: /);
    // What is here beyond that position is not his.
    expect(stateLoss(facts({ unheard }))).toMatchObject({
      lost: 'range',
      from: '0/4000060',
      to: '0/5000060',
      open_ended: true,
    });
    expect(stateLoss(facts({ previous: nodeName('b'), unheard }))).toMatchObject({ lost: 'range' });
  });

  it('is read back as it was written, and from another version only when it says something', () => {
    const said = stateLoss(facts());
    expect(readLoss(JSON.parse(JSON.stringify(said)))).toEqual(said);
    expect(readLoss({ lost: 'nothing' })).toBeNull();
    expect(readLoss('x')).toBeNull();
  });
});
