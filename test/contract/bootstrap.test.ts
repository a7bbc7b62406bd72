/**
 * The first data directory of a cluster by a method of the operator's own: a command that makes one, and a backup that is
 * recovered to a point. What comes out is a stopped primary with our users, or nothing and the reason.
 */
import { cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

let servers: PostgresServers;
let archive: string;
let backup: string;
const never = new AbortController().signal;
const quiet = (): void => undefined;
/** More than the cluster's settings ask for: a recovery with less would refuse. */
const CONNECTIONS_BEFORE = 150;

async function script(name: string, text: string): Promise<string> {
  const path = join(servers.directory, name);
  await writeFile(path, `#!/bin/sh -e\n${text}\n`, { mode: 0o700 });
  return path;
}

const sums = async (server: TestServer): Promise<unknown> =>
  (await server.sql('SELECT sum(n)::int AS n FROM t'))[0]?.['n'];

/** A backup, an archive, and a restore point between two rows. */
beforeAll(async () => {
  becomePostgres();
  servers = await postgresServers();
  archive = join(servers.directory, 'archive');
  backup = join(servers.directory, 'backup');
  await mkdir(archive);
  const source = await servers.addCluster('source', {
    parameters: { archive_mode: 'on', archive_command: `cp %p ${archive}/%f`, fsync: 'off' },
  });
  await source.instance.startPrimary({
    ...SETTINGS,
    parameters: { ...SETTINGS.parameters, max_connections: CONNECTIONS_BEFORE },
  });
  await source.until('primary', (local) => local.failing === null);
  await source.sql('CREATE TABLE t (n int)');
  const copy = await servers.addCopy('copied', source);
  await cp(copy.dataDir, backup, { recursive: true });
  await source.sql('INSERT INTO t VALUES (1)');
  await source.sql("SELECT pg_create_restore_point('before_the_mistake')");
  await source.sql('INSERT INTO t VALUES (10)');
  await source.sql('SELECT pg_switch_wal()');
  await source.until('primary');
  for (let i = 0; i < 200 && (await readdir(archive)).length === 0; i++) await new Promise((on) => setTimeout(on, 50));
}, 60_000);

afterAll(async () => {
  await servers?.end();
});

const login = {
  authentication: {
    superuser: { username: 'postgres' },
    replication: { username: 'copier', password: 'secret' },
    rewind: { username: 'rewinder', password: 'secret' },
  },
};

describe('a cluster of a method of its own', () => {
  test('is recovered up to the point that recovery_conf names, and is a primary afterwards', async () => {
    const restore = await script(
      'restore',
      `echo "$@" > ${servers.directory}/args; cp -a ${backup}/. "\${2#--datadir=}"`,
    );
    const server = await servers.add('restored', login, {
      method: 'from_backup',
      from_backup: {
        command: restore,
        stanza: 'main',
        recovery_conf: {
          restore_command: `cp ${archive}/%f %p`,
          recovery_target_name: 'before_the_mistake',
          recovery_target_action: 'pause',
        },
      },
    });
    await server.instance.bootstrap(SETTINGS, quiet, never);
    expect(await readdir(server.dataDir)).not.toContain('recovery.signal');
    await server.instance.startPrimary(SETTINGS);
    const primary = await server.until('primary', (local) => local.failing === null);
    expect(primary.timeline).toBe(2);
    expect(await sums(server)).toBe(1);
    const roles = await server.sql("SELECT rolname FROM pg_roles WHERE rolname IN ('copier', 'rewinder') ORDER BY 1");
    expect(roles.map((role) => role['rolname'])).toEqual(['copier', 'rewinder']);
    expect(await server.sql(`SELECT pg_read_file('${servers.directory}/args') AS args`)).toEqual([
      { args: `--scope=contract --datadir=${server.dataDir} --stanza=main\n` },
    ]);
  }, 60_000);

  test('is recovered as its command has written it down', async () => {
    const target = join(servers.directory, 'kept');
    const restore = await script(
      'restore-kept',
      `cp -a ${backup}/. ${target}; touch ${target}/recovery.signal; cat >> ${target}/postgresql.auto.conf <<END
restore_command = 'cp ${archive}/%f "%p"'
recovery_target_action = 'shutdown'
END`,
    );
    const method = { command: restore, no_params: true, keep_existing_recovery_conf: true };
    const server = await servers.add('kept', login, { method: 'tool', tool: method });
    await server.instance.bootstrap(SETTINGS, quiet, never);
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary', (local) => local.failing === null);
    expect(await sums(server)).toBe(11);
  }, 60_000);

  test('is started as it is where nothing is to be recovered', async () => {
    const server = await servers.add('plain', login, {
      method: 'own',
      own: { command: await script('own', `cp -a ${backup}/. "\${2#--datadir=}"`) },
    });
    await server.instance.bootstrap(SETTINGS, quiet, never);
    await server.instance.startPrimary(SETTINGS);
    expect((await server.until('primary', (local) => local.failing === null)).timeline).toBe(1);
  }, 60_000);

  test.each<[string, string, Record<string, unknown>, RegExp]>([
    ['fails with what its command said', 'echo "no such stanza" >&2; exit 4', {}, /own ended with 4: no such stanza/],
    ['fails when its command leaves nothing', 'exit 0', {}, /ended with 0 and left no data directory/],
    ['fails when its command takes too long', 'sleep 20', { timeout: 0.5 }, /ended after 0\.5 s/],
    [
      'fails when the archive ends before the target',
      'COPY',
      { recovery_conf: { restore_command: 'false', recovery_target_name: 'never' } },
      /recovery ended before configured recovery target was reached/,
    ],
  ])(
    '%s, and nothing is left in its place',
    async (_what, text, more, said) => {
      const name = `bad-${said.source.length}-${text.length}`;
      const command = await script(`${name}.sh`, text.replace('COPY', `cp -a ${backup}/. "\${2#--datadir=}"`));
      const server = await servers.add(name, login, { method: 'own', own: { command, ...more } });
      const failure = await server.instance.bootstrap(SETTINGS, quiet, never).then(
        () => null,
        (error: unknown) => error,
      );
      expect(failure).toMatchObject({ code: 'PGHA_BOOTSTRAP_FAILED', message: expect.stringMatching(said) });
      expect(await server.look()).toMatchObject({ kind: 'absent' });
    },
    60_000,
  );
});
