/** event_notification_command and failover_command as real processes: slow, broken, missing, and with children. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ShellCommands } from '../../src/commands/shell.ts';
import type { CommandsConfig } from '../../src/config/schema.ts';
import type { ClusterEvent } from '../../src/core/cluster-events.ts';
import { millis } from '../../src/core/time.ts';
import { aConfig, aLog, realClock } from '../unit/postgres/place-builder.ts';

let directory: string;
let log: ReturnType<typeof aLog>;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-notify-'));
  log = aLog();
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function shell(over: Partial<CommandsConfig>): ShellCommands {
  const config = aConfig();
  const commands = { ...config.commands, eventNotificationTimeout: millis(5_000), ...over };
  return new ShellCommands(() => ({ ...config, commands }), { binDir: '/', clock: realClock }, log);
}

const event = (over: Partial<ClusterEvent> = {}): ClusterEvent => ({
  time: '2026-11-20T14:08:00.000Z',
  node: 'a',
  nodeId: 1,
  event: 'fenced',
  ok: true,
  details: 'stopped',
  primary: null,
  ...over,
});

const file = (): string => join(directory, 'told');
const told = (): readonly string[] => (existsSync(file()) ? readFileSync(file(), 'utf8').trim().split('\n') : []);

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`in vain: ${what}; the log: ${JSON.stringify(log.written)}`);
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    // A zombie that nobody has reaped yet counts as ended.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

describe('event_notification_command', () => {
  it('reads nothing in the details as a command, however the operator quotes', async () => {
    const commands = shell({ eventNotification: `echo "$(echo %d)" >> ${file()}` });
    commands.notify(event({ details: `x; touch ${directory}/hacked` }));
    await until('it was told', () => told().length === 1);
    expect(told()[0]).toBe(`x; touch ${directory}/hacked`);
    expect(existsSync(join(directory, 'hacked'))).toBe(false);
  });

  it('is run once for each event, in their order, with details that cannot leave their word', async () => {
    const commands = shell({ eventNotification: `echo %e %d >> ${file()}` });
    for (const details of ['one', `$(touch ${directory}/hacked)`, `'; touch ${directory}/hacked; '`]) {
      commands.notify(event({ details }));
    }
    await until('all three were told', () => told().length === 3);
    expect(told()[0]).toBe('fenced one');
    expect(told()[1]).toBe(`fenced $(touch ${directory}/hacked)`);
    expect(existsSync(join(directory, 'hacked'))).toBe(false);
  });

  it('hears of the events that are wanted only', async () => {
    const commands = shell({ eventNotification: `echo %e >> ${file()}`, eventNotifications: ['standby_promote'] });
    commands.notify(event());
    commands.notify(event({ event: 'standby_promote' }));
    await until('one was told', () => told().length > 0);
    expect(told()).toEqual(['standby_promote']);
  });

  it('that hangs is ended with its children, and the next event is told', async () => {
    const commands = shell({
      eventNotification: `echo %d >> ${file()}; test %d != slow || { sleep 1000 & echo $! >> ${file()}; wait; }`,
      eventNotificationTimeout: millis(300),
    });
    commands.notify(event({ details: 'slow' }));
    commands.notify(event({ details: 'next' }));
    await until('the next one was told', () => told().at(-1) === 'next');
    const child = Number(told()[1]);
    expect(child).toBeGreaterThan(1);
    await until('its child is gone', () => !alive(child));
    await until('both ends were said', () => log.written.length >= 2);
    expect(log.written.map(({ sentence }) => sentence)).toEqual([
      'event_notification_command: it was ended after 0.3 s',
      'event_notification_command works again',
    ]);
  });

  it.each([
    ['/no/such/program', /there is no such command \(exit code 127\)/],
    ['exit 3', /exit code 3/],
    ['printf "\\033[31m\\000\\377garbage\\n" >&2; exit 1', /exit code 1: .*garbage/],
    ['head -c 3000000 /dev/zero | tr "\\0" x; exit 1', /exit code 1: ./],
    ['kill -9 $$', /exit code 137/],
  ])('that is %j is said to have failed once, not once an event', async (command, said) => {
    const commands = shell({ eventNotification: `echo >> ${file()}; ${command}` });
    for (let i = 0; i < 3; i++) commands.notify(event());
    await until('all were tried', () => existsSync(file()) && readFileSync(file(), 'utf8').length >= 3);
    await until('it was said', () => log.written.length > 0);
    await commands.close(millis(5_000));
    expect(log.written).toHaveLength(1);
    expect(log.written[0]).toMatchObject({ severity: 'warn', event: 'action.failed' });
    expect(log.written[0]?.sentence).toMatch(said);
    expect(log.written[0]?.sentence.length).toBeLessThan(400);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may reach a terminal
    expect(log.written[0]?.sentence).not.toMatch(/[\u0000-\u001f]/);
  });

  it('never makes anybody wait, however many events come', () => {
    const commands = shell({ eventNotification: 'sleep 30', eventNotificationTimeout: millis(30_000) });
    for (let i = 0; i < 1_000; i++) commands.notify(event());
    expect(log.written.map(({ sentence }) => sentence)).toEqual([
      'event_notification_command: it is too slow: the oldest events that wait for it are dropped',
    ]);
    return commands.close(millis(0));
  });

  it('does not outlive the service by more than it was given', async () => {
    const commands = shell({
      eventNotification: `echo $$ >> ${file()}; sleep 1000`,
      eventNotificationTimeout: millis(60_000),
    });
    commands.notify(event());
    await until('it runs', () => told().length === 1);
    await commands.close(millis(100));
    await until('it is gone', () => !alive(Number(told()[0])));
  });

  // The process that would kill it later ends right after this.
  it.each([
    ['a notification', 'event_notification_command'],
    ['a validation', 'failover_validation_command'],
  ])('is gone when the service ends, also where it does not listen: %s', async (_what, which) => {
    const deaf = `trap '' TERM; echo $$ >> ${file()}; while :; do sleep 0.2; done`;
    const limit = millis(60_000);
    const commands = shell({
      eventNotification: deaf,
      eventNotificationTimeout: limit,
      failoverValidation: deaf,
      failoverValidationTimeout: limit,
    });
    if (which === 'event_notification_command') commands.notify(event());
    else void commands.validateFailover({ visible: 1, total: 2 });
    await until('it runs', () => told().length === 1);
    await commands.close(millis(0));
    expect(alive(Number(told()[0]))).toBe(false);
  });
});

describe('failover_command', () => {
  it('does not wait for notifications that hang', async () => {
    const commands = shell({ eventNotification: 'sleep 1000', failover: `echo %d %m %H %D >> ${file()}` });
    commands.notify(event());
    commands.failedOver({
      from: { id: 1, host: '10.0.0.1', port: 5432, dataDirectory: '/data/one of two' },
      to: { id: 2, host: '10.0.0.2', port: 5432, dataDirectory: '/data/2' },
    });
    await until('it was told', () => told().length === 1);
    expect(told()).toEqual(['1 2 10.0.0.2 /data/one of two']);
    await commands.close(millis(0));
  });

  it('that is not set is not run', () => {
    const nobody = { id: null, host: null, port: null, dataDirectory: null };
    expect(() => shell({}).failedOver({ from: nobody, to: nobody })).not.toThrow();
  });
});
