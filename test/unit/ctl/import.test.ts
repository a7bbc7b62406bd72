/** `pgha-ctl import` and the file system: what it writes, what it never writes over, and what it does not read. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ctl } from './fakes.ts';

const HOW_TO = join(import.meta.dirname, '../../fixtures/how-tos/repmgr.conf');
const run = (...args: string[]) => ctl({ clusters: {} }, 'import', ...args);

describe('pgha-ctl import', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pgha-import-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const at = (name: string): string => join(directory, name);

  it('prints the file to standard output and the list beside it, and writes nothing', async () => {
    const { code, out, err } = await run(HOW_TO);
    expect(code).toBe(0);
    expect(out).toContain('scope: main\nname: db3\n');
    expect(err).toContain('Taken (15)');
    expect(err).toContain('Needs a decision, or a hand (8)');
    expect(readdirSync(directory)).toEqual([]);
  });

  it('writes a file that only its owner may read, and never over one without --force', async () => {
    const { code, out } = await run(
      HOW_TO,
      '-o',
      at('pgha.yml'),
      '--etcd',
      '10.0.0.1:2379,10.0.0.2:2379',
      '--scope',
      'shop',
    );
    expect(code).toBe(0);
    expect(out).toContain('pgha.yml was written');
    expect(statSync(at('pgha.yml')).mode & 0o777).toBe(0o600);
    expect(readFileSync(at('pgha.yml'), 'utf8')).toContain('scope: shop');

    const again = await run(HOW_TO, '-o', at('pgha.yml'));
    expect(again.code).toBe(1);
    expect(again.err).toContain('it was left as it is, and nothing was written');
    expect(readFileSync(at('pgha.yml'), 'utf8')).toContain('scope: shop');

    expect((await run(HOW_TO, '-o', at('pgha.yml'), '--force')).code).toBe(0);
    expect(readFileSync(at('pgha.yml'), 'utf8')).toContain('scope: main');
    expect(readdirSync(directory)).toEqual(['pgha.yml']);
  });

  it('does not follow a link that stands in the place of the output, nor write over what it reads', async () => {
    symlinkSync(at('target'), at('link'));
    expect((await run(HOW_TO, '-o', at('link'))).code).toBe(1);
    expect(existsSync(at('target'))).toBe(false);
    writeFileSync(at('repmgr.conf'), readFileSync(HOW_TO));
    const { code, err } = await run(at('repmgr.conf'), '-o', at('repmgr.conf'), '--force');
    expect([code, err]).toEqual([1, expect.stringContaining('is the file that is imported')]);
    expect(readFileSync(at('repmgr.conf'))).toEqual(readFileSync(HOW_TO));
  });

  it('puts no file in the place of a device, a pipe or a socket, --force or not', async () => {
    execFileSync('mkfifo', [at('pipe')]);
    const { code, err } = await run(HOW_TO, '-o', at('pipe'), '--force');
    expect([code, err]).toEqual([1, expect.stringContaining('is no regular file')]);
    expect(statSync(at('pipe')).isFIFO()).toBe(true);
    expect(readdirSync(directory)).toEqual(['pipe']);
  });

  it('prints everything as one object with --format json, without passwords in the rows', async () => {
    const { out } = await run(join(HOW_TO, '../patroni-otus.yml'), '--format', 'json');
    const said = JSON.parse(out) as { from: string; rows: unknown[]; yaml: string };
    expect(said.from).toBe('patroni');
    expect(said.rows).toContainEqual(
      expect.objectContaining({ verdict: 'taken', name: 'restapi.listen', line: 5, column: 3 }),
    );
    expect(JSON.stringify(said.rows)).not.toContain('"value":"otus","became":"postgresql');
  });

  it.each([
    ['a file that is not there', ['missing'], 'cannot be read'],
    ['a directory', ['.'], 'is a directory'],
    ['a device that never ends', ['/dev/zero'], 'no regular file'],
    ['a pipe that nobody writes to', ['pipe'], 'no regular file'],
    ['an empty file', ['empty'], 'line 1, column 1: the file is empty'],
    ['a file with a mistake', ['broken'], 'broken, line 1, column 10: the quote that begins the value of conninfo'],
    ['a huge file', ['huge'], 'longer than 1048576 bytes'],
    ['a place that does not exist', [HOW_TO, '-o', 'nowhere/pgha.yml'], 'cannot be written'],
    ['a place that is a directory', [HOW_TO, '-o', 'taken', '--force'], 'cannot be written'],
  ])('%s: exit code 1, the reason, and nothing written', async (_what, [first = '', ...rest], message) => {
    mkdirSync(at('taken'));
    writeFileSync(at('empty'), '');
    writeFileSync(at('broken'), "conninfo='host=1\n");
    writeFileSync(at('huge'), 'a=1\n'.repeat(300_000));
    execFileSync('mkfifo', [at('pipe')]);
    chmodSync(at('empty'), 0o644);
    const before = readdirSync(directory);
    const there = (name: string): string => (name.startsWith('/') || name.startsWith('-') ? name : at(name));
    const output = rest.length === 0 ? ['-o', at('out.yml')] : rest.map(there);
    const { code, err, out } = await run(there(first), ...output);
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain(message);
    expect(readdirSync(directory)).toEqual(before);
  });

  it.each([
    [['--etcd', 'a:b:c'], 'expected HOST:PORT'],
    [['--scope', 'a b'], 'without blanks'],
    [['--from', 'slony'], 'Allowed choices'],
    [['--node', '-1'], 'the number of a backend'],
  ])('%j is a wrong call', async (options, message) => {
    const { code, err } = await run(HOW_TO, ...options);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });
});
