/**
 * Done-when 5: each way by which a file of somebody's comes in, and each kind of file that nobody means well with. The
 * answer is always 1, the reason with its place, nothing written anywhere, and nothing that steers a terminal. That it
 * comes within the limit of a test stands for "bounded".
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withFiles } from '../../../src/config/files.ts';
import { validateConfig } from '../../../src/config/print.ts';
import { MOST_BYTES } from '../../../src/config/text.ts';
import { threeMembers } from '../http/builders.ts';
import { ctl } from './fakes.ts';

const NODE = `scope: demo
name: a
etcd3: {hosts: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']}
restapi: {connect_address: '10.0.0.1:8008'}
postgresql: {data_dir: /srv/pg/data, listen: '*:5432', connect_address: '10.0.0.1:5432'}
`;
const REPMGR = "node_id=1\nnode_name='a'\nconninfo='host=h user=u'\ndata_directory='/d'\n";

const many = (count: number, line: (n: number) => string): string =>
  Array.from({ length: count }, (_, n) => line(n)).join('');
const multiplied = (inner: (alias: string) => string): string =>
  `x0: &x0 ${inner('1')}\n${many(9, (n) => `x${n + 1}: &x${n + 1} ${inner(`*x${n}`)}\n`)}`;
const nine = (of: string): string => `[${Array(9).fill(of).join(', ')}]`;
const nineNamed = (of: string): string => `{${Array.from({ length: 9 }, (_, n) => `k${n}: ${of}`).join(', ')}}`;

type Content = string | Uint8Array;

/** Of no program's file, whoever reads it. */
const NO_TEXT: Readonly<Record<string, readonly [Content, string]>> = {
  'of 50 MB': [Buffer.alloc(50_000_000, 'a: 1\n'), `line 1, column 1: longer than ${MOST_BYTES} bytes`],
  'with a line of 10 MB': [Buffer.alloc(10_000_000, 'a'), `line 1, column 1: longer than ${MOST_BYTES} bytes`],
  'with a byte 0': [`${NODE}x: \0\n`, 'line 6, column 4: a byte 0'],
  'with bytes that are no UTF-8': [
    Buffer.from(`${NODE}x: \xff\xfe\n`, 'latin1'),
    'line 6, column 4: not text in UTF-8',
  ],
  'in UTF-16': [Buffer.from(`\ufeff${NODE}`, 'utf16le'), 'line 1, column 1: not text in UTF-8'],
  'of a program': [readFileSync(process.execPath).subarray(0, 100_000), 'column'],
};

const NO_YAML: Readonly<Record<string, readonly [Content, string]>> = {
  'with a quote that does not end': [`${NODE}x: "abc\n`, 'line 7, column 1: Missing closing "quote'],
  'with a tab for an indentation': [`${NODE}x:\n\t- a\n`, 'line 7, column 1: Tabs are not allowed'],
  'with a name twice': [`${NODE}scope: b\n`, 'line 6, column 1: Map keys must be unique'],
  'with two documents': [`${NODE}---\n${NODE}`, 'line 6, column 1:'],
  'with brackets in brackets': [`${NODE}x: ${'['.repeat(500_000)}`, 'line 6, column 104: nested too deep'],
  'with maps in maps': [`${NODE}x: ${'{a: '.repeat(100_000)}`, 'line 6, column 404: nested too deep'],
  'indented ever further': [many(1_400, (n) => `${' '.repeat(n)}a:\n`), 'nested too deep'],
  'with lists that multiply': [`${NODE}${multiplied(nine)}`, 'line 7, column 10: aliases that multiply'],
  'with maps that multiply': [`${NODE}${multiplied(nineNamed)}`, 'line 7, column 14: aliases that multiply'],
  'with a long text that multiplies': [
    `${NODE}tags:\n a: &a ${'x'.repeat(100_000)}\n${many(900, (n) => ` b${n}: *a\n`)}`,
    'line 8, column 6: aliases that multiply',
  ],
  'with an alias of itself': [`${NODE}x: &x {a: *x}\n`, 'line 6, column 11: an alias stands inside of what it names'],
  'that is a list': ['- a\n- b\n', ''],
  'that is a word': ['hello\n', ''],
  'with nothing in it': ['', ''],
  'of comments': ['# nothing\n', ''],
};

const ESCAPES = '\u001b[2J\u001b]0;owned\u0007\u009b31m\u202e';
const WRONG_SETTINGS: Readonly<Record<string, readonly [Content, string]>> = {
  'with names that steer a terminal': [
    `${NODE}"${ESCAPES.replace(/[^ -~]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)}": 1\n`,
    'line 6, column 1',
  ],
  'with values that steer a terminal': [`${NODE}priority: "\\e[2J\\x9b31m"\n`, 'line 6, column 1, priority'],
  'with letters that turn others around': [`${NODE}"pri\u202eytiro": 1\n`, 'line 6, column 1'],
  'with names of objects': [
    `${NODE}__proto__: {scope: x}\nconstructor: 1\ntoString: 2\n`,
    'line 6, column 1, __proto__: unknown name',
  ],
  'with paths that lead upwards': [NODE.replace('/srv/pg/data', '../../etc'), 'line 5, column 14, postgresql.data_dir'],
};

const TOO_MUCH: Readonly<Record<string, readonly [Content, string]>> = {
  'with 60,000 names': [`${NODE}${many(60_000, (n) => `k${n}: 1\n`)}`, 'line 10001, column 1: more than 10000 names'],
};

let directory = '';
const at = (name: string): string => join(directory, name);
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-hostile-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Answer {
  readonly code: number;
  readonly said: string;
}

type Entrance = readonly [name: string, come: (path: string) => Promise<Answer>];

const typed = async (...args: string[]): Promise<Answer> => {
  const ran = await ctl({ clusters: { demo: threeMembers() }, interactive: true }, ...args);
  expect([ran.txns, ran.sql, ran.calls.filter(({ method }) => method !== 'GET')]).toEqual([[], [], []]);
  return { code: ran.code, said: `${ran.out}\n${ran.err}` };
};
const validated: Entrance = [
  'pgha --validate-config',
  async (path) => {
    const { exitCode, text } = await withFiles((files) => validateConfig(path, {}, files));
    return { code: exitCode, said: text };
  },
];
const checkHost: Entrance = ['pgha-ctl check host', (path) => typed('-c', path, 'check', 'host')];
const checkClone: Entrance = ['pgha-ctl check clone', (path) => typed('-c', path, 'check', 'clone', 'demo')];
const importing = (from: string): Entrance => [
  `pgha-ctl import --from ${from}`,
  (path) => typed('import', path, '--from', from, '-o', at('written.yml')),
];
const apply: Entrance = ['edit-config --apply', (path) => typed('edit-config', '--apply', path, '--force')];
const replace: Entrance = ['edit-config --replace', (path) => typed('edit-config', '--replace', path, '--force')];
const explain: Entrance = ['explain --budget --config', (path) => typed('explain', '--budget', '--config', path)];
const adopt: Entrance = ['pgha-ctl adopt', (path) => typed('-c', path, 'adopt', 'check', '--from', 'repmgr')];

const IMPORTS = ['repmgr', 'patroni', 'pgpool'].map(importing);
const OF_A_NODE = [validated, checkHost, checkClone, explain, adopt];
const ALL = [...OF_A_NODE, ...IMPORTS, apply, replace];

async function expectRefusal(come: Entrance[1], path: string, why: string): Promise<void> {
  const before = readdirSync(directory);
  const { code, said } = await come(path);
  expect(said).toContain(why);
  expect(code).toBe(1);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  expect(said).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  expect(said).not.toMatch(/\n {4}at |call stack/);
  expect(said.length).toBeLessThan(20_000);
  expect(readdirSync(directory)).toEqual(before);
}

const everyWay = (
  files: Readonly<Record<string, readonly [Content, string]>>,
  entrances: readonly Entrance[],
): readonly (readonly [string, string, Entrance[1], Content, string])[] =>
  Object.entries(files).flatMap(([what, [content, why]]) =>
    entrances.map(([name, come]) => [what, name, come, content, why] as const),
  );

describe('a file', () => {
  it.each([
    ...everyWay(NO_TEXT, ALL),
    ...everyWay(NO_YAML, [...OF_A_NODE, importing('patroni'), replace]),
    ...everyWay(WRONG_SETTINGS, OF_A_NODE),
    ...everyWay(TOO_MUCH, [validated, importing('patroni')]),
  ])('%s is refused by %s', async (_what, _name, come, content, why) => {
    writeFileSync(at('file'), content);
    await expectRefusal(come, at('file'), why);
  });

  it.each(ALL)('that is none is refused by %s', async (_name, come) => {
    mkdirSync(at('directory'), { recursive: true });
    rmSync(at('pipe'), { force: true });
    execFileSync('mkfifo', [at('pipe')]);
    rmSync(at('loop'), { force: true });
    symlinkSync('loop', at('loop'));
    for (const path of [at('directory'), at('pipe'), at('loop'), at('missing'), '/dev/zero', '/dev/null'])
      await expectRefusal(come, path, '');
    await expectRefusal(come, at(`missing${ESCAPES}`), 'missing');
  });

  it.each([validated, apply, importing('patroni')])(
    'that begins with the mark of its byte order is none for %s',
    async (_name, come) => {
      writeFileSync(at('marked'), come === apply[1] ? '\ufeffttl: 10\n' : `\ufeff${NODE}`);
      const world = { clusters: { demo: threeMembers() } };
      if (come === apply[1]) {
        const { code, err } = await ctl(world, 'edit-config', '--apply', at('marked'), '--force', '-q');
        expect([code, err]).toEqual([0, '']);
      } else expect((await come(at('marked'))).code).toBe(0);
      rmSync(at('written.yml'), { force: true });
    },
  );

  it('of settings that steers a terminal, or names what every object has, changes none of it', async () => {
    for (const content of [
      `"${'\\e[2J'}": 1\n`,
      'ttl: "\\e]0;owned\\a"\n',
      '__proto__: {ttl: 5}\n',
      'constructor: {prototype: {ttl: 5}}\n',
    ]) {
      writeFileSync(at('file'), content);
      for (const [, come] of [apply, replace]) await expectRefusal(come, at('file'), 'Nothing was changed');
    }
    expect(({} as Record<string, unknown>)['ttl']).toBeUndefined();
  });

  it('of repmgr with everything that a shell would read runs none of it, and its values come out as they went in', async () => {
    const command = `touch ${at('owned')}; $(touch ${at('owned')}) \`touch ${at('owned')}\` "\\$x" | & > ${at('owned')}`;
    writeFileSync(at('file'), `${REPMGR}event_notification_command='${command}'\n`);
    const { code } = await typed('import', at('file'), '-o', at('written.yml'));
    expect(code).toBe(0);
    expect(readFileSync(at('written.yml'), 'utf8')).toContain(`touch ${at('owned')}`);
    expect(readdirSync(directory)).not.toContain('owned');
    rmSync(at('written.yml'));
  });
});
