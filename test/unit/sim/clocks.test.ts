import { expect, test } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { Incarnation, MachineClock } from '../../sim/world/incarnation.ts';
import { EventQueue } from '../../sim/world/scheduler.ts';

const run = (queue: EventQueue, until: number): Promise<void> =>
  queue.run(
    until,
    () => undefined,
    () => false,
  );

test('while a machine is suspended its monotonic clock stands still, its wall clock does not, and no timer fires', async () => {
  const queue = new EventQueue();
  const clock = new MachineClock(queue, 1, 0, 0);
  const process = new Incarnation(queue, clock, () => undefined);
  let firedAt: number | null = null;
  process.timer(millis(1_000), () => {
    firedAt = queue.now();
  });
  queue.after(400, () => clock.suspend());
  queue.after(5_400, () => clock.resume(true));
  const wall = clock.wall();
  await run(queue, 5_000);
  expect(clock.now()).toBe(400);
  expect(firedAt).toBeNull();
  await run(queue, 7_000);
  expect(clock.wall() - wall).toBe(7_000);
  expect(process.suspendedFor()).toBe(5_000);
  // 400 ms before the suspension and 600 after it.
  expect(firedAt).toBeGreaterThanOrEqual(6_000);
  expect(firedAt).toBeLessThan(6_002);
});

test('what reaches a suspended machine is delivered when it goes on, in order', async () => {
  const queue = new EventQueue();
  const clock = new MachineClock(queue, 1, 0, 0);
  const process = new Incarnation(queue, clock, () => undefined);
  const seen: string[] = [];
  clock.suspend();
  process.later(10, () => seen.push('a'));
  process.later(20, () => seen.push('b'));
  await run(queue, 100);
  expect(seen).toEqual([]);
  clock.resume(false);
  await run(queue, 200);
  expect(seen).toEqual(['a', 'b']);
});
