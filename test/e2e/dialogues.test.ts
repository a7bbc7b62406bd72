/**
 * The dialogues of a how-to written for patronictl, typed at a real terminal, with pgha-ctl in its place: list, switchover,
 * edit-config with its diff, restart with the pending column.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runOn } from './lib/client.ts';
import type { Cluster } from './lib/cluster.ts';
import { nodeForServer, stepDown } from './lib/launch.ts';
import { describeOnHosts, everything, sharedCluster } from './lib/scenario.ts';
import { until } from './lib/time.ts';

/**
 * A terminal: types each answer once its question stands on the screen, and prints the whole screen at the end. Python has
 * one in its standard library, and Patroni brings Python.
 */
const TERMINAL = String.raw`
import json, os, pty, select, sys, time
spec = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'dumb'
    os.environ.update(spec['env'])
    os.execvp(spec['command'][0], spec['command'])
screen, seen, talk, end = b'', 0, list(spec['talk']), time.time() + spec['limit']
while time.time() < end:
    ready, _, _ = select.select([fd], [], [], 0.2)
    if ready:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        screen += data
    if talk and talk[0][0].encode() in screen[seen:]:
        seen = len(screen)
        os.write(fd, (talk.pop(0)[1] + '\n').encode())
else:
    os.kill(pid, 9)
_, status = os.waitpid(pid, 0)
print(json.dumps({'screen': screen.decode('utf8', 'replace'), 'code': os.waitstatus_to_exitcode(status), 'unasked': talk}))
`;

interface Talk {
  readonly screen: string;
  readonly code: number;
  /** Answers whose questions never came. */
  readonly unasked: readonly (readonly [string, string])[];
}

describeOnHosts('the dialogues of a how-to', () => {
  const shared = sharedCluster({ nodes: 2, scope: 'otus' });

  async function typed(
    cluster: Cluster,
    args: readonly string[],
    talk: readonly (readonly [question: string, answer: string])[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const node = cluster.node('h1');
    const command = [
      ...stepDown(true),
      nodeForServer(),
      cluster.program('pgha-ctl.js'),
      '-c',
      node.configFile,
      ...args,
    ];
    const spec = JSON.stringify({ command, talk, env, limit: 40 });
    const said = await runOn(cluster.network.host('client'), ['python3', '-c', TERMINAL, spec], {
      cwd: node.directory,
    });
    if (said.code !== 0) throw new Error(said.stderr);
    const { screen, code, unasked } = JSON.parse(said.stdout) as Talk;
    expect({ code, unasked, screen }).toMatchObject({ code: 0, unasked: [] });
    // What stands there in the end: a line of progress is written over.
    const lines = screen.replace(/\r\n/g, '\n').split('\n');
    return lines.map((line) => line.split('\r\x1b[K').at(-1) ?? '').join('\n');
  }

  it.runIf(everything)('list, switchover, edit-config and restart go as they are written there', async () => {
    const cluster = shared.current;
    const leader = await cluster.primary();
    const [other = ''] = cluster.others(leader).map(({ name }) => name);
    const list = await typed(cluster, ['list'], []);
    expect(list).toMatch(/^\+ Cluster: otus \(\d+\) -*\+-/m);
    expect(list).toMatch(
      /^\| Member \| Host +\| Role +\| State +\| TL \| Receive LSN \| +Lag \| Replay LSN \| +Lag \|$/m,
    );
    expect(list).toMatch(new RegExp(`^\\| ${leader} +\\| [0-9.]+ +\\| Leader +\\| running +\\| +1 \\|`, 'm'));
    expect(list).toMatch(new RegExp(`^\\| ${other} +\\| [0-9.]+ +\\| Replica +\\| streaming +\\| +1 \\|`, 'm'));

    const switched = await typed(
      cluster,
      ['switchover', '--master', leader, '--candidate', other],
      [
        ['When should the switchover take place', 'now'],
        [`Are you sure you want to switchover cluster otus, demoting current leader ${leader}? [y/N]: `, 'y'],
      ],
    );
    expect(switched).toContain('Current cluster topology');
    expect(switched).toMatch(
      new RegExp(`^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d+ Successfully switched over to "${other}"`, 'm'),
    );
    await cluster.waitAllStreaming();
    expect(await typed(cluster, ['list'], [])).toMatch(
      new RegExp(`^\\| ${other} .*\\| Leader +\\| running +\\| +2 \\|`, 'm'),
    );

    // The editor is one that the test brings: it changes two parameters, of which one needs a restart.
    const editor = join(cluster.node('h1').directory, 'editor.sh');
    writeFileSync(
      editor,
      '#!/bin/sh\nsed -i "s/max_connections: 50/max_connections: 50\\n    temp_buffers: 16MB\\n    max_worker_processes: 9/" "$1"\n',
      { mode: 0o755 },
    );
    const edited = await typed(cluster, ['edit-config', 'otus'], [['Apply these changes? [y/N]: ', 'y']], {
      EDITOR: editor,
    });
    expect(edited).toMatch(/^--- /m);
    expect(edited).toMatch(/^\+\+\+ /m);
    expect(edited).toMatch(/^@@ /m);
    expect(edited).toMatch(/^\+ +temp_buffers: 16MB$/m);
    expect(edited).toContain('Configuration changed');

    const pending = await until('both wait for a restart', 15_000, async () => {
      const { stdout } = await cluster.ctl(['list']);
      return (stdout.match(/\| \* +\|/g) ?? []).length === 2 ? stdout : null;
    });
    expect(pending).toContain('Pending restart');
    expect(await typed(cluster, ['list', '-e'], [])).toContain('max_worker_processes: 8->9');

    const restarted = await typed(
      cluster,
      ['restart', 'otus'],
      [
        ['When should the restart take place', 'now'],
        ['Are you sure you want to restart members', 'y'],
        ['Restart if the PostgreSQL version is less than provided', ''],
      ],
    );
    for (const name of [leader, other]) expect(restarted).toContain(`Success: restart on member ${name}`);
    await cluster.waitAllStreaming();
    await until(
      'nobody waits any more',
      15_000,
      async () => !(await cluster.ctl(['list'])).stdout.includes('Pending restart'),
    );
    for (const { name } of cluster.nodes) {
      const [row] = await cluster.sql(
        name,
        "select current_setting('temp_buffers') as t, current_setting('max_worker_processes') as w",
      );
      expect(row).toEqual({ t: '16MB', w: '9' });
    }
  });
});
