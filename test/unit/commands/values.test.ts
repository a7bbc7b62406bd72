import { describe, expect, it } from 'vitest';
import { expandPlaceholders, type Placeholders } from '../../../src/commands/placeholders.ts';
import { CommandQueue } from '../../../src/commands/queue.ts';
import { failoverValues, notificationValues } from '../../../src/commands/values.ts';

/** What a shell would see, each value in brackets. */
const filled = (template: string, values: Placeholders): string => {
  const { command, env } = expandPlaceholders(template, values);
  return command.replace(/"\$\{(\w+)\}"/g, (_all, name: string) => `[${env[name]}]`);
};

describe('event_notification_command', () => {
  const event = {
    time: '2026-11-20T14:08:00.000Z',
    node: 'pg2',
    nodeId: 2,
    event: 'standby_follow',
    ok: true,
    details: `it's "done"`,
    primary: { id: 1, name: 'pg1', conninfo: 'host=10.0.0.1 port=5432' },
  };

  it('gets what the event says, quoted for the shell', () => {
    expect(filled('notify %n %e %s %t %d %p %a %c 100%% %x', notificationValues(event))).toBe(
      `notify [2] [standby_follow] [1] [2026-11-20T14:08:00.000Z] [it's "done"] [1] [pg1] [host=10.0.0.1 port=5432] 100% %x`,
    );
  });

  it('gets empty words where the event has nothing to say, and 0 for a node without a number', () => {
    const values = notificationValues({ ...event, nodeId: null, ok: false, primary: null });
    expect(filled('%n %s %p %a %c', values)).toBe('[0] [0] [] [] []');
  });
});

describe('failover_command', () => {
  const from = { id: 1, host: '10.0.0.1', port: 5432, dataDirectory: '/data/1' };
  const to = { id: 2, host: '10.0.0.2', port: 5433, dataDirectory: '/data/2' };

  it("gets pgpool's placeholders", () => {
    expect(filled('failover.sh %d %h %p %D %m %H %M %P %r %R %N %S', failoverValues(from, to))).toBe(
      'failover.sh [1] [10.0.0.1] [5432] [/data/1] [2] [10.0.0.2] [1] [1] [5433] [/data/2] [10.0.0.1] [5432]',
    );
  });

  it('gets -1 for a number that is not known, and else empty words', () => {
    const nobody = { id: null, host: null, port: null, dataDirectory: null };
    expect(filled('%d %h %p %D', failoverValues(nobody, to))).toBe('[-1] [] [] []');
  });
});

describe('runs that wait for each other', () => {
  /** A run that ends when it is told to. */
  function aRun(name: string, ran: string[]) {
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    return {
      end,
      run: async (signal: AbortSignal) => {
        ran.push(name);
        signal.addEventListener('abort', end);
        await ended;
      },
    };
  }
  const turn = async () => {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
  };

  it('go one after the other', async () => {
    const ran: string[] = [];
    const queue = new CommandQueue(10, () => undefined);
    const [a, b] = [aRun('a', ran), aRun('b', ran)];
    queue.add(a.run);
    queue.add(b.run);
    await turn();
    expect(ran).toEqual(['a']);
    a.end();
    await turn();
    expect(ran).toEqual(['a', 'b']);
    b.end();
    await turn();
    queue.add(aRun('c', ran).run);
    await turn();
    expect(ran).toEqual(['a', 'b', 'c']);
  });

  it('are begun also when they come in the very moment in which the last one ends', async () => {
    const ran: string[] = [];
    const queue = new CommandQueue(10, () => undefined);
    // One of these falls between the end of the last run and the end of the work.
    for (let moment = 0; moment < 12; moment++) {
      const added = `added ${moment}`;
      queue.add(async () => {
        let late = Promise.resolve();
        for (let i = 0; i < moment; i++) late = late.then(() => undefined);
        void late.then(() => queue.add(async () => void ran.push(added)));
      });
      await turn();
      expect(ran.at(-1)).toBe(added);
    }
  });

  it('are bounded: the oldest that has not begun goes', async () => {
    const ran: string[] = [];
    let dropped = 0;
    const queue = new CommandQueue(2, () => dropped++);
    const runs = ['a', 'b', 'c', 'd'].map((name) => aRun(name, ran));
    queue.add(async (signal) => runs[0]?.run(signal));
    await turn();
    for (const { run } of runs.slice(1)) queue.add(run);
    expect(dropped).toBe(1);
    for (const { end } of runs) end();
    await turn();
    expect(ran).toEqual(['a', 'c', 'd']);
  });

  it('are ended when the service cannot wait any longer, and none begins after that', async () => {
    const ran: string[] = [];
    const queue = new CommandQueue(10, () => undefined);
    queue.add(aRun('a', ran).run);
    queue.add(aRun('b', ran).run);
    await turn();
    await queue.close(Promise.resolve());
    await turn();
    queue.add(aRun('c', ran).run);
    await turn();
    expect(ran).toEqual(['a']);
  });

  it('that end in time are waited for', async () => {
    const ran: string[] = [];
    const queue = new CommandQueue(10, () => undefined);
    const [a, b] = [aRun('a', ran), aRun('b', ran)];
    queue.add(a.run);
    queue.add(b.run);
    const closed = queue.close(new Promise(() => undefined));
    a.end();
    b.end();
    await closed;
    expect(ran).toEqual(['a', 'b']);
  });
});
