/** Files that nobody means well with, or nobody has looked at: an answer with a place in every case, and never a crash. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { parseConninfo } from '../../../src/config/import/conninfo.ts';
import { type Imported, importConfig } from '../../../src/config/import/import.ts';
import { KINDS, type Kind } from '../../../src/config/import/kinds.ts';
import { REPMGR_PARAMETERS } from '../../../src/config/import/repmgr.ts';
import { parseSettings } from '../../../src/config/import/settings-text.ts';
import { validateConfig } from '../../../src/config/print.ts';
import { MOST_BYTES } from '../../../src/config/text.ts';

const run = (bytes: Uint8Array | string, from: Kind | null = null): Imported =>
  importConfig({
    bytes: typeof bytes === 'string' ? Buffer.from(bytes) : bytes,
    from,
    answers: { scope: null, etcd: [], node: null },
    readFile: () => {
      throw new Error('there is none');
    },
  });

const PLACE = /^line [1-9]\d*, column [1-9]\d*: \S/;

function expectSound(made: Imported): void {
  if (made.kind === 'refused') {
    expect(made.mistakes.length).toBeGreaterThan(0);
    for (const mistake of made.mistakes) expect(mistake).toMatch(PLACE);
    return;
  }
  const { exitCode, text } = validateConfig(
    'pgha.yml',
    {},
    {
      readFile: (path) => (path === 'pgha.yml' ? made.yaml : 'secret'),
    },
  );
  expect(text).toContain('is usable');
  expect(exitCode).toBe(0);
  // Nothing of the file comes out of the comments.
  expect(Object.keys(parse(made.yaml) as object).filter((name) => name.startsWith('planted'))).toEqual([]);
}

const NODE = "node_id=1\nnode_name='a'\nconninfo='host=h user=u'\ndata_directory='/d'\n";

describe('a file that is none', () => {
  it.each([
    ['empty', '', 'line 1, column 1: the file is empty'],
    ['blank', ' \n\t\n', 'line 1, column 1: the file is empty'],
    ['of zeros', Buffer.alloc(1000), 'line 1, column 1: a byte 0'],
    ['an image', Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a]), 'line 1, column 1: not text in UTF-8'],
    ['Latin-1', Buffer.concat([Buffer.from(`${NODE}# caf`), Buffer.from([0xe9, 0x0a])]), 'line 5, column 6: not text'],
    ['UTF-16', Buffer.from('\ufeffnode_id=1', 'utf16le'), 'not text in UTF-8'],
    ['too long', Buffer.alloc(MOST_BYTES + 1, 'a'), 'line 1, column 1: longer than 1048576 bytes'],
    ['of comments', '# nothing\n', 'line 1, column 1: neither'],
  ])('%s is refused', (_what, bytes, message) => {
    const made = run(bytes);
    expectSound(made);
    expect(made.kind === 'refused' ? made.mistakes.join() : '').toContain(message);
    for (const kind of KINDS) expect(run(bytes, kind).kind).toBe('refused');
  });

  it('a byte order mark is no letter', () => {
    expect(run(`\ufeff${NODE}`).kind).toBe('imported');
  });

  it.each([
    ['nested a hundred thousand deep', '['.repeat(100_000)],
    ['maps in maps', 'a: {'.repeat(20_000)],
    ['indented ever further', Array.from({ length: 1_000 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n')],
    [
      'aliases that multiply',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from(
        { length: 8 },
        (_, n) =>
          `${String.fromCharCode(98 + n)}: &${String.fromCharCode(98 + n)} [${Array(9)
            .fill(`*${String.fromCharCode(97 + n)}`)
            .join(',')}]`,
      ).join('\n')}`,
    ],
    ['an alias of itself', 'a: &a\n  b: *a\n'],
    ['tags of other languages', 'scope: !!python/object/apply:os.system ["true"]\n'],
    ['__proto__', '__proto__: {scope: x}\nconstructor: {prototype: {name: y}}\n'],
    ['two documents', 'scope: a\n---\nscope: b\n'],
  ])('YAML: %s', (_what, text) => {
    expectSound(run(text, 'patroni'));
    expect(({} as Record<string, unknown>)['scope']).toBeUndefined();
  });

  it('half a million settings are not read one by one, and many mistakes are not all told', () => {
    const made = run('a=1\n'.repeat(200_000), 'repmgr');
    expect(made).toMatchObject({
      kind: 'refused',
      mistakes: ['line 2002, column 1: more than 2000 settings: this is no such file'],
    });
    const wrong = run('=\n'.repeat(200_000), 'repmgr');
    expect(wrong.kind === 'refused' ? wrong.mistakes.length : 0).toBe(20);
  });

  it('a value cannot write lines of its own into what is made', () => {
    const planted = 'x\\nplanted: 1\\n';
    for (const name of [
      'promote_command',
      'service_start_command',
      'event_notification_command',
      'location',
      'unknown_one',
    ])
      expectSound(run(`${NODE}${name}='${planted}'\n`));
    expectSound(
      run(
        'scope: a\nname: b\n"planted:\\nplanted: 1": 2\npostgresql: {listen: "*:1", data_dir: /d, connect_address: "h:1"}\nrestapi: {connect_address: "h:2"}\n',
        'patroni',
      ),
    );
  });
});

describe('whatever the bytes are', () => {
  it('there is an answer with a place, or a file that is usable', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.option(fc.constantFrom(...KINDS)), (bytes, from) => {
        expectSound(run(bytes, from));
      }),
      { numRuns: 100 },
    );
  });

  const line = fc.oneof(
    fc
      .tuple(fc.constantFrom(...REPMGR_PARAMETERS), fc.string({ unit: 'grapheme', maxLength: 30 }))
      .map(([name, value]) => `${name}='${value}'`),
    fc
      .tuple(
        fc.constantFrom(...REPMGR_PARAMETERS),
        fc.oneof(fc.integer().map(String), fc.constantFrom('on', 'off', "'/x'", "''", 'ping')),
      )
      .map(([name, value]) => `${name} = ${value}`),
    fc.string({ unit: 'grapheme', maxLength: 40 }),
  );

  it('a repmgr.conf with any lines in it is imported or refused soundly', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => expectSound(run(NODE + lines.join('\n'), 'repmgr'))),
      { numRuns: 100 },
    );
  });

  it('a pgpool.conf with any values in it is imported or refused soundly', () => {
    const key = fc.constantFrom(
      'backend_hostname',
      'backend_port',
      'backend_weight',
      'backend_flag',
      'backend_data_directory',
      'backend_application_name',
    );
    const entry = fc
      .tuple(key, fc.nat(3), fc.oneof(fc.string({ maxLength: 20 }), fc.nat().map(String)))
      .map(([name, n, value]) => `${name}${n} = '${value}'`);
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (lines) => expectSound(run(lines.join('\n'), 'pgpool'))),
      { numRuns: 100 },
    );
  });

  it('a Patroni file of any shape is imported or refused soundly', () => {
    const names = fc.constantFrom(
      'scope',
      'name',
      'etcd3',
      'postgresql',
      'parameters',
      'bootstrap',
      'dcs',
      'tags',
      'hosts',
      'listen',
      'data_dir',
      'connect_address',
      'restapi',
      'ttl',
      'pg_hba',
      'slots',
      '__proto__',
      'x',
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4, withCrossShrink: true },
        tie('leaf'),
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.array(fc.tuple(names, tie('tree')), { maxLength: 5 }).map((pairs) => Object.fromEntries(pairs)),
      ),
      leaf: fc.oneof(
        fc.string({ unit: 'grapheme', maxLength: 12 }),
        fc.integer(),
        fc.boolean(),
        fc.constant(null),
        fc.constantFrom('10.0.0.1:5432', '*:5432', '/srv/pg', 'a'),
      ),
    }));
    const base = {
      scope: 's',
      name: 'n',
      etcd3: { hosts: ['a:1', 'b:1'] },
      restapi: { connect_address: 'h:8008' },
      postgresql: { listen: '*:5432', connect_address: 'h:5432', data_dir: '/d' },
    };
    fc.assert(
      fc.property(fc.array(fc.tuple(names, tree), { maxLength: 4 }), (pairs) =>
        expectSound(run(stringify({ ...base, ...Object.fromEntries(pairs) }), 'patroni')),
      ),
      { numRuns: 100 },
    );
  });

  it('what is quoted as a value is read back as it was', () => {
    const value = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text));
    fc.assert(
      fc.property(value, (text) => {
        const { settings } = parseSettings(
          `# first\n  name='${text.replace(/\\/g, '\\\\').replace(/'/g, "''")}' # last`,
        );
        expect(settings).toMatchObject([{ name: 'name', value: text, line: 2, column: 3 }]);
      }),
    );
    fc.assert(
      fc.property(value, (text) => {
        const read = parseConninfo(`host='${text.replace(/[\\']/g, '\\$&')}' port=1`);
        expect(read.kind === 'read' ? [...read.values] : read).toEqual([
          ['host', text],
          ['port', '1'],
        ]);
      }),
    );
  });
});
