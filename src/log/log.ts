/**
 * The log behind ports/event-log: pino, writing without ever waiting for its reader, as lines for people or as JSON.
 * It accepts the names of events.ts only. It keeps nothing, and drops lines rather than memory when nobody reads.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { type DestinationStream, type Logger, pino } from 'pino';
import { type Lsn, printLsn } from '../core/lsn.ts';
import { PghaError } from '../errors.ts';
import type { EventLog, Facts, Severity } from '../ports/event-log.ts';

/** What waits for a reader that hangs, before lines are dropped. */
const BACKLOG_BYTES = 1 << 20;

export interface LogOptions {
  readonly level: Severity;
  readonly format: 'plain' | 'json';
  /** null: standard output. */
  readonly file: string | null;
  /** Facts of every line, such as scope and name; for JSON only: the plain log of a node is that node's. */
  readonly base?: Facts;
  /** Instead of `file`, for tests. */
  readonly destination?: DestinationStream;
}

export interface ClosableLog extends EventLog {
  /** The level may change with the configuration. */
  setLevel(level: Severity): void;
  /** Opens the file anew, after it was rotated away. */
  reopen(): void;
  /**
   * Hands over what waits, within `limitMs`, and lets go. Called before the process exits: otherwise the exit itself
   * waits for a reader that hangs. What is written later is lost.
   */
  close(limitMs: number): Promise<void>;
}

export function createLog(options: LogOptions): ClosableLog {
  // pino ends the process over a file that it cannot open.
  const trouble = options.file === null ? null : whyNotOpened(options.file);
  const file = trouble === null ? options.file : null;
  // sync: false, because standard output may be a pipe to a journald that hangs, and a synchronous write would then
  // hang everything with it, the lease included. No transports: their worker threads don't work in a bundle.
  const own =
    options.destination !== undefined
      ? null
      : pino.destination({
          ...(file === null ? { fd: 1 } : { dest: file, append: true, mkdir: true }),
          sync: false,
          maxLength: BACKLOG_BYTES,
        });
  // A disk that is full or a reader that is gone is no reason to end.
  own?.on('error', () => undefined);
  const destination = options.destination ?? own;
  if (destination === null) throw new Error('unreachable: one of the two is set');
  const write = options.format === 'json' ? jsonWriter(options, destination) : plainWriter(destination);
  if (trouble !== null)
    write('warn', 'config.adjusted', `log.file cannot be written (${trouble}): the log goes to standard output`, {});
  let closed = false;
  let lowest = SEVERITIES.indexOf(options.level);
  return {
    write: (severity, event, sentence, facts) => {
      if (!closed && SEVERITIES.indexOf(severity) >= lowest) write(severity, event, sentence, facts ?? {});
    },
    setLevel: (level) => {
      lowest = SEVERITIES.indexOf(level);
    },
    reopen: () => {
      if (file !== null) own?.reopen();
    },
    close: async (limitMs) => {
      if (own === null) return;
      closed = true;
      await new Promise<void>((resolve) => {
        const limit = setTimeout(resolve, limitMs);
        own.once('close', () => {
          clearTimeout(limit);
          resolve();
        });
        own.end();
      });
      // Whatever could not be handed over is given up: pino would otherwise try again while the process exits.
      own.destroy();
    },
  };
}

/** null: it can be written. */
function whyNotOpened(file: string): string | null {
  try {
    mkdirSync(dirname(file), { recursive: true });
    closeSync(openSync(file, 'a'));
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const SEVERITIES: readonly Severity[] = ['debug', 'info', 'warn', 'error'];

type Write = (severity: Severity, event: string, sentence: string, facts: Facts) => void;

function jsonWriter(options: LogOptions, destination: DestinationStream): Write {
  const logger: Logger = pino(
    {
      level: 'trace',
      messageKey: 'message',
      base: options.base === undefined ? null : { ...asJson(options.base) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => destination.write(escaped(line)) },
  );
  return (severity, event, sentence, facts) => logger[severity]({ event, ...asJson(facts) }, sentence);
}

/** Names that pino itself writes: a fact of that name would stand twice in the line. */
const RESERVED = new Set(['time', 'level', 'event', 'message']);

function asJson(facts: Facts): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(facts)) {
    if (value !== undefined) json[RESERVED.has(name) ? `${name}_` : name] = presentable(value, 0);
  }
  return json;
}

/** Deep enough for every fact we have; what is deeper, or a circle, is named and not followed. */
const DEEPEST = 6;

/** A value that JSON can hold: LSNs as Postgres prints them, errors with code, message and causes. */
function presentable(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return printLsn(value as Lsn);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= DEEPEST) return '...';
  if (value instanceof Error) return presentableError(value, depth);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Map) return presentable(Object.fromEntries(value), depth);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Set) return presentable([...value], depth);
  if (Array.isArray(value)) return value.map((item) => presentable(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, presentable(item, depth + 1)]));
}

function presentableError(error: Error, depth: number): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return {
    name: error.name,
    ...(code === undefined ? {} : { code }),
    message: error.message,
    // A PghaError tells the operator everything; of an error nobody foresaw, one wants to know where it came from.
    ...(error instanceof PghaError ? {} : { stack: error.stack }),
    ...(error.cause === undefined ? {} : { cause: presentable(error.cause, depth + 1) }),
  };
}

/** `2026-11-20 10:44:00.123 info  lease.window-opened  Sentence.  term=12 until_ms=8900` */
function plainWriter(destination: DestinationStream): Write {
  return (severity, event, sentence, facts) => {
    const told = Object.entries(facts)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${plain(value)}`)
      .join(' ');
    const line = `${localTime(new Date())} ${severity.padEnd(5)} ${event}  ${oneLine(sentence)}`;
    destination.write(`${harmless(told === '' ? line : `${line}  ${told}`)}\n`);
  };
}

function plain(value: unknown): string {
  if (value instanceof Error) {
    const { code } = value as NodeJS.ErrnoException;
    const cause = value.cause instanceof Error ? ` (because: ${value.cause.message})` : '';
    return JSON.stringify(oneLine(`${code === undefined ? value.name : code}: ${value.message}${cause}`));
  }
  const shown = presentable(value, 0);
  if (typeof shown === 'string') return /^[^\s="]+$/.test(shown) ? shown : JSON.stringify(shown);
  return JSON.stringify(shown);
}

/** Of the control characters JSON itself escapes the first 32 only. */
const escaped = (json: string): string =>
  json.replaceAll(/[\u007f-\u009f]/g, (one) => `\\u00${one.charCodeAt(0).toString(16)}`);

/** What members, etcd and Postgres say is shown on terminals, and journalctl shows no line with such letters in it. */
const harmless = (text: string): string => text.replaceAll('\t', ' ').replaceAll(/\p{Cc}/gu, '?');

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ').trim();

/** In the time zone of the machine, as the logs of Postgres beside it. */
function localTime(at: Date): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${day} ${time}.${String(at.getMilliseconds()).padStart(3, '0')}`;
}
