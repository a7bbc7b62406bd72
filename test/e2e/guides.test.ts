/**
 * The guides in docs/, typed as they stand there on machines with systemd, the package and Debian's etcd. What each machine
 * fills in stands in the lists below; test/unit/docs/guides.test.ts sees to it that no block of a guide is left out here.
 */
import { basename } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runOn } from './lib/client.ts';
import { Guide } from './lib/guide.ts';
import { asDebianLeavesIt, Machine } from './lib/machine.ts';
import { createNamespaces, type Network } from './lib/network.ts';
import { buildPackage } from './lib/package.ts';
import { openRun } from './lib/run.ts';
import { describeOnHosts, everything } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

const ADDRESSES = { pg1: '10.0.0.11', pg2: '10.0.0.12', pg3: '10.0.0.13' };
type Name = keyof typeof ADDRESSES;
const NAMES = Object.keys(ADDRESSES) as Name[];
const LIMIT_MS = 90_000;

/** Machines of which nothing is set up yet, with the addresses that stand in the guides. */
class Hosts {
  readonly #machines = new Map<string, Machine>();
  #network: Network | null = null;

  async boot(addresses: Readonly<Record<string, string>>, units: readonly string[]): Promise<void> {
    openRun();
    const deb = buildPackage();
    this.#network = createNamespaces(Object.keys(addresses), addresses);
    for (const name of Object.keys(addresses)) {
      const machine = new Machine(this.#network.host(name), units);
      machine.bring(deb, `/root/${basename(deb)}`);
      this.#machines.set(name, machine);
    }
    await Promise.all([...this.#machines.values()].map((machine) => machine.boot()));
    for (const name of this.#machines.keys()) await this.type(name, `${asDebianLeavesIt}systemctl start etcd`);
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.#machines.values()].map((machine) => machine.destroy()));
    this.#network?.destroy();
    this.#machines.clear();
  }

  machine(name: string): Machine {
    const found = this.#machines.get(name);
    if (found === undefined) throw new Error(`there is no machine ${name}`);
    return found;
  }

  type(name: string, commands: string): Promise<string> {
    return this.machine(name).type(commands);
  }

  /** Who says that writes work there. */
  async writable(from: string): Promise<string> {
    const answers = await Promise.all(
      [...this.#machines.values()].map(async ({ host }) => {
        const url = `http://${host.address}:8008/primary`;
        const asked = ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '-m', '1', url];
        const { stdout } = await runOn(this.machine(from).host, asked);
        return stdout === '200' ? host.name : null;
      }),
    );
    return answers.filter((name) => name !== null).join();
  }

  /** The one that leads, others streaming from it. */
  settled(from: string, streaming: number): Promise<string> {
    let list = '';
    return until('one leads and the others stream', LIMIT_MS, async () => {
      list = (await this.machine(from).run(['pgha-ctl', 'list'])).stdout;
      return list.split('| streaming |').length === streaming + 1 ? this.writable(from) : null;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${list}`);
    });
  }

  async journal(): Promise<string> {
    const logs = [...this.#machines.values()].map(async (machine) => {
      const { stdout } = await machine.run(['journalctl', '--no-pager', '-n', '60', '-u', 'pgha', '-u', 'haproxy']);
      return `--- ${machine.host.name}\n${stdout}`;
    });
    return (await Promise.all(logs)).join('\n');
  }
}

(everything ? describeOnHosts : describe.skip)('the guides', () => {
  const hosts = new Hosts();
  afterEach(async (context) => {
    if (context.task.result?.state !== 'fail') return;
    const journal = await hosts.journal();
    for (const error of context.task.result.errors ?? []) error.message += `\n${journal}`;
  });

  describe('docs/new-cluster.md', () => {
    const guide = new Guide('docs/new-cluster.md');
    beforeAll(() => hosts.boot(ADDRESSES, ['etcd.service', 'postgresql.service', 'haproxy.service']), 180_000);
    afterAll(() => hosts.destroy());

    /** In the shell in which the host was given its name. */
    const typeAs = (name: Name, block: string): Promise<string> => {
      const who = guide.block('me=pg1', [
        ['pg1', name],
        ['10.0.0.11', ADDRESSES[name]],
      ]);
      return hosts.type(name, `${who}\n${block}`);
    };
    const onEach = async (beginning: string): Promise<void> => {
      for (const name of NAMES) await typeAs(name, guide.block(beginning));
    };

    it('makes etcd, and a cluster on it', async () => {
      await onEach('apt-get install -y --no-install-recommends etcd-server');
      const health = guide.block('ETCDCTL_API=3 etcdctl endpoint health');
      const healthy = async (): Promise<boolean> =>
        (await hosts.machine('pg1').run(['sh', '-c', `${health} 2>&1`])).stdout.split('is healthy').length === 4;
      await until('all members of etcd are healthy', LIMIT_MS, healthy);
      await onEach('apt-get install -y --no-install-recommends postgresql');
      await onEach('cat > /etc/pgha/pgha.yml');
      await onEach('systemctl enable --now pgha');
      expect(NAMES).toContain(await hosts.settled('pg1', 2));
      expect(await hosts.type('pg2', guide.block('pgha-ctl list'))).toContain('Leader');
      const dsn = await hosts.type('pg3', guide.block('pgha-ctl dsn --all'));
      const asked = `PGPASSWORD=CHANGE-ME psql '${dsn.trim()} user=postgres dbname=postgres' -Atc 'create table kept ()'`;
      expect(await hosts.type('pg3', asked)).toContain('CREATE TABLE');
    }, 240_000);

    it('hands over, fails over, and comes back after its plug was pulled', async () => {
      const first = await hosts.settled('pg1', 2);
      expect(await hosts.type('pg1', guide.block('pgha-ctl switchover'))).toContain('Successfully');
      const second = await hosts.settled('pg1', 2);
      expect(second).not.toBe(first);
      await hosts.type(second, guide.block('runuser -u postgres -- pgha-ctl drill failover'));
      const third = await hosts.settled('pg1', 2);
      expect(third).not.toBe(second);
      await hosts.machine(third).cutPower();
      const [other = ''] = NAMES.filter((name) => name !== third);
      await until('another one takes over', LIMIT_MS, async () => (await hosts.writable(other)) !== '');
      await hosts.machine(third).boot();
      expect(await hosts.settled(other, 2)).not.toBe(third);
      expect(await hosts.type(other, guide.block('pgha-ctl explain --last'))).toContain('took over');
    }, 240_000);

    it('has HAProxy lead to the primary', async () => {
      await hosts.type('pg2', guide.block('apt-get install -y --no-install-recommends haproxy'));
      const asked =
        'cd /root; PGPASSWORD=CHANGE-ME psql -h 10.0.0.12 -p 5000 -U postgres -Atc "select pg_is_in_recovery()"';
      let answer = '';
      await until('port 5000 leads to the primary', LIMIT_MS, async () => {
        answer = await hosts
          .machine('pg1')
          .run(['bash', '-c', `${asked} 2>&1`])
          .then(({ stdout }) => stdout);
        return answer === 'f\n';
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${answer}`);
      });
      expect(guide.left).toEqual([]);
    }, 120_000);
  });

  describe('docs/two-nodes.md', () => {
    const guide = new Guide('docs/two-nodes.md');
    const cluster = new Guide('docs/new-cluster.md');
    const NODES = ['pg1', 'pg2'] as const;
    beforeAll(() => hosts.boot(ADDRESSES, ['etcd.service', 'postgresql.service']), 180_000);
    afterAll(() => hosts.destroy());

    const off = (name: string): Promise<void> => hosts.machine(name).cutPower();
    const on = (name: string): Promise<void> => hosts.machine(name).boot();

    it('makes a cluster of two, with a witness beside the third member of etcd', async () => {
      const steps = [
        'apt-get install -y --no-install-recommends etcd-server',
        'apt-get install -y --no-install-recommends postgresql',
      ];
      for (const beginning of [...steps, 'cat > /etc/pgha/pgha.yml', 'systemctl enable --now pgha']) {
        for (const name of beginning === steps[0] ? NAMES : NODES)
          await hosts.type(name, `me=${name} ip=${ADDRESSES[name]}\n${cluster.block(beginning)}`);
      }
      await hosts.settled('pg1', 1);
      await hosts.type('pg3', guide.block('apt-get install -y ./pgha'));
      const list = guide.block('pgha-ctl list');
      await until('the witness is in the list', LIMIT_MS, async () => {
        return (await hosts.machine('pg3').run(['sh', '-c', list])).stdout.includes('Witness');
      });
      expect(guide.left).toEqual([]);
    }, 240_000);

    it('goes on without the arbiter, and without the standby', async () => {
      const leader = await hosts.settled('pg1', 1);
      const standby = leader === 'pg1' ? 'pg2' : 'pg1';
      for (const lost of ['pg3', standby]) {
        await off(lost);
        // Longer than any window: the leader goes on proving.
        await sleep(12_000);
        expect(await hosts.writable(leader), `without ${lost}`).toBe(leader);
        await on(lost);
        await hosts.settled(leader, 1);
      }
    }, 240_000);

    it('fails over from the lost primary; without the arbiter too nobody writes, until a second one is back', async () => {
      const old = await hosts.settled('pg1', 1);
      const other = old === 'pg1' ? 'pg2' : 'pg1';
      await off(old);
      await until('the standby has taken over', LIMIT_MS, async () => (await hosts.writable(other)) === other);
      await off('pg3');
      await until('it has stopped writing', LIMIT_MS, async () => (await hosts.writable(other)) === '');
      await on('pg3');
      await until('it writes again', LIMIT_MS, async () => (await hosts.writable(other)) === other);
      await on(old);
      expect(await hosts.settled(other, 1)).toBe(other);
    }, 240_000);
  });

  describe('docs/from-pgpool.md', () => {
    const guide = new Guide('docs/from-pgpool.md');
    const etcd = new Guide('docs/new-cluster.md');
    const NODES = ['pg1', 'pg2'] as const;
    const BIN = '/usr/lib/postgresql/15/bin';
    const units = ['etcd.service', 'postgresql.service', 'haproxy.service', 'pgpool2.service'];
    beforeAll(() => hosts.boot(ADDRESSES, units), 180_000);
    afterAll(() => hosts.destroy());

    const postmasters = (): Promise<string[]> =>
      Promise.all(NODES.map((name) => hosts.type(name, 'head -n 1 /var/lib/postgresql/15/main/postmaster.pid')));
    /** Through pgpool. */
    const ask = async (statement: string): Promise<string> => {
      const command = `cd /root; PGPASSWORD=CHANGE-ME psql -h 10.0.0.13 -p 9999 -U postgres -qAtc "${statement}" 2>&1`;
      return (await hosts.machine('pg1').run(['bash', '-c', command])).stdout.trim();
    };
    const WRITE = 'insert into kept values (1) returning host(inet_server_addr())';

    it('the cluster of today: a pair that streams, behind pgpool', async () => {
      for (const name of NAMES) {
        const who = `me=${name} ip=${ADDRESSES[name]}`;
        await hosts.type(name, `${who}\n${etcd.block('apt-get install -y --no-install-recommends etcd-server')}`);
      }
      for (const name of NODES) await hosts.type(name, 'apt-get install -y ./pgha_0.1.0_amd64.deb');
      await hosts.type('pg1', PRIMARY_OF_TODAY);
      await hosts.type('pg2', STANDBY_OF_TODAY);
      await hosts.machine('pg3').write('/etc/pgpool2/pgpool.conf', PGPOOL_OF_TODAY);
      await hosts.type('pg3', PGPOOL_LOGIN);
      await until('pgpool lets clients in', LIMIT_MS, async () => (await ask('select 1')) === '1');
      expect(await ask('create table kept (n int)')).toBe('');
    }, 180_000);

    it('is taken over without a restart', async () => {
      const before = await postmasters();
      for (const [number, name] of NODES.entries()) {
        await hosts.machine(name).write('/root/pgpool.conf', PGPOOL_OF_TODAY);
        await hosts.type(name, guide.block('pgha-ctl import', [['--node 0', `--node ${number}`]]));
        await hosts.type(name, guide.block('sed -i /etc/pgha/pgha.yml'));
        await hosts.type(name, guide.block('systemctl enable --now pgha'));
      }
      let said = '';
      const check = guide.block('pgha-ctl adopt check');
      await until('nothing stands against it', LIMIT_MS, async () => {
        const { code, stdout, stderr } = await hosts.machine('pg1').run(['sh', '-c', check]);
        said = stdout + stderr;
        return code === 0;
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${said}`);
      });
      await hosts.type('pg3', guide.block('cp -p /etc/pgpool2/pgpool.conf /etc'));
      await until('pgpool has let go', LIMIT_MS, async () =>
        (await ask('pgpool show backend_flag0')).includes('DISALLOW'),
      );
      await hosts.type('pg2', guide.block('pgha-ctl adopt take-over'));
      for (const name of NODES) await hosts.type(name, guide.block('systemctl disable postgresql'));
      expect(await hosts.settled('pg1', 1)).toBe('pg1');
      expect(await ask(WRITE)).toBe('10.0.0.11');
      expect(await postmasters()).toEqual(before);
    }, 180_000);

    it('has pgpool in front as a pooler, which follows a switchover', async () => {
      for (const file of ['haproxy.cfg', 'pgpool.conf']) {
        const text = await hosts.type('pg1', `cat /usr/share/doc/pgha/examples/${file}`);
        await hosts.machine('pg3').write(`/root/${file}`, text);
      }
      await hosts.type('pg3', guide.block('apt-get install -y --no-install-recommends haproxy'));
      await until('a write reaches pg1', LIMIT_MS, async () => (await ask(WRITE)) === '10.0.0.11');
      expect(await hosts.type('pg1', guide.block('pgha-ctl switchover --force'))).toContain('Successfully');
      await until('a write reaches pg2', LIMIT_MS, async () => (await ask(WRITE)) === '10.0.0.12');
      await until('a read reaches pg1', LIMIT_MS, async () => (await ask(WHERE)) === '10.0.0.11');
      await hosts.settled('pg1', 1);
    }, 180_000);

    it('and goes back', async () => {
      const before = await postmasters();
      const back = guide.block('pgha-ctl adopt back');
      await hosts.type('pg1', back);
      for (const name of NODES) await hosts.type(name, guide.block('systemctl disable --now pgha'));
      let said = '';
      await until('the keys are gone', LIMIT_MS, async () => {
        said = (await hosts.machine('pg1').run(['sh', '-c', back])).stdout;
        return said.includes('are gone from etcd');
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${said}`);
      });
      await hosts.type('pg3', guide.block('cp -p /etc/pgpool2/pgpool.conf.before-pgha'));
      await until('pgpool has found the primary', LIMIT_MS, async () => (await ask(WRITE)) === '10.0.0.12');
      expect(await postmasters()).toEqual(before);
      expect(guide.left).toEqual([]);
    }, 120_000);

    const WHERE = 'select host(inet_server_addr())';
    const PRIMARY_OF_TODAY = `
systemctl start postgresql@15-main
echo "listen_addresses = '*'" >> /etc/postgresql/15/main/postgresql.conf
echo 'host all,replication all 10.0.0.0/24 scram-sha-256' >> /etc/postgresql/15/main/pg_hba.conf
systemctl restart postgresql@15-main
cd /; runuser -u postgres -- psql -c "alter role postgres password 'CHANGE-ME'" -c "create role replicator login replication password 'CHANGE-ME'"`;
    const STANDBY_OF_TODAY = `
systemctl stop postgresql@15-main
rm -r /var/lib/postgresql/15/main
echo "listen_addresses = '*'" >> /etc/postgresql/15/main/postgresql.conf
echo 'host all,replication all 10.0.0.0/24 scram-sha-256' >> /etc/postgresql/15/main/pg_hba.conf
cd /; runuser -u postgres -- ${BIN}/pg_basebackup -R -D /var/lib/postgresql/15/main -d 'host=10.0.0.11 user=replicator password=CHANGE-ME application_name=pg2'
systemctl start postgresql@15-main`;
    const PGPOOL_OF_TODAY = `
listen_addresses = '*'
port = 9999
backend_hostname0 = '10.0.0.11'
backend_port0 = 5432
backend_data_directory0 = '/var/lib/postgresql/15/main'
backend_application_name0 = 'pg1'
backend_flag0 = 'ALLOW_TO_FAILOVER'
backend_hostname1 = '10.0.0.12'
backend_port1 = 5432
backend_data_directory1 = '/var/lib/postgresql/15/main'
backend_application_name1 = 'pg2'
backend_flag1 = 'ALLOW_TO_FAILOVER'
enable_pool_hba = on
load_balance_mode = on
sr_check_period = 2
sr_check_user = 'postgres'
health_check_period = 2
health_check_user = 'postgres'
failover_command = '/etc/pgpool2/failover.sh %d %H'
`;
    const PGPOOL_LOGIN = `
echo 'postgres:TEXTCHANGE-ME' > /etc/pgpool2/pool_passwd
echo 'host all all 10.0.0.0/24 scram-sha-256' >> /etc/pgpool2/pool_hba.conf
chown -R postgres: /etc/pgpool2
systemctl restart pgpool2`;
  });
});
