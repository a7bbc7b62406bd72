import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  endFamily,
  familyOf,
  heads,
  isAlive,
  monotonicMs,
  ownProcess,
  processStat,
  signalProcess,
} from '../../../src/guard/family.ts';

let directory = '';
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'pgha-family-')));
  copyFileSync('/bin/sleep', join(directory, 'postgres'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

async function aMember(): Promise<ChildProcess> {
  const child = spawn(join(directory, 'postgres'), ['60'], { cwd: directory, stdio: 'ignore' });
  children.push(child);
  await new Promise((resolve) => child.once('spawn', resolve));
  return child;
}

describe('a process', () => {
  it('is known by number and start time', () => {
    const self = ownProcess();
    expect(isAlive(self)).toBe(true);
    expect(isAlive({ ...self, startTime: '1' })).toBe(false);
  });

  it('is not signalled when another one has its number by now', async () => {
    const child = await aMember();
    const pid = child.pid ?? 0;
    expect(signalProcess({ pid, startTime: '1' }, 'SIGKILL')).toBe(false);
    expect(processStat(pid)?.state).not.toBe('Z');
  });
});

describe('the family of a data directory', () => {
  it('is every program called postgres that works in it, and nothing else', async () => {
    const first = await aMember();
    const second = await aMember();
    const other = spawn('/bin/sleep', ['60'], { cwd: directory, stdio: 'ignore' });
    children.push(other);
    expect(familyOf(directory).map((member) => member.pid)).toEqual([first.pid, second.pid]);
    expect(familyOf(`${directory}x`)).toEqual([]);
  });

  it('still has a member whose program was replaced by an upgrade', async () => {
    const member = await aMember();
    rmSync(join(directory, 'postgres'));
    expect(familyOf(directory).map((m) => m.pid)).toEqual([member.pid]);
  });

  it('has as heads those whose parent is no member', () => {
    const member = (pid: number, parent: number) => ({ pid, parent, startTime: '1', state: 'S' });
    expect(heads([member(10, 1), member(11, 10), member(12, 10)]).map((m) => m.pid)).toEqual([10]);
    expect(heads([member(11, 1), member(12, 1)]).map((m) => m.pid)).toEqual([11, 12]);
  });

  it('is ended, also when it is stopped, and counts when it is seen empty', async () => {
    const member = await aMember();
    process.kill(member.pid ?? 0, 'SIGSTOP');
    const began = monotonicMs();
    expect(await endFamily(directory, { graceMs: 60_000, limitMs: 5_000 })).toBe(true);
    expect(monotonicMs() - began).toBeLessThan(1_000);
    expect(familyOf(directory)).toEqual([]);
  });

  it('is left as it is as soon as its end is no longer wanted', async () => {
    await aMember();
    expect(await endFamily(directory, { graceMs: 0, stillWanted: () => false })).toBe(false);
    expect(familyOf(directory)).toHaveLength(1);
  });
});
