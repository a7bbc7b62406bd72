/**
 * config/from-patroni.sh with everything around it made up: what it refuses, in which order it acts, and what it says
 * when something fails half way. The real thing is test/e2e/mixed.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const SCRIPT = resolve(import.meta.dirname, '../../../config/from-patroni.sh');
const HEAD = 'Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tTags';

interface Row {
  readonly role?: string;
  readonly state?: string;
  readonly tl?: number;
  readonly lag?: string;
  readonly tags?: string;
}

let place = '';
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'pgha-script-'));
  stub('pgha', 'cat checked; exit $(cat refuses 2> /dev/null || echo 0)');
  // Called as: -c FILE COMMAND ...
  stub(
    'ctl',
    `shift 2
     case $1 in
       list) if [ "$*" = list ]; then echo table; else cat list.tsv; fi;;
       show-config) cat config;;
       version) cat version;;
       switchover) echo "$*" >> done; sed -i 's/Leader/Replica/; s/^\\(main\\tc\\t.*\\)Replica/\\1Leader/' list.tsv;;
     esac`,
  );
  write('checked', 'node.yml is usable.\n\nNode\n  name     a\n  cluster  main (/service/main/ in etcd)\n');
  write('config', 'ttl: 30\n');
  write('node.yml', 'scope: main\n');
  members({});
  programs('Patroni');
});
afterEach(() => rmSync(place, { recursive: true, force: true }));

const write = (name: string, text: string): void => writeFileSync(join(place, name), text);
function stub(name: string, text: string): void {
  write(name, `#!/bin/sh\n${text}\n`);
  chmodSync(join(place, name), 0o755);
}

/** `a` is this node; `b` leads unless somebody else does. */
function members(over: Readonly<Record<string, Row>>): void {
  const leader = Object.values(over).some((row) => row.role === 'Leader') ? 'Replica' : 'Leader';
  const rows = ['a', 'b', 'c'].map((name) => {
    const {
      role = name === 'b' ? leader : 'Replica',
      state = 'running',
      tl = 3,
      lag = '0',
      tags = '',
    } = over[name] ?? {};
    return ['main', name, '10.0.0.1', role, state, tl, '0/5000000', lag, '0/5000000', lag, tags].join('\t');
  });
  write('list.tsv', `${[HEAD, ...rows].join('\n')}\n`);
}

/** What `a` runs; `b` runs Patroni, `c` runs pgha. */
const programs = (own: string): void =>
  write(
    'version',
    `pgha-ctl version 0.1.0\n\n${own === '' ? 'a: failed to get version: refused' : `a: ${own} 3.0.2, PostgreSQL 15.18`}\nb: Patroni 3.0.2, PostgreSQL 15.18\nc: pgha 0.1.0, PostgreSQL 15.18\n`,
  );

function run(
  verb: string,
  over: Readonly<Record<string, string>> = {},
): { code: number | null; said: string; done: string[] } {
  const change = (to: string): string => `sed -i 's/^a: .*/a: ${to}/' version`;
  const { status, stdout, stderr } = spawnSync('sh', [SCRIPT, verb, 'node.yml'], {
    cwd: place,
    encoding: 'utf8',
    env: {
      PATH: process.env['PATH'] ?? '',
      RUN_PGHA: './pgha',
      RUN_PGHA_CTL: './ctl',
      STOP_PATRONI: `echo stop-patroni >> done; ${change('failed to get version: refused')}`,
      START_PGHA: `echo start-pgha >> done; ${change('pgha 0.1.0, PostgreSQL 15.18')}`,
      STOP_PGHA: `echo stop-pgha >> done; ${change('failed to get version: refused')}`,
      START_PATRONI: `echo start-patroni >> done; ${change('Patroni 3.0.2, PostgreSQL 15.18')}`,
      LIMIT: '1',
      ...over,
    },
  });
  const done = existsSync(join(place, 'done')) ? readFileSync(join(place, 'done'), 'utf8').trim().split('\n') : [];
  return { code: status, said: stdout + stderr, done };
}

describe('from-patroni.sh', () => {
  it('takes a standby: Patroni stops, pgha starts, and nothing else', () => {
    expect(run('forth')).toMatchObject({ code: 0, done: ['stop-patroni', 'start-pgha'] });
  });

  it('takes it back the same way', () => {
    programs('pgha');
    expect(run('back')).toMatchObject({ code: 0, done: ['stop-pgha', 'start-patroni'] });
  });

  it('has a leader hand over first, to a member that runs the other program already', () => {
    members({ a: { role: 'Leader' } });
    expect(run('forth')).toMatchObject({
      code: 0,
      done: ['switchover main --leader a --candidate c --force', 'stop-patroni', 'start-pgha'],
    });
  });

  it('only looks when it is asked to check', () => {
    members({ a: { role: 'Leader' } });
    expect(run('check')).toMatchObject({ code: 0, done: [] });
  });

  it('does nothing where nothing is to be done', () => {
    programs('pgha');
    expect(run('forth')).toMatchObject({ code: 0, done: [] });
  });

  it.each([
    ['a standby that is not there', () => members({ c: { state: 'starting' } }), 'c is starting'],
    ['a standby on another timeline', () => members({ c: { tl: 2 } }), 'c is on timeline 2, the leader on 3'],
    ['a standby that is far behind', () => members({ c: { lag: '17' } }), 'c is 17 MB behind'],
    [
      'a standby of which nobody knows how far behind it is',
      () => members({ c: { lag: 'unknown' } }),
      'c is unknown MB',
    ],
    ['a cluster without a leader', () => members({ b: { role: 'Replica' } }), "the leader is ''"],
    ['a cluster in maintenance', () => write('config', 'pause: true\nttl: 30\n'), 'in maintenance'],
    ['a file that pgha refuses', () => write('refuses', '1'), 'pgha refuses node.yml'],
    ['a node that runs neither', () => programs(''), 'does not answer as Patroni'],
    ['a file of no member', () => write('checked', 'Node\n  name  x\n  cluster  main\n'), 'x is no member of main'],
    ['a file that is not there', () => rmSync(join(place, 'node.yml')), 'cannot be read'],
    [
      'a leader for whom nobody else could lead',
      () => members({ a: { role: 'Leader' }, b: { tags: '{nofailover: true}' }, c: { tags: '{nofailover: true}' } }),
      'nobody else could',
    ],
  ])('refuses %s, and changes nothing', (_what, arrange, why) => {
    arrange();
    const { code, said, done } = run('forth');
    expect({ code, done }).toEqual({ code: 1, done: [] });
    expect(said).toContain(why);
    expect(said).toContain('Nothing was changed.');
  });

  it('says how to go on with Patroni when pgha does not start', () => {
    const { code, said, done } = run('forth', { START_PGHA: 'false' });
    expect({ code, done }).toEqual({ code: 1, done: ['stop-patroni'] });
    expect(said).toContain('To go on with Patroni: echo start-patroni');
  });

  it('says so, too, when the node does not come back as it was', () => {
    const { code, said } = run('forth', { START_PGHA: 'echo start-pgha >> done' });
    expect(code).toBe(1);
    expect(said).toContain('a is not back as it was: it does not answer as pgha');
    expect(said).toContain('to go on with Patroni stop pgha, then: echo start-patroni');
  });

  it.each(['', 'forward', '--help'])("takes '%s' for wrong usage", (verb) => {
    expect(run(verb).code).toBe(2);
  });
});
