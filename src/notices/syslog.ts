/**
 * Hands an event to syslog. To another machine it speaks RFC 5424, over UDP or TCP (framed by octet counts, RFC 6587).
 * On this machine it runs `logger`, because Node.js has no datagram sockets of unix: journald gets the event's facts as
 * fields of their own, another syslog a line at its socket.
 */
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import type { SyslogConfig } from '../config/schema.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';
import { millis } from '../core/time.ts';
import { type CommandPlace, lastLine, runCommand } from '../postgres/command.ts';
import type { Told } from './outlet.ts';

const LIMIT = millis(5_000);
const JOURNALD = '/run/systemd/journal/socket';
const LOCAL_SOCKET = '/dev/log';
/** RFC 5424, 6.2.1: notice for what went well, warning for trouble. */
const SEVERITY = { notice: 5, warning: 4 } as const;
export const FACILITIES = {
  user: 1,
  daemon: 3,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const;

/** One try. Never rejects. */
export function tellSyslog(
  syslog: SyslogConfig,
  event: ClusterEvent,
  scope: string,
  place: CommandPlace,
  signal: AbortSignal,
): Promise<Told> {
  switch (syslog.to.kind) {
    case 'udp':
      return overUdp(syslog.to, rfc5424(syslog, event, scope), signal);
    case 'tcp':
      return overTcp(syslog.to, rfc5424(syslog, event, scope), signal);
    case 'local':
      return existsSync(JOURNALD)
        ? runLogger(place, ['--journald'], journaldFields(syslog, event, scope), signal)
        : runLogger(place, loggerArguments(syslog, event, scope, LOCAL_SOCKET), '', signal);
    case 'socket':
      return runLogger(place, loggerArguments(syslog, event, scope, syslog.to.path), '', signal);
  }
}

const severityOf = (event: ClusterEvent): keyof typeof SEVERITY => (event.ok ? 'notice' : 'warning');

/** What a person reads. */
const lineOf = (event: ClusterEvent, scope: string): string =>
  `${event.node} of ${scope}: ${event.event}: ${event.details}`;

export function rfc5424(syslog: SyslogConfig, event: ClusterEvent, scope: string): string {
  const priority = FACILITIES[syslog.facility] * 8 + SEVERITY[severityOf(event)];
  const parameter = (name: string, value: string): string => `${name}="${value.replace(/["\\\]]/g, '\\$&')}"`;
  // 32473 is the number that RFC 5612 keeps for those who have none.
  const data = [
    'pgha@32473',
    parameter('scope', scope),
    parameter('node', event.node),
    ...(event.nodeId === null ? [] : [parameter('node_id', String(event.nodeId))]),
    parameter('event', event.event),
    parameter('ok', event.ok ? '1' : '0'),
    ...(event.primary === null ? [] : [parameter('primary', event.primary.name)]),
  ].join(' ');
  const host = hostname().replace(/[^\x21-\x7e]/g, '?') || '-';
  const message = Buffer.from(lineOf(event, scope)).toString();
  return `<${priority}>1 ${event.time} ${host} pgha ${process.pid} ${event.event.slice(0, 32)} [${data}] \ufeff${message}`;
}

/** A field a line, as `logger --journald` reads them; none of the values has a line end. */
function journaldFields(syslog: SyslogConfig, event: ClusterEvent, scope: string): string {
  const fields: Readonly<Record<string, string>> = {
    MESSAGE: lineOf(event, scope),
    PRIORITY: String(SEVERITY[severityOf(event)]),
    SYSLOG_FACILITY: String(FACILITIES[syslog.facility]),
    SYSLOG_IDENTIFIER: 'pgha',
    PGHA_SCOPE: scope,
    PGHA_NODE: event.node,
    PGHA_EVENT: event.event,
    PGHA_OK: event.ok ? '1' : '0',
    PGHA_DETAILS: event.details,
    ...(event.nodeId === null ? {} : { PGHA_NODE_ID: String(event.nodeId) }),
    ...(event.primary === null ? {} : { PGHA_PRIMARY: event.primary.name }),
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}=${value.replace(/\s+/g, ' ')}`);
  return `${lines.join('\n')}\n`;
}

function loggerArguments(syslog: SyslogConfig, event: ClusterEvent, scope: string, socket: string): string[] {
  const priority = `${syslog.facility}.${severityOf(event)}`;
  const sender = ['--tag', 'pgha', `--id=${process.pid}`, '--priority', priority];
  return [...sender, '--socket-errors=on', '--socket', socket, '--', lineOf(event, scope)];
}

async function runLogger(place: CommandPlace, args: string[], input: string, signal: AbortSignal): Promise<Told> {
  try {
    const result = await runCommand(place, '/usr/bin/env', ['logger', ...args], { limitMs: LIMIT, signal, input });
    if (result.endedBy === 'itself' && result.code === 0) return { kind: 'done' };
    const said = result.endedBy === 'limit' ? `logger was ended after ${LIMIT / 1000} s` : lastLine(result);
    return { kind: 'failed', said: said.slice(0, 200), final: result.code === 127 };
  } catch (error) {
    return { kind: 'failed', said: error instanceof Error ? error.message : String(error), final: true };
  }
}

interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

function overUdp({ host, port }: HostAndPort, message: string, signal: AbortSignal): Promise<Told> {
  return bounded(signal, (over) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', (error: NodeJS.ErrnoException) => over(unreached(error)));
    socket.send(message, port, host, (error: NodeJS.ErrnoException | null) =>
      over(error === null ? { kind: 'done' } : unreached(error)),
    );
    return () => socket.close();
  });
}

/** A connection for each event: they are hours apart. That the other end has taken it shows in its closing too. */
function overTcp({ host, port }: HostAndPort, message: string, signal: AbortSignal): Promise<Told> {
  return bounded(signal, (over) => {
    const socket = connect({ host, port });
    socket.on('error', (error: NodeJS.ErrnoException) => over(unreached(error)));
    socket.on('close', () => over({ kind: 'done' }));
    socket.on('connect', () => socket.end(`${Buffer.byteLength(message)} ${message}`));
    socket.resume();
    return () => socket.destroy();
  });
}

const unreached = (error: NodeJS.ErrnoException): Told => ({
  kind: 'failed',
  said: `the server could not be reached (${error.code ?? error.message})`,
  final: false,
});

/** @param begin - returns how to let go of what it opened */
function bounded(signal: AbortSignal, begin: (over: (told: Told) => void) => () => void): Promise<Told> {
  return new Promise((resolve) => {
    let ended = false;
    let letGo: () => void = () => undefined;
    const over = (told: Told): void => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      // Not within the call that opened it: it may end before there is anything to let go of.
      setImmediate(() => letGo());
      resolve(told);
    };
    const aborted = (): void => over({ kind: 'failed', said: 'the service stops', final: true });
    const timer = setTimeout(
      () => over({ kind: 'failed', said: `the server took nothing within ${LIMIT / 1000} s`, final: false }),
      LIMIT,
    );
    signal.addEventListener('abort', aborted, { once: true });
    letGo = begin(over);
  });
}
