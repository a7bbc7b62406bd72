/** A machine in a directory: what is found of it. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { examineHost, reach } from '../../../src/system/host.ts';

describe('the machine', () => {
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'pgha-host-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const file = (path: string, text = '', mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    chmodSync(join(root, path), mode);
  };
  const link = (path: string, to: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(to, join(root, path));
  };
  const look = () =>
    examineHost(
      { paths: ['/srv/pg', '/etc/passwd'], programDirectories: ['/usr/bin'], programs: ['postgres', 'pg_rewind'] },
      root,
    );

  it('an empty one has nothing', async () => {
    expect(await look()).toMatchObject({
      postgresUid: null,
      enabled: [],
      processes: [],
      missingPrograms: ['postgres', 'pg_rewind'],
      timeIsKept: null,
    });
  });

  it('finds what starts at boot: units, generated ones and scripts; not what is masked, nor a script whose unit says no', async () => {
    link('etc/systemd/system/multi-user.target.wants/postgresql.service', '/lib/systemd/system/postgresql.service');
    link('etc/systemd/system/multi-user.target.wants/patroni.service', '/lib/systemd/system/patroni.service');
    link('etc/systemd/system/patroni.service', '/dev/null');
    link(
      'run/systemd/generator/postgresql.service.wants/postgresql@15-main.service',
      '/lib/systemd/system/postgresql@.service',
    );
    link('etc/rc3.d/S01repmgrd', '../init.d/repmgrd');
    link('etc/rc3.d/S01pgpool2', '../init.d/pgpool2');
    file('lib/systemd/system/pgpool2.service');
    link('etc/rc3.d/K01patroni', '../init.d/patroni');
    expect((await look()).enabled).toEqual([
      { name: 'postgresql.service', script: false },
      { name: 'postgresql@15-main.service', script: false },
      { name: 'repmgrd', script: true },
    ]);
  });

  it('what only a service wants that is not enabled does not start at boot', async () => {
    link(
      'run/systemd/generator/postgresql.service.wants/postgresql@15-main.service',
      '/lib/systemd/system/postgresql@.service',
    );
    link('etc/systemd/system/db.target.requires/repmgrd.service', '/lib/systemd/system/repmgrd.service');
    expect((await look()).enabled).toEqual([{ name: 'repmgrd.service', script: false }]);
  });

  it('finds processes by their names, also behind an interpreter, and owners and programs', async () => {
    file('proc/12/cmdline', '/usr/bin/python3\0/usr/bin/patroni\0/etc/patroni.yml\0');
    file('proc/13/cmdline', '/usr/lib/postgresql/15/bin/repmgrd\0-f\0x\0');
    file('proc/14/cmdline', '');
    file('proc/self/cmdline', 'no number');
    file('etc/passwd', 'root:x:0:0::/:\npostgres:x:105:110::/var/lib/postgresql:/bin/bash\n', 0o640);
    file('usr/bin/postgres', '', 0o755);
    file('usr/bin/pg_rewind', '', 0o644);
    file('run/systemd/timesync/synchronized');
    expect(await look()).toMatchObject({
      processes: [
        { pid: 12, name: 'patroni' },
        { pid: 13, name: 'repmgrd' },
      ],
      postgresUid: 105,
      missingPrograms: ['pg_rewind'],
      paths: [
        { path: '/srv/pg', found: null },
        { path: '/etc/passwd', found: { directory: false, mode: 0o640 } },
      ],
      timeIsKept: true,
    });
  });
});

describe('an interface', () => {
  it('is there or not, with what is needed to move an address, and what the daemon may do', async () => {
    const root = mkdtempSync(join(tmpdir(), 'pgha-host-'));
    const put = (path: string, text: string, mode = 0o644): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text, { mode });
    };
    const look = async (device: string) =>
      (await examineHost({ paths: [], programDirectories: [], programs: [], interface: device }, root)).interface;
    try {
      expect(await look('eth0')).toEqual({
        exists: false,
        missing: ['ip', 'arping', 'setpriv'],
        capabilities: null,
        announcesIpv6: false,
      });
      put('sys/class/net/eth0/mtu', '1500');
      put('usr/sbin/ip', '', 0o755);
      put('proc/sys/net/ipv6/conf/eth0/ndisc_notify', '1\n');
      put('proc/77/cmdline', '/usr/lib/pgha/node\0/usr/lib/pgha/pgha.js\0/etc/pgha/pgha.yml\0');
      put('proc/77/status', 'Name:\tnode\nCapPrm:\t0000000000003000\nCapEff:\t0000000000003000\n');
      expect(await look('eth0')).toEqual({
        exists: true,
        missing: ['arping', 'setpriv'],
        capabilities: 0x3000n,
        announcesIpv6: true,
      });
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});

describe('a port', () => {
  it('is open, or nobody listens there', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    expect(await reach('127.0.0.1', port, millis(2000))).toMatchObject({ kind: 'open' });
    await new Promise((resolve) => server.close(resolve));
    expect(await reach('127.0.0.1', port, millis(2000))).toEqual({ kind: 'refused', said: 'nobody listens there' });
  });

  it('of a name that nobody has is silent, with the reason', async () => {
    expect(await reach('nowhere.invalid', 1, millis(3000))).toMatchObject({ kind: 'silent' });
  });
});
