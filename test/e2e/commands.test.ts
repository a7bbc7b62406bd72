/** Postgres under the operator's own commands: pgha starts, stops, promotes and redirects by them, and looks after them. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { Cluster } from './lib/cluster.ts';
import { runDirectory } from './lib/run.ts';
import { ctlDone, describeOnHosts, endsWell, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

(everything ? describeOnHosts : describeOnHosts.skip)("with the operator's commands for Postgres", () => {
  const told = mkdtempSync(join(tmpdir(), 'pgha-told-'));
  chmodSync(told, 0o777);
  let cluster: Cluster | null = null;
  afterAll(async () => {
    await cluster?.destroy();
    rmSync(told, { recursive: true, force: true });
  });
  const said = (name: string): readonly string[] =>
    existsSync(join(told, name)) ? readFileSync(join(told, name), 'utf8').trim().split('\n') : [];
  const count = (line: string): number => ['h1', 'h2', 'h3'].flatMap(said).filter((one) => one === line).length;

  it('a cluster is made, switched over, fails over and tells of a lost standby; nothing is lost', async () => {
    const directory = join(runDirectory, 'by-commands');
    const running = await Cluster.start({
      directory,
      dcs: { child_nodes_check_interval: 1, child_nodes_disconnect_timeout: 1, child_nodes_connected_min_count: 2 },
      node: (name) => {
        const pgCtl = `${postgresBinDir()}/pg_ctl -D ${join(directory, name, 'data')}`;
        const tell = (what: string): string => `echo ${what} >> ${told}/${name}`;
        return {
          service_start_command: `${tell('start')}; ${pgCtl} -w start`,
          service_stop_command: `${tell('stop')}; ${pgCtl} -m fast -w stop`,
          service_restart_command: `${tell('restart')}; ${pgCtl} -m fast -w restart`,
          service_reload_command: `${tell('reload')}; ${pgCtl} reload`,
          promote_command: `${tell('promote')}; ${pgCtl} -w promote`,
          follow_command: `${tell('follow:%a')}`,
          child_nodes_disconnect_command: `${tell('alone:%p')}`,
        };
      },
    });
    cluster = running;
    expect(count('start')).toBeGreaterThanOrEqual(3);

    const first = await running.primary();
    const second = running.others(first)[0]?.name ?? '';
    const third = running.others(first, second)[0]?.name ?? '';
    await running.startWriter({ sessions: 2 });
    const promoted = count('promote');
    await ctlDone(running, ['switchover', '--candidate', second, '--force']);
    expect(said(first)).toContain('stop');
    expect(count('promote')).toBe(promoted + 1);
    await endsWell(running);
    // It does nothing, so the standby was made to follow by pgha itself.
    expect(said(third)).toContain(`follow:${second}`);
    expect(running.node(third).logText()).toContain('command.distrusted');

    const restarted = await running.ctl(['restart', running.scope, third, '--force']);
    expect(restarted.code).toBe(0);
    expect(said(third)).toContain('restart');
    const reloaded = count('reload');
    const edited = await running.ctl(['edit-config', '-p', 'work_mem=5MB', '--force']);
    expect(edited.code).toBe(0);
    await until('all have reloaded', 10_000, () => count('reload') >= reloaded + 3);

    await running.startWriter({ sessions: 2 });
    running.killPostmaster(second);
    const next = await running.waitForPrimary(20_000, [second]);
    await running.waitForWrites(20);
    expect(count('promote')).toBe(promoted + 2);
    await endsWell(running);

    // Who was never seen here is not lost: the old primary has just come back.
    const gone = running.others(next, second)[0]?.name ?? '';
    const seen = (name: string): RegExp => new RegExp(`failover\\.completed[^]*child\\.connected +${name} `);
    await until('both standbys are known', 10_000, () =>
      running.others(next).every(({ name }) => seen(name).test(running.node(next).logText())),
    );
    await running.node(gone).daemon.stop();
    const id = running.nodes.findIndex(({ name }) => name === next) + 1;
    await until('the command is run', 20_000, () => said(next).includes(`alone:${id}`)).catch((error: unknown) => {
      throw running.explain(error);
    });
    running.node(gone).daemon.start();
    await running.waitAllStreaming();
    expect(said(next).filter((line) => line.startsWith('alone'))).toHaveLength(1);
    await until('its return is told', 10_000, () =>
      /child\.connected .*again, after/.test(running.node(next).logText()),
    );
  });
});
