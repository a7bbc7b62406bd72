/** The npm package: packed, installed into an empty prefix without any registry, and run from there. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
let directory: string;
const prefix = (): string => join(directory, 'prefix');

function run(program: string, args: readonly string[], cwd = directory): string {
  return execFileSync(program, args, { cwd, encoding: 'utf8', timeout: 100_000, stdio: ['ignore', 'pipe', 'pipe'] });
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-npm-'));
  // What is built already may be in use by other tests: it is packed as it stands.
  const built = existsSync(join(ROOT, 'dist/pgha.js')) ? ['--ignore-scripts'] : [];
  run('npm', ['pack', '--silent', ...built, '--pack-destination', directory], ROOT);
  const [packed = ''] = readdirSync(directory);
  run('npm', [
    'install',
    '--global',
    '--prefix',
    prefix(),
    '--offline',
    '--no-audit',
    '--no-fund',
    join(directory, packed),
  ]);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the npm package', () => {
  it('brings both programs, which need nothing but Node.js', () => {
    expect(run(join(prefix(), 'bin/pgha'), ['--version'])).toContain(version);
    expect(run(join(prefix(), 'bin/pgha-ctl'), ['--help'])).toContain('Usage: pgha-ctl');
    expect(readdirSync(join(prefix(), 'lib/node_modules'))).toEqual(['pgha']);
  });

  it('has the guard, the unit, the examples and the pages, and no sources', () => {
    const within = readdirSync(join(prefix(), 'lib/node_modules/pgha'));
    expect(within).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'config', 'dist', 'docs', 'systemd']));
    expect(within).not.toContain('src');
    expect(within).not.toContain('test');
    expect(readdirSync(join(prefix(), 'lib/node_modules/pgha/dist'))).toContain('guard.js');
  });
});
