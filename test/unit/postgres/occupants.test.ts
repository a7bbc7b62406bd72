import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { namesDirectory, occupantsOf } from '../../../src/postgres/occupants.ts';
import { realClock } from './place-builder.ts';

let base: string;
let dataDir: string;
let started: ChildProcess[];

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'pgha-occupants-')));
  dataDir = join(base, 'data');
  for (const name of ['data', 'data-of-another', 'space/PG_14_1', 'space/PG_15_1'])
    mkdirSync(join(base, name), { recursive: true });
  writeFileSync(join(dataDir, 'there'), 'x');
  started = [];
});
afterEach(async () => {
  for (const child of started) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  rmSync(base, { recursive: true });
});

/** @param redirection - of its standard input or output, or nothing. Without a terminal, as all that a service starts */
async function process(redirection: string, cwd = '/'): Promise<number> {
  const script = redirection === '' ? 'echo; exec sleep 60' : `exec 7${redirection}; echo; exec sleep 60`;
  const child = spawn('/bin/sh', ['-c', script], { cwd, detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(child);
  await once(child.stdout ?? child, 'data');
  return child.pid ?? 0;
}

const found = async (unfinished: boolean): Promise<readonly (readonly [number, string])[]> => {
  const where = { clock: realClock, dataDir, outside: [join(base, 'space', 'PG_15_')] };
  return (await occupantsOf(where, unfinished)).map(({ pid, sign }) => [pid, sign]);
};

describe('a directory that is whole', () => {
  test('is in use by whoever has a file below it open for writing', async () => {
    const writes = await process(`>>${dataDir}/new`);
    const both = await process(`<>${dataDir}/there`);
    const space = await process(`>>${base}/space/PG_15_1/x`);
    expect(await found(false)).toEqual(
      expect.arrayContaining([
        [writes, `has ${dataDir}/new open for writing`],
        [both, `has ${dataDir}/there open for writing`],
        [space, `has ${base}/space/PG_15_1/x open for writing`],
      ]),
    );
  });

  test('is not in use by whoever reads or works there, nor by who writes beside it', async () => {
    await process(`<${dataDir}/there`);
    await process('', dataDir);
    await process(`>>${base}/data-of-another/x`);
    await process(`>>${base}/space/PG_14_1/x`);
    expect(await found(false)).toEqual([]);
  });
});

test('a directory that is unfinished is in use by whoever works in it without a terminal, and may write the next file', async () => {
  const works = await process('', dataDir);
  // What reads the log of a server, say, does so for ever.
  await process(`<${dataDir}/there`);
  expect(await found(true)).toEqual([[works, `works in ${dataDir}`]]);
});

test.each([
  [['rsync', '--server', '.', '/srv/data/'], true],
  [['cp', '-a', '/x', '/srv/data/.'], true],
  [['restore', '--datadir=/srv/data'], true],
  [['tail', '/srv/data/log/a.log'], false],
  [['docker', '-v', '/srv/data:/srv/data'], false],
  [['ls', '/'], false],
  [[], false],
])('the arguments %j: that they name the directory is %s', (args, names) => {
  expect(namesDirectory(args, '/srv/data')).toBe(names);
});
