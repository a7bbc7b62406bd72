import { describe, expect, it } from 'vitest';
import { validateConfig } from '../../../src/config/print.ts';

const FILE = `scope: main
name: pg1
reconnect_attempts: 4
etcd3: {hosts: [10.0.0.1:2379, 10.0.0.2:2379], username: me, password: hidden-a}
restapi: {connect_address: 10.0.0.1:8008, authentication: {username: u, password: hidden-b}}
postgresql:
  listen: '10.0.0.1:5432'
  data_dir: /srv/pg/main
  authentication: {superuser: {password: hidden-c}, replication: {password: hidden-d}}
watchdog: {mode: required}
`;

const validate = (text: string) => validateConfig('/etc/pgha/pgha.yml', {}, { readFile: () => text });

describe('pgha --validate-config', () => {
  it('prints what was understood, the times and the warnings of a usable file', () => {
    const { exitCode, text } = validate(FILE);
    expect(exitCode).toBe(0);
    expect(text).toMatchInlineSnapshot(`
      "/etc/pgha/pgha.yml is usable.

      Node
        name               pg1
        cluster            main (/service/main/ in etcd)
        node_id            none: ties are broken by name
        priority           100
        location           default
        tags               none
        etcd               http://10.0.0.1:2379, http://10.0.0.2:2379
        etcd login         me, with a password
        runtime directory  /run/pgha/main-pg1
        guard              on
        watchdog           required, /dev/watchdog

      HTTP
        listens on          0.0.0.0:8008
        others reach it at  10.0.0.1:8008
        commands            with a password

      Postgres
        data directory      /srv/pg/main
        programs            the usual places, then PATH
        listens on          10.0.0.1, port 5432
        others reach it at  10.0.0.1:5432
        superuser           postgres, with a password
        replication         replicator, with a password
        pg_rewind           postgres, with a password
        own parameters      none

      Set on this node only, over the settings of the cluster
        names  reconnect_attempts 4

      Times (of a cluster that this file makes; one that exists has its own, see \`pgha-ctl show-config\`)
        loop_wait 2 s + 2 × retry_timeout 3 s = 8 s, within ttl 10 s
        A proof of leadership is used for ttl 10 s − margin 1 s = 9 s: then the guard ends Postgres.
        Without a new proof Postgres stops in order 2 s before that, 7 s after the last one.
        The primary's node vanishes: another takes over within ttl 10 s + 1 s = 11 s.
        The postmaster dies, its node lives: handed over at once, missing WAL is brought to a standby within 2 s, else it is restarted here; without a candidate a restart here may take 300 s.
        Postgres is there but silent: given up after loop_wait 2 s + reconnect_attempts 4 × (connection_check_timeout 1 s + reconnect_interval 1 s) = at most 10 s (connection_check_type ping).
        A standby more than 1 MB behind does not take over.

      What each failure costs (its phases: \`pgha-ctl explain --budget --config FILE\`)
        The postmaster dies, its node lives: no writes for 0 s, at worst 9 s, and as long as this takes: promotion.
        Postgres is there and does not answer (stopped, or hung on its disk): no writes for 10 s, at worst 20 s, and as long as this takes: promotion.
        The primary's node is lost: no writes for 10 s, at worst 35.9 s, and as long as this takes: promotion.
        The primary's node is cut off from etcd and from the others: no writes for 10 s, at worst 35.9 s, and as long as this takes: promotion.
        etcd is lost as a whole: no writes for 10 s, at worst 15.5 s, and as long as this takes: etcd is away, promotion.
        The daemon dies, Postgres and the guard live: writes go on.
        The daemon hangs: no writes for 10 s, at worst 35.9 s, and as long as this takes: promotion.
        An operator asks for a switchover: no writes for 0 s, at worst 16.5 s, and as long as this takes: orderly stop, promotion.
      "
    `);
  });

  it('never prints a password', () => {
    expect(validate(FILE).text).not.toContain('hidden');
  });

  it('prints all problems of a refused file', () => {
    const { exitCode, text } = validate(FILE.replace('scope', 'scop').replace('data_dir: /', 'data_dir: '));
    expect(exitCode).toBe(1);
    expect(text).toContain('PGHA_CONFIG_INVALID');
    expect(text).toContain('scope: missing');
    expect(text).toContain('must be an absolute path');
  });

  it('is wrong usage without a file', () => {
    expect(validateConfig(undefined, {}, { readFile: () => '' }).exitCode).toBe(2);
  });
});
