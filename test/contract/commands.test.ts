/** The operator's own commands, run by a real shell: whatever they do, the answer comes in time and is one sentence. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ShellCommands } from '../../src/commands/shell.ts';
import type { CommandsConfig } from '../../src/config/schema.ts';
import { millis } from '../../src/core/time.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { SystemClock } from '../../src/system/clock.ts';
import { aConfig } from '../unit/postgres/place-builder.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgha-commands-'));
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

function commands(
  set: Partial<CommandsConfig>,
  clock: Clock = new SystemClock(),
): { commands: ShellCommands; said: string[] } {
  const config = aConfig();
  const said: string[] = [];
  const log = { write: (_severity: string, _event: string, sentence: string) => void said.push(sentence) };
  const now = () => ({ ...config, commands: { ...config.commands, failoverValidationTimeout: millis(1_000), ...set } });
  return { commands: new ShellCommands(now, { binDir: '/', clock }, log), said };
}

const validate = (failoverValidation: string) =>
  commands({ failoverValidation }).commands.validateFailover({ visible: 2, total: 3 });

describe('failover_validation_command', () => {
  test('approves with 0, whatever it prints', async () => {
    expect(await validate('head -c 3000000 /dev/urandom; exit 0')).toEqual({ kind: 'approved' });
  });

  test('is given what it asks for', async () => {
    expect(await validate('test "%n %a %v %u %t" = "1 node-1 2 3 3"')).toEqual({ kind: 'approved' });
  });

  test.each([
    [
      'that says no is a veto with what it said',
      'echo "the other site lives"; exit 3',
      /^exit code 3: the other site lives$/,
    ],
    ['that is missing is a veto that says so', '/nowhere/validate %n', /no such command \(exit code 127\)/],
    ['that may not be run is a veto', '/etc/passwd', /exit code 126/],
    ['that is no shell text is a veto', 'if then', /exit code 2/],
    ['that is ended by somebody is a veto', 'kill -9 $$', /exit code 137/],
  ])('%s', async (_, command, said) => {
    const outcome = await validate(command);
    expect(outcome).toMatchObject({ kind: 'vetoed', said: expect.stringMatching(said) });
  });

  test('that prints garbage is a veto in one short, printable line', async () => {
    const outcome = await validate("head -c 3000000 /dev/urandom; printf '\\033[2J\\007'; exit 1");
    if (outcome.kind !== 'vetoed') throw new Error('it was approved');
    expect(outcome.said.length).toBeLessThan(300);
    expect(outcome.said).not.toMatch(/\p{Cc}/u);
  });

  test('that hangs is a veto at its limit, and is ended with its children', async () => {
    const note = join(directory, 'late');
    const outcome = await validate(`sh -c 'sleep 3; echo late > ${note}' & wait`);
    expect(outcome).toEqual({ kind: 'vetoed', said: 'it was ended after 1 s' });
    await sleep(2_500);
    await expect(readFile(note)).rejects.toThrow('ENOENT');
  });

  test('that leaves something in the background does not keep anybody waiting', async () => {
    expect(await validate('sleep 20 & exit 0')).toEqual({ kind: 'approved' });
  });
});

describe('child_nodes_disconnect_command', () => {
  test('is run with the node_id of this node', async () => {
    const note = join(directory, 'alone');
    const { commands: shell } = commands({ childNodesDisconnect: `echo %p > ${note}` });
    expect(await shell.childNodesLost()).toEqual({ kind: 'done' });
    expect(await readFile(note, 'utf8')).toBe('1\n');
  });

  test('is bounded, and tells how it ended', async () => {
    const slow = commands({ childNodesDisconnect: 'sleep 60', serviceTimeout: millis(200) }).commands;
    expect(await slow.childNodesLost()).toEqual({ kind: 'failed', said: 'it was ended after 0.2 s' });
    const wrong = commands({ childNodesDisconnect: 'echo no >&2; exit 1' }).commands;
    expect(await wrong.childNodesLost()).toEqual({ kind: 'failed', said: 'exit code 1: no' });
    expect(await commands({}).commands.childNodesLost()).toEqual({ kind: 'not-configured' });
  });

  test('keeps its limit when the daemon that began it is gone, with all that it started', async () => {
    const note = join(directory, 'outlived');
    const script = `sh -c 'sleep 4; echo late > ${note}' & wait; echo later > ${note}`;
    // Of a process that has ended no timer fires.
    const ended = Object.assign(new SystemClock(), { timer: () => () => undefined });
    const { commands: shell } = commands({ childNodesDisconnect: script, serviceTimeout: millis(400) }, ended);
    const began = performance.now();
    expect(await shell.childNodesLost()).toMatchObject({ kind: 'failed' });
    const left = 4_500 - (performance.now() - began);
    expect(left).toBeGreaterThan(0);
    await sleep(left);
    await expect(readFile(note)).rejects.toThrow('ENOENT');
  });

  test('with a placeholder that nobody knows is run with it as it is, and that is said once', async () => {
    const script = join(directory, 'args.sh');
    const note = join(directory, 'args');
    await writeFile(script, `#!/bin/sh\necho "$1" >> ${note}\n`, { mode: 0o700 });
    const { commands: shell, said } = commands({ childNodesDisconnect: `${script} %z` });
    await shell.childNodesLost();
    await shell.childNodesLost();
    expect(await readFile(note, 'utf8')).toBe('%z\n%z\n');
    expect(said).toEqual(['child_nodes_disconnect_command: %z means nothing here and was left']);
  });
});

describe("Patroni's hooks", () => {
  const callbacks = { on_start: null, on_stop: null, on_restart: null, on_reload: null, on_role_change: null };

  async function script(name: string, text: string): Promise<string> {
    const path = join(directory, name);
    await writeFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o700 });
    return path;
  }

  test('a callback gets action, role and cluster after its own words, and ends an older one that hangs', async () => {
    const note = join(directory, 'callbacks');
    const hook = await script('callback', `echo "$@" >> ${note}; [ "$2" = on_stop ] && sleep 20; true`);
    const own = `${hook} 'one word'`;
    const { commands: shell } = commands({ callbacks: { ...callbacks, on_stop: own, on_role_change: own } });
    shell.callback('on_stop', 'demoted');
    await sleep(300);
    const began = performance.now();
    shell.callback('on_role_change', 'primary');
    shell.callback('on_start', 'primary');
    await shell.close(millis(10_000));
    expect(performance.now() - began).toBeLessThan(8_000);
    expect(await readFile(note, 'utf8')).toBe('one word on_stop demoted demo\none word on_role_change primary demo\n');
  });

  test('pre_promote is a yes with 0, and a no with anything else, also at its limit', async () => {
    const ask = async (prePromote: string | null) =>
      commands({ prePromote, prePromoteTimeout: millis(500) }).commands.prePromote(new AbortController().signal);
    expect(await ask(null)).toEqual({ kind: 'not-configured' });
    expect(await ask('true')).toEqual({ kind: 'done' });
    expect(await ask(await script('no', 'echo fenced no one >&2; exit 2'))).toEqual({
      kind: 'failed',
      said: 'exit code 2: fenced no one',
    });
    expect(await ask('sleep 20')).toEqual({ kind: 'failed', said: 'it was ended after 0.5 s' });
    expect(await ask('/nowhere/hook')).toMatchObject({ kind: 'failed' });
  });

  test('before_stop is waited for up to its limit, and what became of it is only told', async () => {
    const note = join(directory, 'stopped');
    const done = commands({ beforeStop: await script('stop', `echo yes > ${note}`) });
    expect(await done.commands.beforeStop()).toEqual({ kind: 'done' });
    expect(await readFile(note, 'utf8')).toBe('yes\n');
    const late = commands({ beforeStop: 'sleep 20', beforeStopTimeout: millis(300) });
    expect(await late.commands.beforeStop()).toMatchObject({ kind: 'failed' });
    expect(late.said).toEqual(['before_stop: it was ended after 0.3 s; Postgres is stopped all the same']);
  });
});
