import { describe, expect, test } from 'vitest';
import { isAlive, isServerCommand, parseStat, processStat } from '../../../src/postgres/family.ts';

describe('a line of /proc/PID/stat', () => {
  const rest = (state: string): string =>
    `${state} 17 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 18446744073709551615`;

  test('is read behind the last parenthesis, whatever the program calls itself', () => {
    expect(parseStat(42, `42 (postgres) ${rest('S')}`)).toEqual({
      pid: 42,
      state: 'S',
      parent: 17,
      startTicks: '987654',
      group: 42,
      session: 42,
      hasTerminal: false,
    });
    expect(parseStat(42, `42 (a) Z 1 (b)) ${rest('R')}`)).toMatchObject({ state: 'R', parent: 17 });
  });

  test('that is cut off is no process', () => {
    expect(parseStat(42, '42 (postgres) S')).toBeNull();
  });
});

test('a process number that was given to another process is a dead process', () => {
  const own = processStat(process.pid);
  if (own === null) throw new Error('no /proc');
  expect(isAlive(own)).toBe(true);
  expect(isAlive({ pid: own.pid, startTicks: `${own.startTicks}0` })).toBe(false);
});

describe('a command line', () => {
  test('of a server that listens is told from its children and from single-user runs', () => {
    expect(isServerCommand(['/usr/lib/postgresql/15/bin/postgres', '-D', '/data', ''])).toBe(true);
    expect(isServerCommand(['postgres: demo: checkpointer ', ''])).toBe(false);
    expect(isServerCommand(['/usr/lib/postgresql/15/bin/postgres', '--single', '-F', ''])).toBe(false);
    expect(isServerCommand(['/usr/lib/postgresql/15/bin/postgres', '--boot', ''])).toBe(false);
    expect(isServerCommand([])).toBe(false);
  });
});
