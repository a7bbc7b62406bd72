import { expect, test } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { Incarnation, MachineClock } from '../../sim/world/incarnation.ts';
import { SeededRandom } from '../../sim/world/random.ts';
import { EventQueue } from '../../sim/world/scheduler.ts';
import { setTraps } from '../../sim/world/traps.ts';

const nothing = (): void => undefined;
const run = (queue: EventQueue, until: number): Promise<void> => queue.run(until, nothing, () => false);

test('events run by time, and those of one instant in the order in which they were scheduled', async () => {
  const queue = new EventQueue();
  const seen: string[] = [];
  queue.after(20, () => seen.push('c'));
  queue.after(10, () => seen.push('a'));
  queue.after(10, () => seen.push('b'));
  const cancel = queue.after(15, () => seen.push('never'));
  cancel();
  await run(queue, 100);
  expect(seen).toEqual(['a', 'b', 'c']);
  expect(queue.now()).toBe(100);
});

test('all promises that an event wakes have settled before the next event runs', async () => {
  const queue = new EventQueue();
  const seen: string[] = [];
  queue.after(1, () => {
    const chain = async (): Promise<void> => {
      for (let i = 0; i < 50; i += 1) await Promise.resolve();
      seen.push('settled');
    };
    void chain();
  });
  queue.after(1, () => seen.push('next'));
  await run(queue, 10);
  expect(seen).toEqual(['settled', 'next']);
});

test('a rejection that nobody looks at is told before the next event runs', async () => {
  const queue = new EventQueue();
  const seen: string[] = [];
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (reason) => seen.push(String(reason)));
  try {
    queue.after(1, () => void Promise.resolve().then(() => Promise.reject('lost')));
    queue.after(1, () => seen.push('next'));
    await run(queue, 10);
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const listener of others) process.on('unhandledRejection', listener);
  }
  expect(seen).toEqual(['lost', 'next']);
});

test('many events in random order come out sorted', async () => {
  const queue = new EventQueue();
  const random = new SeededRandom('heap');
  const times: number[] = [];
  for (let i = 0; i < 500; i += 1) queue.after(random.between(0, 1_000), () => times.push(queue.now()));
  await run(queue, 2_000);
  expect(times).toHaveLength(500);
  expect(times).toEqual([...times].sort((a, b) => a - b));
});

test('a stopped process gets what it missed at once and in order when it goes on', async () => {
  const queue = new EventQueue();
  const process = new Incarnation(queue, new MachineClock(queue, 1, 0, 0), nothing);
  const seen: string[] = [];
  process.timer(millis(10), () => seen.push(`first at ${Math.round(queue.now())}`));
  process.timer(millis(20), () => seen.push(`second at ${Math.round(queue.now())}`));
  queue.after(5, () => process.pause());
  queue.after(50, () => process.resume());
  await run(queue, 100);
  expect(seen).toEqual(['first at 50', 'second at 50']);
});

test('a killed process hears of nothing any more', async () => {
  const queue = new EventQueue();
  const process = new Incarnation(queue, new MachineClock(queue, 1, 0, 0), nothing);
  const seen: string[] = [];
  process.timer(millis(10), () => seen.push('timer'));
  void process.answer(10, () => 1).then(() => seen.push('answer'));
  queue.after(5, () => process.kill());
  await run(queue, 100);
  expect(seen).toEqual([]);
});

test('a clock that runs fast fires its timers early in true time', async () => {
  const queue = new EventQueue();
  const clock = new MachineClock(queue, 1.001, 500, 0);
  const process = new Incarnation(queue, clock, nothing);
  let at = 0;
  process.timer(millis(10_010), () => {
    at = queue.now();
  });
  await run(queue, 20_000);
  expect(at).toBeCloseTo(10_000, 0);
  expect(clock.at(at)).toBeGreaterThanOrEqual(500 + 10_010);
});

test('streams of chance are independent of each other and of the order of forking', () => {
  const one = new SeededRandom('seed');
  const a = one.fork('a');
  const b = one.fork('b');
  const draws = [a.next(), a.next(), b.next()];
  const other = new SeededRandom('seed');
  other.next();
  const b2 = other.fork('b');
  const a2 = other.fork('a');
  expect([a2.next(), a2.next(), b2.next()]).toEqual(draws);
});

test('real time and real chance are refused while a world runs, with the port to use', () => {
  const takeAway = setTraps();
  let said: string[] = [];
  try {
    for (const use of [() => Date.now(), () => Math.random(), () => new Date(), () => setTimeout(nothing, 1)]) {
      try {
        use();
        said = [...said, 'allowed'];
      } catch (error) {
        said = [...said, (error as Error).message];
      }
    }
    expect(new Date(0).toISOString()).toBe('1970-01-01T00:00:00.000Z');
  } finally {
    takeAway();
  }
  expect(said).toHaveLength(4);
  for (const one of said) expect(one).toMatch(/was used inside of the simulation: use /);
  expect(Date.now()).toBeGreaterThan(0);
});
