/**
 * HAProxy's agent-check (its configuration manual, "agent-check"): whoever connects sends the path of a health check in a line
 * and gets a line, `up` or `down`, over plain TCP. One such `down` counts at once, where a failed health check may have been lost on
 * its way. It never says `ready` or `drain`: `ready` would end a maintenance that somebody has set in HAProxy itself.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { millis } from '../core/time.ts';
import type { EventLog } from '../ports/event-log.ts';
import { type NodeHealth, passes } from './health.ts';
import { readTarget } from './target.ts';

/** HAProxy sends its line with the connection; who sends none until then is answered as if it had asked for the primary. */
const LINE_LIMIT = millis(500);
const LONGEST_LINE = 1_024;
const RETRY_PAUSE = millis(500);

export interface AgentCheck {
  /** The port that it really has, as soon as it has one. */
  readonly port: () => number | null;
  close(): void;
}

/** Listens as soon as the port is free: a daemon does not wait for that, nor end because of it. */
export function startAgentCheck(
  listen: { readonly host: string; readonly port: number },
  look: () => NodeHealth,
  log: EventLog,
): AgentCheck {
  const sockets = new Set<Socket>();
  let server: Server | null = null;
  let timer: NodeJS.Timeout | null = null;
  let closed = false;
  let said = '';

  const answer = (socket: Socket, line: string): void => {
    const target = readTarget(line.trim() === '' ? '/primary' : line.trim());
    socket.end(passes(target, look()) ? 'up\n' : 'down\n');
  };
  const greet = (socket: Socket): void => {
    sockets.add(socket);
    let line = '';
    let answered = false;
    const speak = (): void => {
      if (answered) return;
      answered = true;
      clearTimeout(limit);
      answer(socket, line.split('\n')[0] ?? '');
    };
    const limit = setTimeout(speak, LINE_LIMIT);
    socket.setEncoding('latin1');
    socket.setTimeout(2 * LINE_LIMIT, () => socket.destroy());
    socket.on('data', (part: string) => {
      if (line.length < LONGEST_LINE) line += part;
      if (line.includes('\n') || line.length >= LONGEST_LINE) speak();
    });
    socket.on('end', speak);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(limit);
      sockets.delete(socket);
    });
  };
  const open = (): void => {
    const fresh = createServer({ allowHalfOpen: true, noDelay: true }, greet);
    fresh.maxConnections = 256;
    fresh.on('error', (error) => {
      if (closed) return;
      if (said !== error.message) {
        said = error.message;
        log.write('warn', 'haproxy.unheard', `the agent-check cannot be answered yet: ${said}`);
      }
      timer = setTimeout(open, RETRY_PAUSE);
    });
    server = fresh;
    fresh.listen({ port: listen.port, ...(listen.host === '*' ? {} : { host: listen.host }) });
  };
  open();

  return {
    port: () => {
      const bound = server?.address();
      return typeof bound === 'object' && bound !== null ? bound.port : null;
    },
    close: () => {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      server?.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
