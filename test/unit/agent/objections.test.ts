/** What is heard of Postgres' objections to new settings, and what is told when nothing is heard. */
import { expect, it } from 'vitest';
import { objectionsInTime } from '../../../src/agent/objections.ts';
import { FakeClock, FakeLog } from './fakes.ts';

const parts = () => ({ clock: new FakeClock(), log: new FakeLog() });

it('hands on what Postgres says, and tells of no trouble then or later', async () => {
  const { clock, log } = parts();
  expect(await objectionsInTime({ clock, log }, async () => ['work_mem: no'])).toEqual(['work_mem: no']);
  await clock.pass(60_000);
  expect(log.events).toEqual([]);
});

it('has none, and says so, when Postgres does not answer in time', async () => {
  const { clock, log } = parts();
  const heard = objectionsInTime({ clock, log }, () => new Promise(() => undefined));
  await clock.pass(60_000);
  expect(await heard).toEqual([]);
  expect(log.events).toEqual(['action.failed']);
});

it('has none, and says so, when Postgres cannot be asked', async () => {
  const { clock, log } = parts();
  const refused = () => Promise.reject(new Error('there is no program'));
  expect(await objectionsInTime({ clock, log }, refused)).toEqual([]);
  expect(log.events).toEqual(['action.failed']);
});
