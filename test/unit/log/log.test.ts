import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { afterEach, describe, expect, it } from 'vitest';
import { lsn } from '../../../src/core/lsn.ts';
import { PghaError } from '../../../src/errors.ts';
import { createLog, type LogOptions } from '../../../src/log/log.ts';
import type { EventLog } from '../../../src/ports/event-log.ts';

const directories: string[] = [];

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'pgha-log-'));
  directories.push(directory);
  return directory;
}

function lines(options: Partial<LogOptions>, story: (log: EventLog) => void): string[] {
  const written: string[] = [];
  const destination = { write: (line: string) => void written.push(line) };
  story(createLog({ level: 'info', format: 'plain', file: null, destination, ...options }));
  return written;
}

const anError = new PghaError(
  'PGHA_PROMOTE_FAILED',
  { happened: 'It was not promoted.', untouched: 'Nothing changed.', todo: 'Nothing to do.' },
  { cause: new Error('timeout') },
);

describe('the log for people', () => {
  it('tells time, level, event and sentence, then the facts', () => {
    const [line] = lines({}, (log) =>
      log.write('info', 'lease.window-opened', 'Leadership is proven.', { term: '12', until_ms: 8900 }),
    );
    expect(line).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info {2}lease\.window-opened {2}Leadership is proven\. {2}term=12 until_ms=8900\n$/,
    );
  });

  it('shows nothing that would steer a terminal, or keep journalctl from showing the line', () => {
    const hostile = 'a\u001b[2J\u009b31m\u0007\tb';
    for (const format of ['plain', 'json'] as const) {
      const [line] = lines({ format }, (log) =>
        log.write('warn', 'action.failed', hostile, { name: hostile, bare: '\u001b[2J', list: [hostile] }),
      );
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
      expect(line).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    }
  });

  it('prints positions as Postgres does, errors with their code, and everything else on one line', () => {
    const facts = { at: lsn(0x5000060n), error: anError, list: [{ a: lsn(1n) }], text: 'two words', none: null };
    const [line] = lines({}, (log) => log.write('warn', 'action.failed', 'It\nfailed.', { ...facts, gone: undefined }));
    expect(line).toContain('It failed.  at=0/5000060 error="PGHA_PROMOTE_FAILED: It was not promoted.');
    expect(line).toContain('(because: timeout)"');
    expect(line).toContain('list=[{"a":"0/1"}] text="two words" none=null\n');
    expect(line).not.toContain('gone');
  });

  it('leaves out what is below its level, also when that is changed later', () => {
    const written: string[] = [];
    const destination = { write: (line: string) => void written.push(line) };
    const log = createLog({ level: 'info', format: 'plain', file: null, destination });
    log.write('debug', 'lease.granted', 'One.');
    log.setLevel('debug');
    log.write('debug', 'lease.granted', 'Two.');
    expect(written).toHaveLength(1);
    expect(written[0]).toContain('Two.');
  });
});

describe('the log for programs', () => {
  it('is one JSON object a line with time, level, event and message', () => {
    const [line] = lines({ format: 'json', base: { scope: 'main', name: 'a' } }, (log) =>
      log.write('error', 'action.failed', 'It failed.', { at: lsn(0x1_0000_0000n), error: anError, time: 5 }),
    );
    const object = JSON.parse(line ?? '');
    expect(object).toMatchObject({
      level: 'error',
      event: 'action.failed',
      message: 'It failed.',
      scope: 'main',
      at: '1/0',
      error: { code: 'PGHA_PROMOTE_FAILED', cause: { message: 'timeout' } },
      time_: 5,
    });
    expect(Number.isNaN(Date.parse(object.time))).toBe(false);
    expect(object.error.stack).toBeUndefined();
  });

  it('survives facts that contain themselves', () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    const [line] = lines({ format: 'json' }, (log) => log.write('info', 'daemon.started', 'Started.', { circle }));
    expect(() => JSON.parse(line ?? '')).not.toThrow();
  });
});

describe('a log file', () => {
  it('holds what was written once the log is closed', async () => {
    const file = join(scratch(), 'deep', 'pgha.log');
    const log = createLog({ level: 'info', format: 'plain', file });
    for (let i = 0; i < 100; i++) log.write('info', 'operation.progress', `Line ${i}.`);
    await log.close(1_000);
    expect(readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(100);
  });

  it('that cannot be opened ends nobody: the log goes to standard output, and says so', () => {
    const [first, second] = lines({ file: scratch() }, (log) => log.write('info', 'daemon.started', 'Started.'));
    expect(first).toContain('log.file cannot be written (EISDIR');
    expect(second).toContain('Started.');
  });
});

describe('a reader that hangs', () => {
  it('holds up neither the process nor its end', async () => {
    const bundle = join(scratch(), 'writer.mjs');
    const contents = `
      import { createLog } from './src/log/log.ts';
      const log = createLog({ level: 'info', format: 'plain', file: null });
      let longest = 0, last = performance.now(), rounds = 0;
      const tick = setInterval(async () => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
        for (let i = 0; i < 200; i++) log.write('info', 'operation.progress', 'x'.repeat(1000));
        if (++rounds < 30) return;
        clearInterval(tick);
        await log.close(200);
        process.stderr.write(String(Math.round(longest)) + '\\n');
        process.exit(0);
      }, 10);`;
    await build({
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'error',
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
      stdin: { contents, resolveDir: resolve(import.meta.dirname, '../../..'), loader: 'ts' },
      outfile: bundle,
    });
    // Its standard output is a pipe that nobody reads.
    const child = spawn(process.execPath, [bundle], { stdio: ['ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), 8_000);
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const code = await new Promise((resolve) => child.on('exit', resolve));
    clearTimeout(timer);
    expect(code).toBe(0);
    expect(Number(said)).toBeLessThan(1_000);
  }, 15_000);
});
