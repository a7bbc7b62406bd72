/**
 * The Ansible role of config/ansible on machines with systemd: those of S4, three with everything and one with HAProxy, as its
 * inventory has them. Ansible runs on each of them for itself, for there is no ssh between them.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { which } from '../../scripts/ensure.mjs';
import { type CommandResult, repository } from './lib/client.ts';
import { asDebianLeavesIt, Machine } from './lib/machine.ts';
import { createNamespaces, type Network } from './lib/network.ts';
import { buildPackage } from './lib/package.ts';
import { openRun } from './lib/run.ts';
import { describeOnHosts, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const ROLE = join(repository, 'config/ansible');
const NODES = { pg1: '192.168.11.101', pg2: '192.168.11.102', pg3: '192.168.11.103' };
const ADDRESSES = { ...NODES, haproxy: '192.168.11.100' };
const DATA = '/var/lib/postgresql/15/main';
const LIMIT_MS = 120_000;
const UNITS = ['etcd.service', 'postgresql.service', 'haproxy.service', 'pgbouncer.service'];

(everything ? describeOnHosts : describe.skip)('the Ansible role', () => {
  let network: Network;
  let machines: readonly Machine[] = [];
  beforeAll(async () => {
    openRun();
    const deb = buildPackage();
    network = createNamespaces(Object.keys(ADDRESSES), ADDRESSES);
    machines = Object.keys(ADDRESSES).map((name) => new Machine(network.host(name), UNITS));
    for (const machine of machines) {
      machine.bring(join(repository, 'config'), '/root/pgha/config');
      machine.bring(deb, `/root/pgha/build/package/${basename(deb)}`);
    }
    await Promise.all(machines.map((machine) => machine.boot()));
    for (const machine of machines) {
      await machine.type(`${asDebianLeavesIt}
systemctl stop postgresql@15-main
mkdir -p ${DATA}
sed -i 's/^    # pgbouncer: /    pgbouncer: /' /root/pgha/config/ansible/inventory.yml`);
    }
  }, 180_000);
  afterAll(async () => {
    await Promise.all(machines.map((machine) => machine.destroy()));
    network?.destroy();
  });

  const machine = (name: string): Machine => {
    const found = machines.find(({ host }) => host.name === name);
    if (found === undefined) throw new Error(`there is no machine ${name}`);
    return found;
  };
  const play = (on: Machine): Promise<CommandResult> => {
    const command = `cd /root/pgha/config/ansible && HOME=/root ansible-playbook -i inventory.yml -c local -l ${on.host.name} site.yml`;
    return on.run(['bash', '-c', command], 2 * LIMIT_MS);
  };
  /** What it counts at its end, when nothing has failed. */
  const played = async (on: Machine): Promise<Readonly<Record<string, number>>> => {
    const { code, stdout, stderr } = await play(on);
    expect(`${code}\n${code === 0 ? '' : stdout + stderr}`).toBe('0\n');
    const counts = [...(stdout.split('PLAY RECAP')[1] ?? '').matchAll(/(\w+)=(\d+)/g)];
    return Object.fromEntries(counts.map(([, name = '', count]) => [name, Number(count)]));
  };
  const databases = (): readonly Machine[] => Object.keys(NODES).map(machine);

  it('is what Ansible understands', () => {
    const check = ['-i', 'inventory.yml', '--syntax-check', 'site.yml'];
    execFileSync(which('ansible-playbook') ?? 'ansible-playbook', check, { cwd: ROLE, stdio: 'pipe' });
  }, 60_000);

  it('refuses a machine with data that are not of pgha, and changes nothing there', async () => {
    const one = machine('pg1');
    const before = await one.type(`ls -lR --full-time ${DATA}; ls /etc/pgha 2>&1 || true`);
    const { code, stdout } = await play(one);
    expect(code).not.toBe(0);
    expect(stdout).toContain(`${DATA} exists, and pgha is not set up here`);
    expect(await one.type(`ls -lR --full-time ${DATA}; ls /etc/pgha 2>&1 || true`)).toBe(before);
  }, 240_000);

  it('makes a cluster with a pooler on each node and HAProxy in front of them', async () => {
    await Promise.all(databases().map((one) => one.type(`mv ${DATA} ${DATA}.unused`)));
    await Promise.all(machines.map(played));
    await until('one leads and the others stream', LIMIT_MS, async () => {
      return (await machine('pg1').run(['pgha-ctl', 'list'])).stdout.split('| streaming |').length === 3;
    });
    const write =
      'cd /; PGPASSWORD=CHANGE-ME psql -h 192.168.11.100 -p 5000 -U postgres -Atc "create table written ()" 2>&1';
    let said = '';
    await until('a write through HAProxy and PgBouncer', LIMIT_MS, async () => {
      said = (await machine('pg2').run(['bash', '-c', write])).stdout.trim();
      return said === 'CREATE TABLE';
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${said}`);
    });
  }, 480_000);

  it('has written files that the programs take, made of the shipped ones', async () => {
    for (const one of databases()) {
      await one.must(['runuser', '-u', 'postgres', '--', 'pgha', '--validate-config', '/etc/pgha/pgha.yml']);
      const address = NODES[one.host.name as keyof typeof NODES];
      expect(parse(await one.type('cat /etc/pgha/pgha.yml'))).toMatchObject({
        ...parse(readFileSync(join(repository, 'config/pgha-minimal.yml'), 'utf8')),
        name: one.host.name,
        etcd3: { hosts: Object.values(NODES).map((member) => `${member}:2379`) },
        restapi: { connect_address: `${address}:8008` },
        postgresql: { connect_address: `${address}:5432`, data_dir: DATA },
        bootstrap: { dcs: { postgresql: { pg_hba: expect.arrayContaining(['local all all peer']) } } },
      });
    }
    await machine('haproxy').type('haproxy -c -f /etc/haproxy/haproxy.cfg');
    const written = await machine('haproxy').type('cat /etc/haproxy/haproxy.cfg');
    const back = written
      .replaceAll(/192\.168\.11\.10(\d):6543/g, '10.0.0.1$1:5432')
      .replace(/^# Written by Ansible.*\n/, '');
    expect(back.trim()).toBe(readFileSync(join(repository, 'config/haproxy.cfg'), 'utf8').trim());
  }, 60_000);

  it('changes nothing when it is run again', async () => {
    const postmasters = (): Promise<string[]> =>
      Promise.all(
        databases().map((one) => one.type(`head -n 1 ${DATA}/postmaster.pid; systemctl show -P MainPID pgha`)),
      );
    const before = await postmasters();
    const counts = await Promise.all(machines.map(played));
    expect(counts.map(({ changed }) => changed)).toEqual([0, 0, 0, 0]);
    expect(await postmasters()).toEqual(before);
  }, 480_000);
});
