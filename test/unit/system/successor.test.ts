import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkSuccessor, type SuccessorPrograms } from '../../../src/system/successor.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-successor-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const GOOD = `if (process.argv[2] === '--version') console.log('pgha 0.2.0');`;
const GUARD = `console.error('usage: guard RUNTIME_DIRECTORY'); process.exit(2);`;

function programs(daemon: string, guard: string | null = GUARD): SuccessorPrograms {
  const write = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };
  return {
    node: process.execPath,
    daemon: write('pgha.mjs', daemon),
    guard: guard === null ? null : write('guard.mjs', guard),
    config: '/etc/pgha/pgha.yml',
  };
}

it('programs that start, with a configuration that the new version accepts, may follow', async () => {
  expect(await checkSuccessor(programs(GOOD))).toMatchObject({ kind: 'fit', version: '0.2.0' });
  expect(await checkSuccessor(programs(GOOD, null))).toMatchObject({ kind: 'fit', version: '0.2.0' });
});

it('a daemon that ends at once, one that is not there, and one that refuses the configuration do not; it says why', async () => {
  const refusing = `${GOOD} if (process.argv[2] === '--validate-config') { console.error('PGHA_CONFIG_INVALID: line 3'); process.exit(78); }`;
  for (const [daemon, why] of [
    [`throw new TypeError('half an upgrade')`, /pgha\.mjs does not start: TypeError: half an upgrade/],
    [`syntax error`, /does not start: SyntaxError/],
    [`process.exit(3)`, /does not start: .*(exit code 3|Command failed)/],
    [refusing, /pgha 0\.2\.0 does not accept \/etc\/pgha\/pgha\.yml: PGHA_CONFIG_INVALID: line 3/],
  ] as const) {
    const answer = await checkSuccessor(programs(daemon));
    expect(answer.kind, daemon).toBe('unfit');
    expect(answer.kind === 'unfit' && answer.sentence).toMatch(why);
  }
  const gone = await checkSuccessor({ ...programs(GOOD), daemon: join(directory, 'nothing.mjs') });
  expect(gone.kind === 'unfit' && gone.sentence).toMatch(/Cannot find module/);
  const noNode = await checkSuccessor({ ...programs(GOOD), node: join(directory, 'node') });
  expect(noNode.kind === 'unfit' && noNode.sentence).toMatch(/ENOENT/);
});

it('a guard that does not load keeps the old ones, although the daemon would start', async () => {
  const answer = await checkSuccessor(programs(GOOD, `import './not-there.mjs'`));
  expect(answer.kind === 'unfit' && answer.sentence).toMatch(/guard\.mjs does not start: .*Cannot find module/);
});
