/**
 * The files of systemd/ by systemd's own judgement, and the condition that keeps a distribution's postgresql unit from
 * starting what pgha runs. What the units do is seen in test/e2e/systemd.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-units-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const analyze = (...args: string[]): { status: number | null; said: string } => {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
  return { status, said: `${stdout}${stderr}` };
};

/** The unit as it is installed, with a program that is there. */
function installed(name: string, as = name): string {
  const path = join(directory, as);
  writeFileSync(path, readFileSync(join('systemd', name), 'utf8').replaceAll('/usr/bin/pgha', '/bin/true'));
  return path;
}

describe('the units', () => {
  it.each([
    ['pgha.service', 'pgha.service'],
    ['pgha@.service', 'pgha@main.service'],
  ])('%s has nothing that systemd does not understand', (name, as) => {
    const path = installed(name, as);
    for (const example of readdirSync('systemd/examples')) {
      mkdirSync(`${path}.d`, { recursive: true });
      copyFileSync(join('systemd/examples', example), join(`${path}.d`, example));
    }
    const { status, said } = analyze('verify', path);
    // It warns of other units of this machine too.
    expect(said.split('\n').filter((line) => line.includes('pgha'))).toEqual([]);
    expect(status).toBe(0);
  });

  it('are hardened as far as Postgres and the commands of operators allow', () => {
    const { said } = analyze('security', '--offline=true', installed('pgha.service', 'alone.service'));
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1]);
    expect(exposure).toBeLessThan(5);
  });

  it('are one unit: that for several clusters differs in its name and its file', () => {
    const one = readFileSync('systemd/pgha.service', 'utf8');
    const several = readFileSync('systemd/pgha@.service', 'utf8').split('\n').slice(1).join('\n');
    expect(several.replaceAll('/etc/pgha/%i.yml', '/etc/pgha/pgha.yml').replace(' (%i)', '')).toBe(one);
  });
});

describe("the condition of the distribution's units", () => {
  const check = (instance: string, env: Record<string, string> = {}): { status: number | null; said: string } => {
    const { status, stderr } = spawnSync('scripts/package/own-postgres-only', [instance, directory], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] ?? '', ...env },
    });
    return { status, said: stderr };
  };
  const file = (path: string, text: string): void => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  };

  it('lets everything start where pgha is not configured', () => {
    rmSync(join(directory, 'etc'), { recursive: true, force: true });
    expect(check('15-main')).toEqual({ status: 0, said: '' });
  });

  it("passes over the cluster that stands in pgha's configuration, wherever that says it is, and no other", () => {
    file('/etc/pgha/pgha.yml', 'postgresql:\n  data_dir: "/var/lib/postgresql/15/main"   # as Debian has it\n');
    file('/etc/pgha/other.yml', "postgresql:\n  data_dir: '/srv/pg'\n");
    file('/etc/postgresql/15/main/postgresql.conf', 'port = 5432\n');
    file('/etc/postgresql/15/moved-away/postgresql.conf', "data_directory = '/srv/../srv/pg/'\t# moved\n");
    expect(check('15-main').status).toBe(1);
    expect(check('15-main').said).toContain('etc/pgha/pgha.yml: pgha starts this Postgres');
    expect(check('15-moved-away').status).toBe(1);
    expect(check('15-billing').status).toBe(0);
    expect(check('14-main').status).toBe(0);
  });

  it('goes by PGDATA where the unit has no instances', () => {
    expect(check('', { PGDATA: '/srv/pg' }).status).toBe(1);
    expect(check('', { PGDATA: '/srv/other' }).status).toBe(0);
    expect(check('').status).toBe(0);
  });
});
