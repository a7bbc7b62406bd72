/**
 * Which way imports point, and what core and agent must not know. Reads the sources as text; when something points the
 * wrong way it says which file, what it imports, and why that matters.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RULES } from '../../src/core/rules.ts';

const SRC = resolve(import.meta.dirname, '../../src');

interface Source {
  /** Below src/, with slashes: `core/gate.ts`. */
  readonly path: string;
  /** Without comments. */
  readonly code: string;
  /** Files below src/, or the name of a package or `node:` module. */
  readonly imports: readonly string[];
}

const STRING = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/;
const COMMENT = /\/\*[\s\S]*?\*\/|\/\/[^\n]*/;
const STRING_OR_COMMENT = new RegExp(`${STRING.source}|(${COMMENT.source})`, 'g');
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)'([^'\s]+)'/g;

function readSource(file: string): Source {
  const path = relative(SRC, file).split(sep).join('/');
  const code = readFileSync(file, 'utf8').replace(STRING_OR_COMMENT, (whole, comment?: string) =>
    comment === undefined ? whole : ' ',
  );
  const imports = [...code.matchAll(IMPORT)].map(([, name = '']) =>
    name.startsWith('.')
      ? relative(SRC, resolve(dirname(file), name))
          .split(sep)
          .join('/')
      : name,
  );
  return { path, code, imports };
}

const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readSource(join(SRC, name)));

interface Direction {
  /** Files that begin with this; the first direction that fits is the one that holds. */
  readonly of: string;
  /** What they may import: a folder (with slash at the end) or a file; packages and `node:` modules by their names. */
  readonly may: readonly string[];
  readonly packages: 'any' | 'none';
  readonly because: string;
}

const CONTRACTS = ['core/', 'ports/', 'errors.ts', 'log/events.ts', 'version.ts'];
const adapter = (name: string, ...also: readonly string[]): Direction => ({
  of: `${name}/`,
  may: [...CONTRACTS, `${name}/`, 'config/schema.ts', ...also],
  packages: 'any',
  because:
    'an adapter that knows the agent or another adapter cannot be replaced by its model, and the simulation runs another program than production',
});

const DIRECTIONS: readonly Direction[] = [
  {
    of: 'core/',
    may: ['core/'],
    packages: 'none',
    because: 'a decision that rests on anything outside of its view cannot be repeated from it',
  },
  {
    of: 'ports/',
    may: ['core/', 'ports/', 'log/events.ts', 'errors.ts'],
    packages: 'none',
    because: 'a port that names an adapter binds everybody who uses the port to it',
  },
  {
    of: 'agent/',
    may: [...CONTRACTS, 'agent/'],
    packages: 'none',
    because:
      'the agent runs unchanged in the simulation, where there is no adapter, no network and no clock but the ports',
  },
  {
    of: 'config/',
    may: [...CONTRACTS, 'config/'],
    packages: 'any',
    because: 'reading a configuration file must work without anything that runs (pgha --check-config)',
  },
  adapter('commands', 'postgres/command.ts'),
  adapter('etcd'),
  adapter('log'),
  adapter('notices', 'commands/queue.ts', 'commands/values.ts', 'postgres/command.ts', 'postgres/time-limit.ts'),
  adapter('peers'),
  adapter('pgbouncer', 'postgres/time-limit.ts'),
  // Both have to find the processes of a Postgres, or of this daemon, and there must be one way to do it.
  adapter('postgres', 'guard/family.ts', 'commands/placeholders.ts', 'config/nearest.ts'),
  adapter('system', 'guard/family.ts'),
  // Which daemon the guard obeys is decided by the daemon's lock, and a file of another boot is nobody's.
  adapter('guard', 'system/lock.ts', 'system/boot-id.ts'),
  {
    of: 'http/ctl/',
    // Its own side of the conversation: the answers that a member gives are read as a member reads them.
    may: [...CONTRACTS, 'http/', 'agent/published.ts', 'config/', 'peers/http.ts'],
    packages: 'any',
    because: 'pgha-ctl asks the store and the members; it never runs a part of the daemon in its own process',
  },
  {
    of: 'http/',
    may: [...CONTRACTS, 'http/', 'agent/published.ts', 'config/'],
    packages: 'any',
    because:
      'HTTP reads published state and hands in requests; it must not call the agent or an adapter to change something',
  },
];

/** The files that put everything together, for the daemon and for pgha-ctl; nobody else knows all parts. */
const KNOWS_ALL = ['daemon.ts', 'bin/', 'http/ctl/outside.ts'];

const fits = (path: string, pattern: string): boolean =>
  pattern.endsWith('/') ? path.startsWith(pattern) : path === pattern;

function wrongWay({ path, imports }: Source): readonly string[] {
  if (KNOWS_ALL.some((pattern) => fits(path, pattern))) return [];
  const direction = DIRECTIONS.find(({ of }) => path.startsWith(of));
  if (direction === undefined) {
    return imports
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `src/${path} imports src/${name}: a catalogue imports nothing, so that everybody may import it`);
  }
  return imports
    .filter((name) => {
      if (!name.endsWith('.ts')) return direction.packages === 'none';
      return !direction.may.some((pattern) => fits(name, pattern));
    })
    .map((name) => `src/${path} imports ${name.endsWith('.ts') ? 'src/' : ''}${name}: ${direction.because}`);
}

describe('imports', () => {
  it('are found in the sources', () => {
    const gate = sources.find(({ path }) => path === 'core/gate.ts');
    expect(gate?.imports).toEqual(['core/cluster.ts', 'core/peer.ts', 'core/store.ts', 'core/time.ts']);
    expect(sources.flatMap(({ imports }) => imports).filter((name) => name.startsWith('..'))).toEqual([]);
  });

  it('point from the outside in: core <- ports <- agent <- daemon, and no adapter knows another', () => {
    expect(sources.flatMap(wrongWay)).toEqual([]);
  });

  it('of the guard reach no package and nothing of the daemon, so that it starts in milliseconds and lives alone', () => {
    const reached = new Set(['guard/main.ts']);
    for (const path of reached) {
      for (const name of sources.find((source) => source.path === path)?.imports ?? []) reached.add(name);
    }
    const foreign = [...reached].filter(
      (name) =>
        !['guard/', 'core/', 'ports/', 'system/lock.ts', 'system/boot-id.ts', 'errors.ts', 'log/events.ts'].some(
          (one) => fits(name, one),
        ) && !name.startsWith('node:'),
    );
    expect(foreign).toEqual([]);
  });
});

describe('time and chance', () => {
  const OUTSIDE: readonly { readonly what: RegExp; readonly port: string }[] = [
    { what: /\bDate\.now\b|\bnew Date\(\)/, port: 'Clock.wall' },
    { what: /\bperformance\b|\bhrtime\b/, port: 'Clock.now' },
    {
      what: /\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b|\bAbortSignal\.timeout\b/,
      port: 'Clock.timer and Clock.sleep',
    },
    { what: /\bMath\.random\b|\brandomUUID\b|\bgetRandomValues\b/, port: 'Random' },
    { what: /\bprocess\.|\bfetch\(/, port: 'a port of its own' },
  ];

  it('come into core and agent through ports only', () => {
    const found = sources
      .filter(({ path }) => path.startsWith('core/') || path.startsWith('agent/'))
      .flatMap(({ path, code }) =>
        OUTSIDE.filter(({ what }) => what.test(code)).map(
          ({ what, port }) =>
            `src/${path} uses ${what.exec(code)?.[0]}: a simulated run could not repeat it; use ${port}`,
        ),
      );
    expect(found).toEqual([]);
  });
});

describe('names', () => {
  it('of files say what the file holds, never utils, helper or manager', () => {
    const vague = sources
      .flatMap(({ path }) => path.split('/'))
      .filter((part) => /util|helper|manager/.test(basename(part, '.ts')));
    expect(vague).toEqual([]);
  });
});

describe('rules', () => {
  it('are all spoken by some decision', () => {
    const core = sources.filter(({ path }) => path.startsWith('core/') && path !== 'core/rules.ts');
    const silent = Object.keys(RULES).filter((rule) => !core.some(({ code }) => code.includes(`'${rule}'`)));
    expect(silent).toEqual([]);
  });
});
