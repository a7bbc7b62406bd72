/**
 * The package under a real systemd: installed on three machines with the lines of the README, as they stand there, and what
 * systemd then does to it: a crash of the daemon, an upgrade, the end of all power, a stop, a purge.
 */
import { execFileSync } from 'node:child_process';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runOn } from './lib/client.ts';
import { type Etcd, startEtcd } from './lib/etcd.ts';
import { Guide } from './lib/guide.ts';
import { LATER_VERSION } from './lib/later-version.ts';
import { asDebianLeavesIt, Machine } from './lib/machine.ts';
import { createNamespaces, type Network } from './lib/network.ts';
import { buildPackage, packageOfLater } from './lib/package.ts';
import { openRun, runDirectory } from './lib/run.ts';
import { describeOnHosts, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const NAMES = ['pg1', 'pg2', 'pg3'] as const;
const LATER = '/root/pgha_later.deb';
const DATA = '/var/lib/postgresql/15/main';

(everything ? describeOnHosts : describe.skip)('the package under systemd', () => {
  let network: Network;
  let etcd: Etcd;
  let machines: Machine[] = [];
  let deb = '';

  const machine = (name: string): Machine => {
    const found = machines.find(({ host }) => host.name === name);
    if (found === undefined) throw new Error(`there is no machine ${name}`);
    return found;
  };

  beforeAll(async () => {
    openRun();
    deb = buildPackage();
    const later = join(runDirectory, basename(LATER));
    packageOfLater(deb, later);
    network = createNamespaces([...NAMES, 'client']);
    etcd = await startEtcd(network, ['client'], 'client', runDirectory);
    machines = NAMES.map((name) => new Machine(network.host(name), ['postgresql.service']));
    for (const one of machines) {
      one.bring(deb, `/root/${basename(deb)}`);
      one.bring(later, LATER);
    }
    await Promise.all(machines.map((one) => one.boot()));
    for (const one of machines) await one.type(asDebianLeavesIt);
  }, 180_000);

  afterAll(async () => {
    await Promise.all(machines.map((one) => one.destroy()));
    await etcd?.stop();
    network?.destroy();
  });

  /** The README's lines: those up to the package, and those from its configuration on. */
  const [install = '', start = ''] = new Guide('README.md', '## A real set-up: three hosts')
    .block('apt-get install -y --no-install-recommends postgresql')
    .split(/(?=^cp )/m);

  /** The example with the lines that differ changed; etcd stands elsewhere here, and there is less memory. */
  const change = async (one: Machine, index: number): Promise<void> => {
    const example = await one.must(['cat', '/usr/share/doc/pgha/examples/pgha.yml']);
    const members = /hosts:\n(?: +- \S+\n)+/;
    await one.write(
      '/usr/share/doc/pgha/examples/pgha.yml',
      example
        .replace(members, `hosts: ['${network.host('client').address}:2379']\n`)
        .replaceAll('10.0.0.11', one.host.address)
        .replaceAll('10.0.0.0/24', '10.77.0.0/24')
        .replace('shared_buffers: 2GB', 'shared_buffers: 32MB')
        .replace('name: pg1', `name: ${one.host.name}`)
        .replace('node_id: 1', `node_id: ${index + 1}`),
    );
  };

  const leader = async (within = 60_000): Promise<string> =>
    until('somebody accepts writes', within, async () => {
      for (const one of machines) {
        const { stdout } = await runOn(network.host('client'), [
          'curl',
          '-s',
          '-o',
          '/dev/null',
          '-w',
          '%{http_code}',
          '-m',
          '1',
          `http://${one.host.address}:8008/primary`,
        ]);
        if (stdout === '200') return one.host.name;
      }
      return null;
    });

  const sql = (name: string, statement: string): Promise<string> =>
    machine(name).must(['runuser', '-u', 'postgres', '--', 'psql', '-h', '/var/run/postgresql', '-XAtc', statement]);

  const allStream = (): Promise<unknown> =>
    until('the others stream', 60_000, async () => {
      const { stdout, stderr } = await machine('pg1').run(['pgha-ctl', 'list']);
      if (stdout.split('| streaming |').length === 3) return true;
      // What stands in the error when time is up.
      const logs = machines.map((one) => one.run(['journalctl', '--no-pager', '-o', 'cat', '-u', 'pgha', '-n', '12']));
      throw new Error([stdout, stderr, ...(await Promise.all(logs)).map((log) => log.stdout)].join('\n'));
    });

  it('is installed, says what to do next, and starts nothing', async () => {
    for (const one of machines) {
      const said = await one.type(install);
      expect(said).toContain('write /etc/pgha/pgha.yml');
      expect(await one.show('pgha.service', 'ActiveState')).toBe('inactive');
    }
    const files = await machine('pg1').must(['sh', '-c', 'pgha --version; man -w pgha pgha-ctl pgha.yml']);
    expect(files).toMatch(/^pgha \d/);
  }, 300_000);

  it('runs with the lines of the README: one leads, the others stream', async () => {
    for (const [index, one] of machines.entries()) {
      await change(one, index);
      expect(await one.type(start)).toContain('ttl');
    }
    const name = await leader();
    await allStream();
    expect(await machine(name).show('pgha.service', 'ActiveState')).toBe('active');
    await sql(name, 'create table kept (n int)');
    await sql(name, 'insert into kept values (1)');
  }, 120_000);

  it('keeps Postgres running when the daemon is killed, and is back with the same term', async () => {
    const name = await leader();
    const postmaster = await machine(name).must(['head', '-n', '1', `${DATA}/postmaster.pid`]);
    await machine(name).must(['systemctl', 'kill', '--kill-who=main', '--signal=SIGKILL', 'pgha']);
    await until('systemd has started it again', 20_000, async () =>
      (await machine(name).show('pgha.service', 'NRestarts')) === '1' ? true : null,
    );
    expect(await leader()).toBe(name);
    expect(await machine(name).must(['head', '-n', '1', `${DATA}/postmaster.pid`])).toBe(postmaster);
    await sql(name, 'insert into kept values (2)');
  }, 60_000);

  it('tells journald what happens, with each fact in a field of its own', async () => {
    const one = machine('pg1');
    const told = "printf 'event_syslog: {to: local}\\n' >> /etc/pgha/pgha.yml && systemctl reload pgha";
    await one.must(['sh', '-c', told]);
    const entry = await until('the event stands in the journal', 20_000, async () => {
      const which = ['-t', 'pgha', 'PGHA_EVENT=repmgrd_config_reload'];
      const { stdout } = await one.run(['journalctl', '--no-pager', '-o', 'json', ...which]);
      return stdout === '' ? null : (JSON.parse(stdout.split('\n')[0] ?? '') as Record<string, string>);
    });
    expect(entry).toMatchObject({
      MESSAGE: expect.stringMatching(/^pg1 of \S+: repmgrd_config_reload: /),
      PRIORITY: '5',
      SYSLOG_FACILITY: '3',
      PGHA_NODE: 'pg1',
      PGHA_OK: '1',
    });
  }, 60_000);

  it('is upgraded to a later version, the leader first, without touching Postgres', async () => {
    const name = await leader();
    for (const one of [machine(name), ...machines.filter(({ host }) => host.name !== name)]) {
      const postmaster = await one.must(['head', '-n', '1', `${DATA}/postmaster.pid`]);
      const before = await one.show('pgha.service', 'MainPID');
      expect(await one.type(`apt-get install -y ${LATER}`)).toContain(`makes room for version ${LATER_VERSION}`);
      await until('the next daemon runs', 30_000, async () =>
        (await one.show('pgha.service', 'MainPID')) !== before ? true : null,
      );
      expect(await leader()).toBe(name);
      await allStream();
      expect(await one.must(['head', '-n', '1', `${DATA}/postmaster.pid`])).toBe(postmaster);
    }
    await until('the guard of the leader is of the later version too', 30_000, async () => {
      const journal = await machine(name).must(['journalctl', '--no-pager', '-o', 'cat', '-u', 'pgha']);
      return journal.includes('guard.replaced') ? true : null;
    });
    await sql(name, 'insert into kept values (3)');
  }, 300_000);

  it('moves an address once the drop-in of `vip` is there, its guard may remove it, and Postgres may not', async () => {
    const address = '10.77.0.99';
    const rights = async (one: Machine, pid: string): Promise<string> =>
      (await one.must(['sed', '-n', 's/^CapEff:[[:space:]]*0*//p', `/proc/${pid.trim()}/status`])).trim();
    const holders = async (): Promise<string> => {
      const shown = await Promise.all(machines.map((one) => one.must(['ip', '-o', 'address', 'show', 'dev', 'eth0'])));
      return NAMES.filter((_, at) => shown[at]?.includes(` ${address}/24 `)).join();
    };
    const drop = '/etc/systemd/system/pgha.service.d/vip.conf';
    for (const one of machines) {
      const section = `\\nvip:\\n  address: ${address}/24\\n  interface: eth0\\n`;
      await one.must(['sh', '-c', `printf '${section}' >> /etc/pgha/pgha.yml`]);
      await one.must(['install', '-D', '-m', '644', '/usr/share/doc/pgha/examples/vip.conf', drop]);
      await one.must(['systemctl', 'daemon-reload']);
      // Postgres and the guard are still those of before.
      await one.must(['systemctl', 'kill', '--kill-who=main', '--signal=SIGUSR2', 'pgha']);
    }
    const name = await leader();
    await until('the leader has the address', 60_000, async () => ((await holders()) === name ? true : null));
    for (const one of machines) {
      await until('a guard with the right to remove it', 60_000, async () => {
        const { stdout } = await one.run(['pgrep', '-f', '/guard.js']);
        const [pid = '', ...others] = stdout.trim().split('\n');
        return others.length === 0 && pid !== '' && (await rights(one, pid)) === '3000' ? true : null;
      });
      expect(await rights(one, await one.show('pgha.service', 'MainPID'))).toBe('3000');
      const { stdout } = await one.run(['pgha-ctl', 'check', 'host']);
      expect(stdout).toContain(`${address}/24 can be put on eth0`);
    }
    const [next = ''] = NAMES.filter((other) => other !== name);
    await machine(name).must(['pgha-ctl', 'switchover', '--candidate', next, '--force']);
    await until('the address has followed', 60_000, async () => ((await holders()) === next ? true : null));
    await allStream();
    // Started by a daemon that may do more.
    const postmaster = await machine(name).must(['head', '-n', '1', `${DATA}/postmaster.pid`]);
    expect(await rights(machine(name), postmaster)).toBe('');
  }, 180_000);

  it("keeps the distribution's unit from starting the same data directory", async () => {
    const one = machine('pg2');
    await one.run(['systemctl', 'start', 'postgresql@15-main']);
    expect(await one.show('postgresql@15-main', 'ActiveState')).toBe('inactive');
    expect(await one.must(['journalctl', '--no-pager', '-u', 'postgresql@15-main'])).toContain(
      'pgha starts this Postgres',
    );
  }, 60_000);

  it('comes back by itself, with every row, after all machines lost their power', async () => {
    const name = await leader();
    expect((await sql(name, 'select count(*) from kept')).trim()).toBe('3');
    await Promise.all(machines.map((one) => one.cutPower()));
    await Promise.all(machines.map((one) => one.boot()));
    const next = await leader(90_000);
    await allStream();
    expect((await sql(next, 'select count(*) from kept')).trim()).toBe('3');
  }, 180_000);

  it('hands over when the service of the leader is stopped, and Postgres there has ended in order', async () => {
    const name = await leader();
    await machine(name).must(['systemctl', 'stop', 'pgha']);
    const control = await machine(name).must(['/usr/lib/postgresql/15/bin/pg_controldata', DATA]);
    expect(control).toMatch(/Database cluster state: +shut down/);
    const next = await leader();
    expect(next).not.toBe(name);
    expect((await sql(next, 'select count(*) from kept')).trim()).toBe('3');
    await machine(name).must(['systemctl', 'start', 'pgha']);
    await allStream();
  }, 120_000);

  it("is a package that Debian's own checker has nothing to say about", () => {
    const strictly = ['--allow-root', '--display-info', '--fail-on', 'error,warning,info', deb];
    execFileSync('lintian', strictly, { stdio: ['ignore', 'inherit', 'inherit'] });
  }, 300_000);

  it('leaves data and configuration where they are when the package is purged', async () => {
    const one = machine((await leader()) === 'pg3' ? 'pg2' : 'pg3');
    const said = await one.must(['dpkg', '--purge', 'pgha']);
    expect(said).toContain('/etc/pgha is left as it is');
    await one.must(['test', '-s', `${DATA}/PG_VERSION`]);
    await one.must(['test', '-s', '/etc/pgha/pgha.yml']);
  }, 60_000);
});
